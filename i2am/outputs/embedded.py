"""The maps embedded in a page, with what is unavailable and what had to be coarsened to keep the page small."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import MaskError, UnavailableError
from ..geometry.cells import cells_under
from ..geometry.layout import TokenGrid
from ..geometry.resample import area
from ..levels.available import is_single
from ..levels.choice import Choice
from ..levels.marginal import ulam
from ..levels.patch import sram
from ..levels.steps import steps_label
from ..maps.facts import LayerInfo, Range
from ..maps.kinds import Kind, Shown, all_shown
from ..maps.value import AttributionMaps
from .embedded_words import EmbeddedWords
from .packing import pack

FINE = 6_000_000
"""Patch maps are embedded with 16 bits up to this many bytes, else with 8."""
MOST = 36_000_000
"""Patch maps that would take more bytes are coarsened, and the page says so."""
REST = "rest: "
"""What the side of a part that is no reference's is called, before the part's name."""


class Embedded:
    """The arrays embedded in a page, with what is unavailable and what had to be coarsened."""

    def __init__(self, maps: AttributionMaps, branch: str, image: int, fine: int, most: int) -> None:
        self.maps, self.branch, self.image = maps, branch, image
        self.notes: list[str] = []
        self.unavailable: list[dict[str, str]] = []
        self.remarks: list[dict[str, str]] = []
        self.marginals: list[dict[str, Any]] = []
        self.pairwise: list[dict[str, Any]] = []
        self.shown = [i for i, group in enumerate(maps.groups) if maps.steps_seen(group)]
        self.steps = [maps.steps_seen(maps.groups[i]) for i in self.shown]
        self._every_head = self._every_group = True
        self.words = EmbeddedWords(maps, branch, image, [maps.groups[i] for i in self.shown], most // 6)
        self.rest = self._embed_levels(most // 3 - self.words.size)
        self.marginals += self.words.marginals
        self.notes += [sentence(note) for note in self.words.notes]
        bits = self._embed_pairwise(fine, most)
        self.quantisation = (
            "The numbers shown here are rounded: each row of a map is stored as integers with a scale of its own, "
            f"16 bits for maps over steps, heads and layers, {bits} bits for patch maps. A patch map's value is off by at "
            f"most {100 / (2**bits - 1) / 2:.2g} % of its row's highest, not counting tokens without a place."
        )

    def groups(self) -> list[dict[str, Any]]:
        """The time groups with recorded steps, labelled with their steps and noise levels."""
        ranges = [self.maps.groups[i] for i in self.shown]
        return [
            {"start": start, "stop": stop, "steps": steps, "label": steps_label(self.maps, (start, stop))}
            for (start, stop), steps in zip(ranges, self.steps, strict=True)
        ]

    def object_under(self, mask: Tensor | None, grid: TokenGrid) -> list[int] | None:
        """The cells under the first reference's mask; None if their mirror is unavailable, or if the mask has none: noted."""
        if mask is None or "mirror" in self.unavailable[0]:
            return None
        try:
            return [row * grid.columns + column for row, column in cells_under(mask, grid, "reference mask")]
        except MaskError as error:
            self.notes.append(sentence(f"where the object went is not shown: {error}"))
            return None

    def _embed_levels(self, most: int) -> list[str]:
        """Embed all maps over steps, as finely as ``most`` bytes allow; returns the names of parts that are no reference's."""
        while True:
            self.marginals, self.unavailable, self.remarks = [], [], []
            for reference in range(len(self.maps.references)):
                self._embed_marginals(reference)
            rest = self._embed_rest()
            size = sum(len(entry["values"]["data"]) + len(entry["values"]["scales"]) for entry in self.marginals)
            if size <= most or not self._every_group:
                return rest
            if self._every_head and any(entry["values"]["shape"][1] > 1 for entry in self.marginals):
                self._every_head = False
                self.notes.append("To keep this small, maps of the whole picture are embedded as their mean over heads.")
            else:
                self._every_group = False
                self.notes.append("To keep this small, maps of the whole picture are embedded as their mean over steps.")

    def _embed_marginals(self, reference: int) -> None:
        """Embed the maps of one reference, and note why a side is missing."""
        missing, remarks = {}, {}
        for kind, shown in ((kind, shown) for kind, shown in all_shown() if kind.levels and self.has(kind)):
            side, name = shown.side, kind.name
            try:
                placed_only = self._placed_only(shown, reference)
            except UnavailableError as error:
                missing[side] = sentence(error)
                continue
            if placed_only:
                name += "_placed"
                remarks[side] = "Tokens without a place are left out; they get the rest of the attention."
            for index, layer in enumerate(self.maps.layers):
                single = is_single(layer, reference) and not shown.one_key
                if single or not self.maps.has(name, layer.name, self.branch, reference):
                    continue
                by_step = kind.per == "step"
                read = self.maps.marginal if by_step else self.maps.grouped
                kept = read(name, layer.name, self.branch, reference)[self.image].numpy()
                ranges = self.maps.bins if by_step else self.maps.groups
                entry = {
                    "side": side,
                    "reference": reference,
                    "layer": index,
                    "values": pack(
                        self._grouped(kept, reference, ranges),
                        16,
                        self._leading(layer, reference) if kind.along == "tokens" else 0,
                    ),
                }
                self.marginals.append(entry)
        try:
            sram(self.maps, (0, 0), choice=Choice(self.branch, reference, self.image))
        except UnavailableError as error:
            missing["SRAM"] = missing["mirror"] = sentence(error)
        self.unavailable.append(missing)
        self.remarks.append(remarks)

    def _embed_rest(self) -> list[str]:
        """Embed what joint attention spends on parts that are no reference's, as sides of their own; returns their names."""
        names: dict[str, None] = {}
        for index, layer in enumerate(self.maps.layers):
            if not self.maps.has("rest", layer.name, self.branch):
                continue
            kept = self.maps.marginal("rest", layer.name, self.branch)[self.image].numpy()
            for i, name in enumerate(layer.rest):
                values = pack(self._grouped(kept[:, :, i], 0, self.maps.bins), 16, 0)
                self.marginals.append({"side": f"{REST}{name}", "reference": 0, "layer": index, "values": values})
                names[name] = None
        return list(names)

    def _leading(self, layer: LayerInfo, reference: int) -> int:
        return layer.references[reference].grid.leading

    def has(self, kind: Kind) -> bool:
        """Whether a kind is to be spoken of: of joint attention's own, only those that the run has."""
        key = self.branch, 0
        return kind.calls != "joint" or any(self.maps.has(kind.name, layer.name, *key) for layer in self.maps.layers)

    def _placed_only(self, shown: Shown, reference: int) -> bool:
        """Whether a side is available over placed tokens only, since the reference's tokens are all the keys."""
        choice = Choice(self.branch, reference, self.image)
        try:
            ulam(self.maps, shown.side, choice)
        except UnavailableError:
            if shown.every_key:
                raise
            ulam(self.maps, shown.side, choice, placed_only=True)
            return True
        return False

    def _grouped(self, values: NDArray[np.float32], reference: int, ranges: Sequence[Range]) -> NDArray[np.float32]:
        """(ranges, heads, length) to its mean per group, or to (1, heads, length) if ranges cross group bounds."""
        seen = np.asarray([self.maps.steps_seen(b, reference) for b in ranges], np.float32)
        edges = [start for start, _ in ranges]
        groups = [self.maps.groups[i] for i in self.shown]
        if not self._every_group or not {start for start, _ in self.maps.groups} <= set(edges):
            groups = [(0, self.maps.run.steps)]
        if not self._every_head:
            values = values.mean(1, keepdims=True)
        out = []
        for start, stop in groups:
            inside = slice(bisect_left(edges, start), bisect_left(edges, stop))
            out.append(np.tensordot(seen[inside], values[inside], 1) / max(seen[inside].sum(), 1))
        return np.stack(out)

    def _embed_pairwise(self, fine: int, most: int) -> int:
        """Embed the patch maps, as finely as ``fine`` and ``most`` bytes allow; returns the bits per value."""
        names = [x.name for x in self.maps.layers]
        found = [
            (reference, names.index(layer.name) if layer.name in names else -1, layer)
            for reference, missing in enumerate(self.unavailable)
            if "SRAM" not in missing
            for layer in self.maps.pair_layers(self.branch, reference)
            if not is_single(layer, reference)
        ]
        heads, groups, block = self.maps.pairwise_heads == "heads", len(self.shown) > 1, 1
        bits = 16
        while not self._packed_within(found, bits, heads, groups, block, fine if bits == 16 else most):
            if bits == 16:
                bits = 8
            elif heads:
                heads = False
                self.notes.append("To keep this small, patch maps are embedded as their mean over heads.")
            elif groups:
                groups = False
                self.notes.append("To keep this small, patch maps are embedded as their mean over all steps.")
            else:
                spare = [x for x in found if sum(x[0] == other[0] for other in found) > 1]
                if spare:
                    largest = max(spare, key=lambda x: x[2].grid.placed * x[2].references[x[0]].grid.tokens)
                    found.remove(largest)
                    self.notes.append(f"To keep this small, patch maps of layer {largest[2].name} are left out.")
                else:
                    block += 1
        if block > 1:
            self.notes.append(f"To keep this small, patch maps are embedded in blocks of about {block} x {block} patches.")
        return bits

    def _packed_within(
        self, found: list[tuple[int, int, LayerInfo]], bits: int, heads: bool, groups: bool, block: int, limit: int
    ) -> bool:
        """Embed the patch maps with these settings; returns False as soon as they take more than ``limit`` bytes."""
        self.pairwise, size = [], 0
        for reference, index, layer in found:
            values = self.maps.pairwise(layer.name, self.branch, reference)[self.image, self.shown].numpy()
            if not heads:
                values = values.mean(1, keepdims=True)
            if not groups:
                steps = [self.maps.steps_seen(self.maps.groups[i], reference) for i in self.shown]
                values = np.average(values, 0, steps)[None].astype(np.float32)
            grids = _grids(layer, reference)
            if block > 1:
                values, grids = in_blocks(values, grids, block)
            packed = pack(values, bits, self._leading(layer, reference))
            self.pairwise.append({"reference": reference, "layer": index, "grids": grids, "values": packed})
            size += len(packed["data"]) + len(packed["scales"])
            if size > limit:
                return False
        return True


def _grids(layer: LayerInfo, reference: int) -> dict[str, Any]:
    """The grids of a layer's patch maps, which may be coarser than its own."""
    of = layer.references[reference].grid
    return {
        "generated": [layer.grid.rows, layer.grid.columns],
        "reference": [of.rows, of.columns],
        "leading": of.leading,
    }


def in_blocks(values: NDArray[np.float32], grids: dict[str, Any], block: int) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Patch maps (groups, heads, queries, leading + keys) on grids with ``block`` times fewer rows and columns, and these.

    Queries become means, keys sums, both over the area that a new cell covers; leading keys stay.
    """
    leading, shape = grids["leading"], values.shape[:2]
    rows, keys = ([-(-size // block) for size in grids[name]] for name in ("generated", "reference"))
    whole = torch.from_numpy(values).flatten(0, 1)  # (groups * heads, queries, tokens)
    whole = area(whole.movedim(2, 1).unflatten(2, grids["generated"]), (rows[0], rows[1])).flatten(2).movedim(1, 2)
    placed = area(whole[..., leading:].unflatten(2, grids["reference"]), (keys[0], keys[1])).flatten(2)
    placed = placed * (math.prod(grids["reference"]) / math.prod(keys))
    out = torch.cat([whole[..., :leading], placed], 2).unflatten(0, shape)
    return out.numpy(), {"generated": rows, "reference": keys, "leading": leading}


def sentence(error: Exception | str) -> str:
    """An error or a note as a sentence: with a capital letter and a full stop."""
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
