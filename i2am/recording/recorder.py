"""Recorder: takes every attention call of a run, reduces it at once and returns one `AttributionMaps`."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..errors import RecordingError
from ..geometry.layout import WHOLE, Layout, Reference, TokenGrid, layout_for
from ..geometry.masks import MaskLike
from ..geometry.resample import area
from ..geometry.sequence import TextRows
from ..geometry.thinning import Kept, keep
from ..maps.facts import TOGETHER, LayerInfo, RunInfo
from ..maps.value import AttributionMaps
from .call_maps import CallMaps
from .checks import check_call, check_counts, checked_mask, grids_of, tokens_of
from .complete import Slot, complete
from .evaluations import Evaluations
from .joint_head import Parts
from .planning import Planning
from .reduce import CHUNK_BYTES, reduce_attention
from .reduce_joint import reduce_joint
from .scratch import Scratch
from .sums import Sums
from .together import Together
from .word_maps import WordMaps

BUDGET = 300_000_000
STRIDE = 2
CELLS = 32
"""What is kept of joint calls unless something else is asked for; see `Recorder`."""


class Recorder:
    """Collects the calls of one run.

    A host calls `observe` for every attention call and `end_step` when a step's evaluations are over; of several
    evaluations in a step (multi-evaluation samplers) the last one counts. `finish` returns the maps.

    Args:
        layout: what the keys are, for all layers or by layer name; None: every call brings its own (joint sequences).
        steps: T, the number of steps of the whole schedule.
        images: images in the batch.
        branches: which halves of classifier-free guidance are kept.
        layers: names or globs of the layers to record; None: all.
        pairwise: None, "mean" (over heads) or "heads".
        groups: time groups of the pairwise maps.
        budget: bytes that the recording may take (see `budget.plan`). While it runs, one step's maps, which
            take no more than that, and the chunks being processed come on top.
        inpaint_mask: (h, w) or (images, h, w) in 0-1, 1 = repainted, for eq. 17; or a Pillow picture, white = repainted.
        generated_size: (H, W) of the generated picture in pixels.
        null_branches: branches whose reference tokens stand for "no reference".
        chunk_bytes: see `reduce_attention`.
        stride: of joint calls one generated token of each ``stride`` x ``stride`` block is kept, whose maps are exact, and G2R
            has a standard error; None: 2, a quarter of them; 1: all.
        cells: most cells a side to which the pairwise maps of joint calls are pooled, on both pictures; None: 32; 0: as many
            as tokens.
        via_text: whether the route via text is recorded of joint calls (see `text_route`), which takes a product of the text's
            queries with all keys.
        word_maps: whether a map of each text token is kept of joint calls, as the mean over layers (see `word_maps`); needs
            ``via_text``.
        word_layers: the layers that these are the mean over; empty, or none of them among ``layers``: all recorded ones.
    """

    def __init__(
        self,
        layout: Layout | Callable[[str], Layout] | None,
        *,
        steps: int,
        images: int = 1,
        branches: Sequence[str] = ("cond",),
        layers: str | Sequence[str] | None = None,
        pairwise: str | None = "mean",
        groups: int = 5,
        budget: int = BUDGET,
        inpaint_mask: MaskLike | None = None,
        generated_size: tuple[int, int] = (0, 0),
        null_branches: Sequence[str] = ("uncond",),
        chunk_bytes: int = CHUNK_BYTES,
        stride: int | None = None,
        cells: int | None = None,
        via_text: bool = True,
        word_maps: bool = False,
        word_layers: Sequence[str] = (),
    ) -> None:
        self._stride, self._cells = STRIDE if stride is None else stride, CELLS if cells is None else cells
        check_counts(
            {"steps": steps, "images": images, "groups": groups, "budget": budget, "stride": self._stride}, self._cells
        )
        if pairwise not in (None, "mean", "heads"):
            raise RecordingError(f"pairwise must be None, 'mean' or 'heads', got {pairwise!r}")
        if not branches:
            raise RecordingError("at least one branch must be recorded: 'cond', 'uncond' or both")
        self._layout_of = None if layout is None else layout_for(layout)
        self.steps, self.images, self.branches = steps, images, tuple(branches)
        if layers is not None and not (isinstance(layers, Iterable) and all(isinstance(x, str) for x in layers)):
            raise RecordingError(f"layers are names or globs, such as 'transformer_blocks.*', got {layers!r}")
        self._via_text = via_text
        self._patterns = None if layers is None else (layers,) if isinstance(layers, str) else tuple(layers)
        self._chunk, self._generated_size = chunk_bytes, generated_size
        self._mask = checked_mask(inpaint_mask, images, generated_size)
        self._null = tuple(b for b in null_branches if b in self.branches)
        if word_maps and not via_text:
            raise RecordingError("maps of words come with the route via text; leave via_text on, or word_maps off")
        copies, masked = len(self.branches) * images, self._mask is not None
        self._planning = Planning(steps, groups, pairwise, copies, budget, masked, word_maps)
        self._layers: dict[str, LayerInfo] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self._asked: dict[tuple[str, str], set[bool]] = {}
        self._weights: dict[TokenGrid, Tensor] = {}
        self._kept: dict[tuple[TokenGrid, int], Kept] = {}
        self._scratch = Scratch()
        self._staged: dict[Slot, list[CallMaps]] = {}
        self._seen: dict[Slot, set[int]] = {}
        self._evaluations = Evaluations()
        self._sums = Sums()
        self._together, self._words = Together(), WordMaps(tuple(filter(self.wants, word_layers)))
        self._finished = False

    def wants(self, layer: str) -> bool:
        """Whether a layer is to be recorded."""
        return self._patterns is None or any(fnmatch.fnmatchcase(layer, p) for p in self._patterns)

    def observe(
        self,
        layer: str,
        grid: tuple[int, int] | TokenGrid,
        step: int,
        branch: str,
        q: Tensor,
        k: Tensor,
        v: Tensor | None,
        *,
        scale: float,
        mask: Tensor | None = None,
        output: Tensor | None = None,
        middle: bool = False,
        softmax: int = 0,
        layout: Layout | None = None,
        text: TextRows | None = None,
    ) -> None:
        """Reduce one branch's rows of one call: q (images, H, N, d), k and v (images, Hk, S, d).

        ``grid`` is that of the queries: (rows, columns) that cover the whole picture, or a `TokenGrid`.
        ``layout`` is what this call's keys are, where calls differ: its references must have the same grids in all calls of a
        layer, while the rest, such as a text, may be of any length.
        ``output`` is the call's output, (images, H, N, dv), if the host has it; see `reduce_attention`.
        ``softmax`` is the number of the call in its layer; see `Reference.softmax`.
        ``text`` are the queries of a joint call's text, for the route via text; see `text_route`.

        Raises:
            LayoutError: the call does not match the layout or the grid.
            RecordingError: the step is outside of the schedule, or the batch does not have ``images`` rows.
        """
        if self._finished:
            raise RecordingError("this recorder has finished; make a new one for another run")
        if not (self.wants(layer) and branch in self.branches):
            return
        check_call(layer, branch, step, self.steps, q.shape[0], self.images)
        whole, references = self._called(layer, layout)
        part = whole.part(softmax)
        part.check(layer, k.shape[2])
        grid = grid if isinstance(grid, TokenGrid) else TokenGrid(*grid)
        grid = replace(grid, picture=self._generated_size)
        info = LayerInfo(layer, grid, q.shape[1], middle, 0, references, whole.beside, whole.official)
        kept = self._kept_of(grid, self._stride if part.rest else 1)
        if part.rest:
            queries = 0 if kept.all else grid.placed
            info = replace(info, grid=kept.grid, queries=queries, cells=self._cells if self._planning.pairwise else 0)
            text = text if self._via_text else None
            self._asked.setdefault((layer, branch), set()).add(text is not None)
            if text is not None:
                starts = {start for start, _ in text.keys}
                names = tuple(dict.fromkeys(x.name for x in part.rest if x.start in starts))
                info = replace(info, words=((branch, text.q.shape[2]),), texts=names)
        self._register(info, branch, whole.key_count, Parts.of(part).names if part.rest else ())
        common: dict[str, Any] = {
            "layout": part,
            "scale": scale,
            "mask": mask,
            "query_weights": self._query_weights(kept.grid),
            "pairwise": self._planning.pairwise_of(layer),
            "scratch": self._scratch,
            "chunk_bytes": self._chunk,
        }
        with torch.no_grad():
            if part.rest:
                words = self._words.wants(layer, self._planning.plan)
                calls = reduce_joint(q, k, kept=kept, cells=self._cells, text=text, word_maps=words, **common)
                self._name_rest(layer, calls[0], Parts.of(part).names)
            else:
                calls = reduce_attention(q, k, v, queries=grid.placed, output=output, **common)
            self._stage((layer, branch, softmax), step, calls)

    def _stage(self, slot: Slot, step: int, calls: list[CallMaps]) -> None:
        """Keep a call's maps until its step ends, coarsened as the plan says."""
        layer, branch, softmax = slot
        info, plan = self._layers[layer], self._planning.plan
        if self._evaluations.take(step, branch, layer, softmax):
            self._together.discard({branch})  # of an earlier one
            self._words.discard({branch})
        self._words.take(layer, branch, calls, info.heads)
        if plan.together:
            self._together.take(branch, calls, info.heads)
        if info.rest and self._seen and not plan.marginal_heads:  # no layer is still to come that changes the plan
            for call in calls:
                call.average_heads()
        self._staged[slot] = calls

    def _called(self, layer: str, layout: Layout | None) -> tuple[Layout, tuple[Reference, ...]]:
        """What a call's keys are, and the layer's references, which all of its calls have."""
        if layout is not None:
            return layout, layout.in_order()
        if self._layout_of is None:
            raise RecordingError(f"nothing says what the keys of layer {layer!r} are; give the recorder or the call a layout")
        told = self._layout_of(layer)
        return told, told.references

    def _kept_of(self, grid: TokenGrid, stride: int) -> Kept:
        """Which of the generated tokens are kept."""
        if (grid, stride) not in self._kept:
            self._kept[grid, stride] = keep(grid, stride)
        return self._kept[grid, stride]

    def _name_rest(self, layer: str, first: CallMaps, names: tuple[str, ...]) -> None:
        """Bring the parts of a joint call's other keys to the layer's order; those that this call lacks stay 0."""
        own = self._layers[layer].rest
        if names != own and first.rest is not None:
            wide = first.rest.new_zeros(*first.rest.shape[:2], len(own), first.rest.shape[-1])
            wide[:, :, [own.index(name) for name in names]] = first.rest
            first.rest = wide

    def _register(self, info: LayerInfo, branch: str, keys: int, rest: tuple[str, ...]) -> None:
        """Add a layer to the plan when it is first seen, and refuse one that changes."""
        known = self._layers.setdefault(info.name, info)
        words = dict(known.words)
        for name, count in info.words:
            words[name] = max(count, words.get(name, 0))
        texts = tuple(dict.fromkeys((*known.texts, *info.texts)))
        info = replace(info, rest=known.rest, words=known.words, texts=known.texts)
        if known.references != info.references:
            raise RecordingError(
                f"the references of layer {info.name!r} changed within the run from {grids_of(known)} to {grids_of(info)}; one "
                f"recording holds the same references in all calls, so give both branches the same ones, or record one of them"
            )
        if known != info:
            raise RecordingError(
                f"layer {info.name!r} changed within the run from {tokens_of(known)} and "
                f"{known.heads} heads to {tokens_of(info)} and {info.heads}; one recording holds one size "
                f"of picture, so switch off what resizes it meanwhile (Deep Shrink, Kohya's hires fix), or leave the layer out "
                f"with `layers`"
            )
        info = replace(info, rest=tuple(dict.fromkeys((*known.rest, *rest))), words=tuple(words.items()), texts=texts)
        self._layers[info.name] = info
        self._keys[info.name, branch] = max(keys, self._keys.get((info.name, branch), 0))
        if not self._planning.knows(info.name):
            self._planning.take_in(info, late=bool(self._seen))  # an adapter may start late
            self._coarsen_staged()

    def _coarsen_staged(self) -> None:
        """Coarsen or drop the staged pairwise maps that the plan no longer has room for."""
        for (layer, branch, softmax), calls in self._staged.items():
            wanted = self._planning.pairwise_of(layer)
            if self._planning.plan.together and self._evaluations.has(branch, layer, softmax):
                self._together.take(branch, calls, self._layers[layer].heads)
            for call in calls:
                if call.pairwise is None:
                    continue
                if wanted is None:
                    call.pairwise = None
                elif wanted == "mean" and call.pairwise.shape[1] > 1:
                    call.pairwise = call.pairwise.mean(1, keepdim=True)

    def _query_weights(self, grid: TokenGrid) -> Tensor | None:
        if self._mask is None:
            return None
        if grid not in self._weights:
            self._weights[grid] = area(self._mask, (grid.rows, grid.columns), grid.rect or WHOLE).flatten(1)
        return self._weights[grid]

    def end_evaluation(self, branches: Collection[str]) -> None:
        """The evaluation of these branches is over. Hosts that cannot tell leave this out: a layer's next call says it too."""
        self._evaluations.end(branches)

    def discard(self, branches: Collection[str]) -> None:
        """Drop what was observed of these branches since the last step ended: something skipped parts of their evaluation."""
        self._evaluations.discard(branches)
        for slot in [slot for slot in self._staged if slot[1] in branches]:
            del self._staged[slot]
        self._together.discard(branches)
        self._words.discard(branches)

    def end_step(self, step: int) -> None:
        """Add the step's last evaluation to the sums.

        Raises:
            RecordingError: the step ended before.
        """
        self._evaluations.end(self.branches)
        for (branch, reference), (pairs, spread) in self._together.end_step().items():
            with torch.inference_mode(False), torch.no_grad():
                self._sums.add_together(branch, reference, pairs, spread, step, self._planning.plan)
        if self._planning.begun:
            self._words.end_step(self._sums, step, self._planning.plan)
        for layer, branch, softmax in list(self._staged):
            calls = self._staged.pop((layer, branch, softmax))  # freed before the next one's sums are made
            seen = self._seen.setdefault((layer, branch, softmax), set())
            if step in seen:
                raise RecordingError(f"step {step} of layer {layer!r} ended twice; a second run needs a new recorder")
            seen.add(step)
            # sums must outlive the run's inference mode, and be writable outside of it
            with torch.inference_mode(False), torch.no_grad():
                for reference, call in zip(self._layers[layer].indices(softmax), calls, strict=True):
                    self._sums.add((layer, branch, reference), call, step, self._planning.plan)

    def abandon(self) -> None:
        """Drop everything: the run was interrupted or failed."""
        self._finished = True
        self._scratch = Scratch()
        self._staged.clear()
        self._together.clear()
        self._words.discard(self.branches)
        self._sums.clear()

    def finish(
        self,
        run: RunInfo | None = None,
        thumbnails: dict[str, Tensor] | None = None,
        notes: Sequence[str] = (),
        *,
        without: Collection[str] = (),
        why: Mapping[str, str] = MappingProxyType({}),
    ) -> AttributionMaps:
        """The maps of all steps that ended; ``notes`` are the host's own remarks for the reader.

        Branches in ``without`` were evaluated, but without a reference: they may be missing. ``why`` says of a branch why
        it has nothing to record in some steps.

        Raises:
            RecordingError: nothing was recorded, or nothing in all steps.
        """
        if self._finished:
            raise RecordingError("this recorder has finished already, or its run failed; make a new one for another run")
        if not self._seen:
            raise RecordingError(
                "nothing was recorded: no cross-attention call of a wanted layer and branch was seen; check that the run "
                "uses this model, and `layers` and `branches`"
            )
        self._finished, self._scratch = True, Scratch()
        never = [b for b in self.branches if b not in without and not any(branch == b for _, branch, _ in self._seen)]
        if never:
            raise RecordingError(
                f"branch {never[0]!r} was never evaluated, so there are no maps; without guidance (cfg 1) a run has "
                f"only 'cond': record the branches that it has, or set another cfg"
            )
        found, plan = complete(self._seen, why), self._planning.plan
        layers = {name: self._with_keys(info, found.branches) for name, info in self._layers.items() if name in found.layers}
        branches = tuple(b for b in self.branches if b in found.branches)
        references = next(iter(layers.values())).references
        places = {(n, b, i) for n, b, softmax in found.slots for i in layers[n].indices(softmax)}
        self._sums.keep(places | {(TOGETHER, b, i) for b in branches for i in range(len(references))}, self._unasked)
        word_layers, lost = self._words.finish(self._sums, branches, layers, self._unasked)
        evaluations = tuple(map(self._evaluations.of, range(self.steps)))
        return AttributionMaps(
            self._sums.means(plan, layers, found.steps),
            self._mask,
            thumbnails,
            layers=tuple(layers.values()),
            references=references,
            branches=branches,
            images=self.images,
            run=replace(run or RunInfo(steps=self.steps), steps=self.steps, evaluations=evaluations),
            bins=plan.bins,
            groups=plan.groups,
            recorded=tuple(sorted(set().union(*found.steps.values()))),
            active=tuple(tuple(sorted(found.steps.get(r.softmax, ()))) for r in references),
            generated_size=self._generated_size,
            notes=(*self._cut_notes(layers), *notes, *found.notes, *plan.notes, *lost),
            null_branches=tuple(b for b in self._null if b in branches),
            word_layers=word_layers,
        )

    def _with_keys(self, info: LayerInfo, branches: Collection[str]) -> LayerInfo:
        """A layer with the number of keys that its calls had, by branch where that differs."""
        keys = {branch: count for (name, branch), count in self._keys.items() if name == info.name}
        differ = len(set(keys.values())) > 1
        words = tuple((b, count) for b, count in info.words if b in branches and (info.name, b) not in self._unasked)
        info = replace(info, words=words, texts=info.texts if words else ())
        return replace(info, keys=max(keys.values()), branch_keys=tuple(keys.items()) if differ else ())

    @property
    def _unasked(self) -> set[tuple[str, str]]:
        """The (layer, branch) in which some call had no queries of a text: maps of some steps alone do not mix with others."""
        return {where for where, asked in self._asked.items() if False in asked}

    def _cut_notes(self, layers: Mapping[str, LayerInfo]) -> Iterator[str]:
        """What was left to chance, or is not of every layer that it says."""
        cut = next((x for x in layers.values() if x.queries), None)
        if cut is not None:
            yield (
                f"one of each {self._stride} × {self._stride} generated patches was recorded, {cut.grid.placed} of "
                f"{cut.queries}: mass and shares are exact at these, and G2R says its standard error where that is known"
            )
        if self._planning.plan.together and len(layers) < len(self._layers):
            yield "pairwise maps are the mean over all layers of each step, also over those that were left out elsewhere"
