"""The levels of aggregation: ULAM, TLAM, HLAM and LLAM of the marginal maps (eqs. 4-7, 10-15; DESIGN 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import UnavailableError
from ..geometry.layout import WHOLE, Rect, TokenGrid
from ..geometry.masks import MaskLike, mask_of
from ..geometry.resample import bicubic, bilinear, even_ranges
from ..geometry.shapes import check_shape
from ..maps.facts import LayerInfo, Range
from ..maps.value import AttributionMaps
from .available import SINGLE, is_single, layers_for
from .grids import common_grid, picture_size, selected_reference_grid
from .heat import UNMASKED, Heat, times_mask
from .presets import Preset, preset_of
from .selection import Selection, select
from .steps import steps_label, time_mean

SIDES = ("R2G", "R2G-balanced", "mass", "G2R")
_KINDS = {"R2G": "r2g", "R2G-balanced": "balanced", "mass": "mass", "G2R": "g2r"}
COMPARATIVE = "comparative, not causal"


def _check_side(side: str) -> None:
    if side not in SIDES:
        raise UnavailableError(f"there is no side {side!r}; there are {', '.join(SIDES)}")


def _scale(preset: Preset, side: str, layer: LayerInfo, selection: Selection, common: TokenGrid) -> float:
    if not preset.scaled or side == "mass":
        return 1.0
    grid = selection.reference_of(layer).grid if side == "G2R" else layer.grid
    return grid.placed / common.placed


class _Builder:
    """Brings one side's maps of a selection to the common grid, head by head."""

    def __init__(
        self, maps: AttributionMaps, side: str, preset: str, placed_only: bool, choice: dict, over_time: bool = False
    ) -> None:
        _check_side(side)
        self.maps, self.side, self.preset = maps, side, preset_of(preset)
        self.selection = select(maps, self.preset, side=side, over_time=over_time, **choice)
        self.layers = layers_for(maps, self.selection, side, placed_only)
        self.on_reference = side == "G2R"
        self.common = selected_reference_grid(self.selection) if self.on_reference else common_grid(maps, "generated")
        self.kind = _KINDS[side] + ("_placed" if placed_only and not self.on_reference else "")

    def panels(self, layer: LayerInfo, steps: Range) -> tuple[Tensor, Tensor]:
        """One layer's maps on the common grid, (heads, h, w), and its unplaced shares, (heads,)."""
        values = time_mean(self.maps, self.kind, layer, self.selection, steps)
        grid, share = layer.grid, torch.zeros(len(values))
        if self.on_reference:
            grid = self.selection.reference_of(layer).grid
            share = values[:, : grid.leading].sum(1)
            values = values[:, grid.leading :]
        values = values * _scale(self.preset, self.side, layer, self.selection, self.common)
        size = (self.common.rows, self.common.columns)
        # as SRAM does it, so that its mean over all patches is G2R also where layers see unequal reference grids
        resize = bilinear if self.on_reference and self.preset.scaled else bicubic
        return resize(values.reshape(-1, grid.rows, grid.columns), size), share

    def mean(self, steps: Range) -> tuple[Tensor, float]:
        """The mean over all chosen layers and heads, (h, w)."""
        panels, shares = zip(*(self.panels(x, steps) for x in self.layers), strict=True)
        # heads that were kept as their mean count as many as they were
        weights = torch.tensor([len(self.selection.heads_of(x)) for x in self.layers], dtype=torch.float32)
        weights = weights / weights.sum()
        values = torch.stack([p.mean(0) for p in panels])
        return (values * weights.view(-1, 1, 1)).sum(0), float((torch.stack([s.mean() for s in shares]) * weights).sum())

    def heat(self, level: str, values: list[Tensor], labels: list[str], shares: list[float]) -> Heat:
        notes = list(self.maps.notes)
        if self.side == "R2G":
            notes.insert(0, COMPARATIVE)
            if any(is_single(x, self.selection.reference) for x in self.layers):
                notes.insert(0, SINGLE)
        elif len(self.layers) < len(self.selection.layers):
            notes.append("layers with a single-token reference are left out")
        if self.on_reference and self.preset.masked_g2r:
            notes.append(UNMASKED)
        rect: Rect | None = self.common.rect if self.on_reference else WHOLE
        if rect is None:
            notes.append("which part of the picture the tokens cover is unknown")
        return Heat(
            values=torch.stack(values),
            side=self.side,
            picture="reference" if self.on_reference else "generated",
            level=level,
            labels=tuple(labels),
            size=picture_size(self.common),
            rect=rect,
            notes=tuple(notes),
            unplaced=tuple(shares) if self.on_reference else (),
            colours=self.preset.colours,
            invert=self.preset.invert_r2g and not self.on_reference,
        )


def ulam(
    maps: AttributionMaps, side: str = "R2G", *, preset: str = "default", placed_only: bool = False, **choice: Any
) -> Heat:
    """The time-and-head integrated map: one panel, the mean over steps, heads and layers.

    Args:
        maps: a recording.
        side: "R2G", "R2G-balanced", "mass" or "G2R".
        preset: "default", "paper" or "official".
        placed_only: R2G, balanced and mass over the reference's placed tokens only.
        **choice: ``branch``, ``reference``, ``image``, ``layers`` (names or globs), ``heads``, ``steps`` (half-open).

    Raises:
        UnavailableError: the choice does not exist, or the side means nothing for these layers.
    """
    b = _Builder(maps, side, preset, placed_only, choice)
    value, share = b.mean(b.selection.steps)
    return b.heat("ULAM", [value], [steps_label(maps, b.selection.steps)], [share])


def tlam(
    maps: AttributionMaps,
    side: str = "R2G",
    groups: int = 5,
    *,
    preset: str = "default",
    placed_only: bool = False,
    **choice: Any,
) -> Heat:
    """The head-integrated maps: one panel a time group (half-open, as even as possible), each the mean per step.

    Raises:
        UnavailableError: as `ulam`; or there are fewer steps than groups; or memory was short at recording and a
            group is not a union of the step ranges that were kept.
    """
    b = _Builder(maps, side, preset, placed_only, choice, over_time=True)
    start, stop = b.selection.steps
    if choice.get("steps") is None:  # a run that started late or stopped early
        start = next(a for a, b in maps.bins if a <= maps.recorded[0] < b)
        stop = next(b for a, b in maps.bins if a <= maps.recorded[-1] < b)
    if not 1 <= groups <= stop - start:
        which = "recorded" if choice.get("steps") is None else "chosen"
        raise UnavailableError(
            f"{groups} time groups were asked for; the {which} steps {start} to {stop} can make 1 to {stop - start}"
        )
    ranges = [(start + lo, start + hi) for lo, hi in even_ranges(stop - start, groups)]
    values, shares = zip(*(b.mean(r) for r in ranges), strict=True)
    return b.heat("TLAM", list(values), [steps_label(maps, r) for r in ranges], list(shares))


def hlam(
    maps: AttributionMaps, side: str = "R2G", *, preset: str = "default", placed_only: bool = False, **choice: Any
) -> Heat:
    """The time-integrated maps: one panel a head index, the mean over the chosen layers that have it.

    Raises:
        UnavailableError: as `ulam`; or only the mean over heads was kept.
    """
    b = _Builder(maps, side, preset, placed_only, choice)
    indices = b.selection.heads or tuple(range(max(x.heads for x in b.layers)))
    per_layer = [(x, *b.panels(x, b.selection.steps)) for x in b.layers]
    values, labels, shares = [], [], []
    for head in indices:
        found = [(p, s, b.selection.heads_of(x)) for x, p, s in per_layer if head < x.heads]
        if not found:
            raise UnavailableError(f"none of the layers that have {side} maps has a head {head}; choose others")
        if any(len(p) != len(has) for p, _, has in found):
            raise UnavailableError("marginal maps were kept as their mean over heads only; record again with more memory")
        values.append(torch.stack([p[has.index(head)] for p, _, has in found]).mean(0))
        shares.append(float(torch.stack([s[has.index(head)] for _, s, has in found]).mean()))
        few = "" if len(found) == len(b.layers) else f" ({len(found)} layers)"
        labels.append(f"head {head}{few}")
    return b.heat("HLAM", values, labels, shares)


def llam(
    maps: AttributionMaps, side: str = "R2G", *, preset: str = "default", placed_only: bool = False, **choice: Any
) -> Heat:
    """The maps per layer: one panel a layer in network order, the mean over steps and heads.

    Raises:
        UnavailableError: as `ulam`.
    """
    b = _Builder(maps, side, preset, placed_only, choice)
    found = [b.panels(x, b.selection.steps) for x in b.layers]
    labels = [f"{x.name} · {x.grid.rows}×{x.grid.columns}" for x in b.layers]
    return b.heat("LLAM", [p.mean(0) for p, _ in found], labels, [float(s.mean()) for _, s in found])


LEVELS: dict[str, Callable[..., Heat]] = {"ULAM": ulam, "TLAM": tlam, "HLAM": hlam, "LLAM": llam}


def level_of(
    maps: AttributionMaps,
    level: str,
    side: str = "R2G",
    *,
    groups: int = 5,
    preset: str = "default",
    reference_mask: MaskLike | None = None,
    **choice: Any,
) -> Heat:
    """The maps of a level by its name.

    Args:
        maps: a recording.
        level: "ULAM", "TLAM", "HLAM" or "LLAM".
        side: see `ulam`.
        groups: time groups of TLAM; no other level has them.
        preset: see `ulam`.
        reference_mask: MASK (1 or images, H, W), 1 = the object; the official preset shows G2R times it, the others
            do not use it.
        **choice: see `ulam`.

    Raises:
        UnavailableError: there is no such level, or as the level's own function.
        I2AMError: the mask does not fit the run, or has another shape than the recorded reference image.
    """
    if level not in LEVELS:
        raise UnavailableError(f"there is no level {level!r}; there are {', '.join(LEVELS)}")
    heat = LEVELS[level](maps, side, **({"groups": groups} if level == "TLAM" else {}), preset=preset, **choice)
    if reference_mask is None or side != "G2R" or not preset_of(preset).masked_g2r:
        return heat
    mask = mask_of(reference_mask, choice.get("image", 0), maps.images, "reference mask")
    known = maps.references[choice.get("reference", 0)].grid.picture or (0, 0)
    check_shape("reference mask", (mask.shape[0], mask.shape[1]), known, "recorded reference image")
    return times_mask(heat, mask)
