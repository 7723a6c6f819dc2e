"""Which rows of a model's call belong to which conditioning, and what that conditioning's keys are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from ...errors import LayoutError, RecordingError
from ...geometry.layout import Layout
from ...geometry.words import Word
from ...maps.kinds import NO_NAMES
from ...models.carried import Carried, carried_by
from .adapters import Adapter, with_adapters
from .call import Notes, Rows
from .network import Network, Told, told_of
from .options import Options
from .taken import taken
from .words import unknown_in, words_in

BRANCH_OF = {"positive": "cond", "negative": "uncond"}
SWAPPED = (
    "the sampler's negative conditioning has a reference, but its positive has none, so the two look swapped; connect the "
    "conditioning with the reference to positive"
)

NO_CANVAS = (
    "reference_parts are given, but the {} conditioning has no reference latent that they could be parts of, and the latent no "
    "mask that says which part of a canvas is made; mask some of the canvas, not all or nothing of it (Set Latent Noise Mask, "
    "InpaintModelConditioning), or add ReferenceLatent behind the prompt"
)


def check_whole(hosts: Mapping[str, Any]) -> None:
    """Refuse a run whose model gets a part of the latent's frames at a time.

    Args:
        hosts: the ``transformer_options`` of the model's calls.

    Raises:
        LayoutError: says which frames it got.
    """
    window = hosts.get("context_window")
    if window is not None:
        frames = getattr(window, "index_list", None) or (0,)
        raise LayoutError(
            f"the sampler gives the model windows of the latent's frames (first {frames[0]} to {frames[-1]}), so that no call "
            f"has all of them, and its attention cannot be put together to one run's; leave out the node that sets context "
            f"windows, or set its context_length to the whole video's"
        )


class Conditionings:
    """The conditionings of one sampler's run.

    Args:
        options: what to record.
        network: the kind of the model's network.
        guider: the sampler's guider.
        latent: (B, C, h, w), the latent's shape.
        notes: the run's remarks for the reader.
        noise_mask: of the sampler, see `Told`.

    Attributes:
        adapters: those applied in the model's options.
        without: branches that the run asks for, but whose conditioning has no reference.
        missed: for a branch of which some calls were not recorded, why, as `why_not` found it.
        pictures: of the references, by name, (H, W, 3) uint8, where they can be drawn.
        given_pictures: how many of them came with the conditioning.
        shares: for a branch whose prediction is not taken everywhere alike, the part that is, (1 or images, h, w).
        words: of the text of each branch, where its conditioning carries them.
        ranges: for a branch whose conditioning is limited in time, the highest and lowest sigma that it is used at.
    """

    def __init__(
        self,
        options: Options,
        network: Network,
        guider: Any,
        latent: tuple[int, ...],
        notes: Notes,
        noise_mask: Tensor | None = None,
    ) -> None:
        self._options, self._network, self._guider, self._latent, self._notes = options, network, guider, latent, notes
        self._noise_mask = noise_mask
        self.adapters: tuple[Adapter, ...] = ()
        self.without: set[str] = set()
        self.missed: dict[str, str] = {}
        self.pictures: dict[str, Tensor] = {}
        self.given_pictures = 0
        self.shares: dict[str, Tensor] = {}
        self.words: dict[str, tuple[Word, ...]] = {}
        self.ranges: dict[str, tuple[float, float]] = {}
        self._rows: dict[Any, Rows] = {}  # by the host's uuid of a conditioning
        self._beside: dict[
            Any, tuple[str, str]
        ] = {}  # likewise, of another one of a branch to record, the branch and why it is not
        self._carried: dict[str, Carried] = {}
        self._hosts: dict[str, Any] = {}
        self._seen: set[str] = set()

    @property
    def cond(self) -> Carried | None:
        """What the positive conditioning carries."""
        return self._carried.get("cond")

    @property
    def null_branches(self) -> list[str]:
        """Branches whose tokens stand for "no reference"; a negative without a layout of ours is taken for one.

        A positive is one only if it carries that, as the negative of a try-on does: then the two were swapped.
        """
        null = {branch for branch, carried in self._carried.items() if carried.null}
        if self._network.nulls:
            null |= {branch for branch in self._options.branches if branch != "cond" and branch not in self._carried}
        return [branch for branch in self._options.branches if branch in null]

    def layout_of(self, layer: str) -> Layout:
        """What a layer's keys are."""
        return next(iter(self._rows.values())).layout_of(layer)

    def next_evaluation(self) -> None:
        """The guider is about to be asked for another prediction."""
        self._seen.clear()

    def name(self, called: Any, conds: Sequence[list[dict[str, Any]] | None], model_options: dict[str, Any]) -> None:
        """Find out, before a batch is evaluated, which branch each conditioning belongs to and what its keys are.

        Args:
            called: the model that evaluates them.
            conds: for each role, the host's list of entries, or None.
            model_options: the model's options.

        Raises:
            LayoutError: a branch to record has no reference, or only one that is limited to an area.
            RecordingError: a conditioning of ours was made for another model or latent.
        """
        self._hosts = model_options.get("transformer_options", {})
        check_whole(self._hosts)
        if not self._rows and self._options.layout is None:
            self.adapters = self._network.adapters(self._hosts)
        # a guider of two models runs the second one, its negative, through the first one's wrappers
        foreign = called is not getattr(self._guider, "inner_model", called)
        roles = {id(entries): BRANCH_OF.get(role, role) for role, entries in self._guider.conds.items()}
        _check_alike(conds, roles)
        for entries in conds:
            if entries is None:
                continue
            branch = "uncond" if foreign else roles.get(id(entries))
            if branch in self._options.branches:
                self._choose(branch, entries)

    def wanted(self, uuids: Sequence[Any]) -> tuple[Rows | None, ...] | None:
        """The rows of a call, by the uuids of its conditionings; None: none of them is recorded."""
        rows = [self._rows.get(name) for name in uuids]
        # a second evaluation within one prediction (SAG, PAG) sees a degraded picture or model
        wanted = tuple(r if r is not None and r.branch not in self._seen else None for r in rows)
        if not any(wanted):
            return None
        self._seen |= {r.branch for r in wanted if r is not None}
        return wanted

    def why_not(self, uuids: Sequence[Any]) -> str:
        """Why a call of which nothing is recorded has no maps, if that is because of its conditionings; else nothing."""
        found = [self._beside[name] for name in uuids if name in self._beside]
        self.missed |= dict(found)
        return next((why for _, why in found), "")

    def unused(self, sigmas: Sequence[float]) -> list[int]:
        """The steps in which some recorded conditioning is not used, because it is limited in time."""
        return [i for i, sigma in enumerate(sigmas) if any(not low <= sigma <= high for high, low in self.ranges.values())]

    def _choose(self, branch: str, entries: list[dict[str, Any]]) -> None:
        """Choose the entry of a branch to record: the first whose reference tokens act on the whole picture."""
        lengths: list[int] = []
        chosen: Rows | None = None
        limited = False
        for entry in entries:
            context = entry["model_conds"].get("c_crossattn")
            tokens = 0 if context is None else int(context.cond.shape[1])
            lengths.append(tokens)
            carried, told = carried_by(entry), self._told(entry)
            layout = with_adapters(self._network.layout_of(entry, told), self.adapters)
            if layout is None or self._is_part(entry):
                limited |= layout is not None
                if layout is None:
                    self._beside[entry["uuid"]] = branch, f"the {branch} conditioning of these steps has no reference"
                continue
            if carried is not None:
                self._check_fit(entry)
            if chosen is not None:
                self._notes.add(f"{branch} has several conditionings with reference tokens; the first is recorded")
                self._beside[entry["uuid"]] = branch, f"{branch} has another conditioning than the recorded one"
                continue
            layers = {} if carried is None or self._options.layout is not None else carried.layers
            if entry["uuid"] not in self._rows:
                share = taken(entry, entries, self._size)
                self.shares |= {} if share is None else {branch: share}
                self.words[branch], why = words_in(entry, told.marks)
                if why and layout.rest:  # else no text is recorded
                    self._notes.add(f"{NO_NAMES.format(branch)}: {why}")
                elif layout.rest and self._options.words and (unknown := unknown_in(entry, branch)):
                    self._notes.add(unknown)
                limits = entry.get("timestep_start"), entry.get("timestep_end")
                if limits != (None, None):
                    high, low = (default if x is None else float(x) for x, default in zip(limits, (math.inf, -math.inf)))
                    self.ranges[branch] = high, low
                if branch == "cond" or not self.pictures:
                    self.pictures = self._network.pictures(entry, told)
                    self.given_pictures = sum(mark.thumbnail is not None for mark in told.marks)
            chosen = self._rows[entry["uuid"]] = Rows(branch, layout, tokens, layers, told.marks)
            if carried is not None:
                self._carried[branch] = carried
        if chosen is None and limited:
            by_mask = any(entry.get("set_area_to_bounds") for entry in entries)
            remedy = (
                "set set_cond_area to 'default' where its mask is set" if by_mask else "leave out the node that sets the area"
            )
            raise LayoutError(
                f"the {branch} conditioning's reference tokens are limited to an area of the picture, and only those for the "
                f"whole of it can be recorded; {remedy}"
            )
        if chosen is not None:
            return
        if self._network.nulls or branch == "cond" or "cond" not in self._options.branches:
            if branch == "cond" and self._negative_has_one():
                raise LayoutError(SWAPPED)
            if self._options.parts and self._noise_mask is None:
                raise LayoutError(NO_CANVAS.format(branch))
            raise self._network.no_reference(branch, lengths)
        self.without.add(branch)
        self._notes.add(f"{branch} is not recorded: its conditioning has no reference")

    def _negative_has_one(self) -> bool:
        """Whether the negative conditioning brings a reference; then the positive may have been meant."""
        entries = [one for role, own in self._guider.conds.items() if BRANCH_OF.get(role) == "uncond" for one in own]
        found = [(carried_by(one), one) for one in entries]
        kept = [(carried, one) for carried, one in found if carried is None or not carried.null]
        return any(self._network.layout_of(one, self._told(one)) is not None for _, one in kept)

    def _told(self, entry: dict[str, Any]) -> Told:
        model, parts = self._guider.model_patcher.model, self._options.parts
        return told_of(entry, self._options.layout, parts, self._latent, model, self._noise_mask, self._hosts)

    @property
    def _size(self) -> tuple[int, int]:
        return self._latent[-2], self._latent[-1]

    def _is_part(self, entry: dict[str, Any]) -> bool:
        """Whether the model is called with a part of the latent."""
        if "area" not in entry:
            return False
        height, width, *corner = entry["area"]
        return height < self._size[0] or width < self._size[1] or any(corner)

    @cached_property
    def _widths(self) -> set[int]:
        return self._network.token_widths(self._guider.model_patcher.model.diffusion_model)

    def _check_fit(self, entry: dict[str, Any]) -> None:
        """Refuse a conditioning of ours that was made for another model or latent, before the model fails at it."""
        context, beside = (entry["model_conds"].get(name) for name in ("c_crossattn", "c_concat"))
        if context is not None and self._widths and context.cond.shape[-1] not in self._widths:
            raise RecordingError(
                f"the reference's tokens have {context.cond.shape[-1]} numbers each, but this MODEL attends to tokens of "
                f"{' or '.join(map(str, sorted(self._widths)))}; connect the MODEL that belongs to the conditioning's encoder"
            )
        if beside is not None and beside.cond.shape[-2:] != self._latent[-2:]:
            made, got = (" x ".join(map(str, size)) for size in (beside.cond.shape[-2:], self._latent[-2:]))
            raise RecordingError(
                f"this latent is {got} cells, but the conditioning was made for {made}; connect the LATENT of I²AM Try-On "
                f"Conditioning to the sampler"
            )


def _check_alike(conds: Sequence[list[dict[str, Any]] | None], roles: dict[int, str]) -> None:
    """Refuse a conditioning without the channels that one of ours brings beside it: the model would fail at their number.

    Raises:
        RecordingError: names the socket to connect.
    """
    given = [(roles.get(id(entries), ""), entry) for entries in conds for entry in entries or ()]
    if not any(carried_by(entry) and "c_concat" in entry["model_conds"] for _, entry in given):
        return
    for branch, entry in given:
        if "c_concat" not in entry["model_conds"]:
            socket = "negative" if branch == "uncond" else "positive"
            raise RecordingError(
                f"the sampler's {socket} conditioning lacks the channels that this MODEL needs beside the picture, so it is "
                f"not that of I²AM Try-On Conditioning (a text prompt?); connect its {socket} to the sampler's {socket}"
            )
