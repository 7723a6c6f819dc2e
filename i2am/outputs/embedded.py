"""The maps embedded in a page, with what is unavailable and what had to be coarsened to keep the page small."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import MaskError, UnavailableError
from ..geometry.cells import cells_under
from ..geometry.layout import TokenGrid
from ..levels.available import is_single
from ..levels.choice import Choice
from ..levels.marginal import ulam
from ..levels.patch import sram
from ..levels.steps import steps_label
from ..maps.facts import LayerInfo
from ..maps.kinds import Shown, all_shown
from ..maps.value import AttributionMaps
from .packing import pack

FINE = 8_000_000
"""Patch maps are embedded with 16 bits up to this many bytes, else with 8."""


MOST = 48_000_000
"""Patch maps that would take more bytes are coarsened, and the page says so."""


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
        for reference in range(len(maps.references)):
            self._embed_marginals(reference)
        bits = self._embed_pairwise(fine, most)
        self.quantisation = (
            "The numbers in this page are rounded: each row of a map is stored as integers with a scale of its own, "
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

    def _embed_marginals(self, reference: int) -> None:
        """Embed the maps of one reference, and note why a side is missing."""
        missing, remarks = {}, {}
        for kind, shown in ((kind, shown) for kind, shown in all_shown() if kind.per == "step"):
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
                kept = self.maps.marginal(name, layer.name, self.branch, reference)[self.image].numpy()
                entry = {
                    "side": side,
                    "reference": reference,
                    "layer": index,
                    "values": pack(
                        self._grouped(kept, reference), 16, self._leading(layer, reference) if kind.along == "tokens" else 0
                    ),
                }
                self.marginals.append(entry)
        try:
            sram(self.maps, (0, 0), choice=Choice(self.branch, reference, self.image))
        except UnavailableError as error:
            missing["SRAM"] = missing["mirror"] = sentence(error)
        self.unavailable.append(missing)
        self.remarks.append(remarks)

    def _leading(self, layer: LayerInfo, reference: int) -> int:
        return layer.references[reference].grid.leading

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

    def _grouped(self, values: NDArray[np.float32], reference: int) -> NDArray[np.float32]:
        """(bins, heads, length) to its mean per group, or to (1, heads, length) if bins cross group bounds."""
        seen = np.asarray([self.maps.steps_seen(b, reference) for b in self.maps.bins], np.float32)
        edges = [start for start, _ in self.maps.bins]
        groups = [self.maps.groups[i] for i in self.shown]
        if not {start for start, _ in self.maps.groups} <= set(edges):
            groups = [(0, self.maps.run.steps)]
        out = []
        for start, stop in groups:
            inside = slice(bisect_left(edges, start), bisect_left(edges, stop))
            out.append(np.tensordot(seen[inside], values[inside], 1) / max(seen[inside].sum(), 1))
        return np.stack(out)

    def _embed_pairwise(self, fine: int, most: int) -> int:
        """Embed the patch maps, as finely as ``fine`` and ``most`` bytes allow; returns the bits per value."""
        found = [
            (reference, index, layer)
            for reference, missing in enumerate(self.unavailable)
            for index, layer in enumerate(self.maps.layers)
            if "SRAM" not in missing
            and not is_single(layer, reference)
            and layer.name in self.maps.pairwise_layers(self.branch, reference)
        ]
        heads, groups = self.maps.pairwise_heads == "heads", len(self.shown) > 1
        bits = 16
        while not self._packed_within(found, bits, heads, groups, fine if bits == 16 else most):
            if bits == 16:
                bits = 8
            elif heads:
                heads = False
                self.notes.append("To keep this page small, patch maps are embedded as their mean over heads.")
            elif groups:
                groups = False
                self.notes.append("To keep this page small, patch maps are embedded as their mean over all steps.")
            else:
                largest = max(found, key=lambda x: x[2].grid.placed * x[2].references[x[0]].grid.tokens)
                found.remove(largest)
                self.notes.append(f"To keep this page small, patch maps of layer {largest[2].name} are left out.")
        return bits

    def _packed_within(self, found: list[tuple[int, int, LayerInfo]], bits: int, heads: bool, groups: bool, limit: int) -> bool:
        """Embed the patch maps with these settings; returns False as soon as they take more than ``limit`` bytes."""
        self.pairwise, size = [], 0
        for reference, index, layer in found:
            values = self.maps.pairwise(layer.name, self.branch, reference)[self.image, self.shown].numpy()
            if not heads:
                values = values.mean(1, keepdims=True)
            if not groups:
                steps = [self.maps.steps_seen(self.maps.groups[i], reference) for i in self.shown]
                values = np.average(values, 0, steps)[None].astype(np.float32)
            packed = pack(values, bits, self._leading(layer, reference))
            self.pairwise.append({"reference": reference, "layer": index, "values": packed})
            size += len(packed["data"]) + len(packed["scales"])
            if size > limit:
                return False
        return True


def sentence(error: Exception | str) -> str:
    """An error or a note as a sentence: with a capital letter and a full stop."""
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
