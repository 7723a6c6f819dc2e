"""The levels of aggregation: ULAM, TLAM, HLAM and LLAM of the marginal maps (eqs. 4-7, 10-15; DESIGN 4)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..errors import UnavailableError
from ..geometry.layout import WHOLE, Rect
from ..geometry.masks import MaskLike, mask_of
from ..geometry.resample import bicubic, bilinear, even_ranges
from ..geometry.shapes import check_shape
from ..maps.facts import LayerInfo, Range
from ..maps.kinds import Kind, Shown, level_sides, shown_as
from ..maps.value import AttributionMaps
from .available import SINGLE, is_single, layers_for
from .choice import EVERYTHING, Choice
from .grids import common_grid, picture_size, selected_reference_grid
from .heat import UNMASKED, Heat, times_mask
from .presets import preset_of
from .selection import select
from .steps import steps_label, time_mean

CLAMPED = (
    "the authors clamp the map of each token at 0 as they resize it; here it is the mean over tokens, which differs a little"
)
_RESIZE = {"bicubic": bicubic, "bilinear": bilinear}


def _kind_of(side: str) -> tuple[Kind, Shown]:
    sides = level_sides()
    if side not in sides:
        raise UnavailableError(f"there is no side {side!r}; there are {', '.join(sides)}")
    return shown_as(side)


class _Builder:
    """Resizes one side's maps of a selection to the common grid, head by head."""

    def __init__(
        self, maps: AttributionMaps, side: str, choice: Choice, *, preset: str, placed_only: bool, over_time: bool = False
    ) -> None:
        kind, self.shown = _kind_of(side)
        self.maps, self.side, self.preset = maps, side, preset_of(preset)
        self.selection = select(maps, self.preset, choice, side=side, over_time=over_time)
        self.layers = layers_for(maps, self.selection, side, placed_only)
        self.on_reference = kind.along == "tokens"
        self.common = selected_reference_grid(self.selection) if self.on_reference else common_grid(maps, "generated")
        self.kind = kind.tensors[-1] if placed_only else kind.name  # some kinds are also kept over placed tokens alone
        self._check_kept()

    def _check_kept(self) -> None:
        """Refuse a kind that this recording lacks; it may be older than the kind."""
        kept = [self.maps.has(self.kind, x.name, self.selection.branch, self.selection.reference) for x in self.layers]
        if not any(kept):
            raise UnavailableError(f"this recording has no {self.side}: record again, with this version of I2AM")

    def panels(self, layer: LayerInfo, steps: Range) -> tuple[Tensor, Tensor]:
        """One layer's maps on the common grid, (heads, h, w), and its unplaced shares, (heads,)."""
        values = time_mean(self.maps, self.kind, layer, self.selection, steps)
        grid, share = layer.grid, torch.zeros(len(values))
        if self.on_reference:
            grid = self.selection.reference_of(layer).grid
            share = values[:, : grid.leading].sum(1)
            values = values[:, grid.leading :]
        if self.preset.scaled and self.shown.scaled:
            values = values * (grid.placed / self.common.placed)
        size = (self.common.rows, self.common.columns)
        # G2R is resized like SRAM, whose mean over all patches then is G2R even if layers see unequal reference grids
        panels = values.reshape(-1, grid.rows, grid.columns)
        if self.preset.scaled:
            return _RESIZE[self.shown.resize](panels, size), share
        return bicubic(panels, size, clamped=self._clamped), share

    @property
    def _clamped(self) -> bool:
        """Whether what bicubic overshoots is clamped at 0."""
        return self.preset.clamped_g2r or not self.on_reference

    def mean(self, steps: Range) -> tuple[Tensor, float]:
        """The mean over all chosen layers and heads, (h, w)."""
        panels, shares = zip(*(self.panels(x, steps) for x in self.layers), strict=True)
        # a mean over heads counts as many heads as it was taken over
        weights = torch.tensor([len(self.selection.heads_of(x)) for x in self.layers], dtype=torch.float32)
        weights = weights / weights.sum()
        values = torch.stack([p.mean(0) for p in panels])
        return (values * weights.view(-1, 1, 1)).sum(0), float((torch.stack([s.mean() for s in shares]) * weights).sum())

    def heat(self, level: str, values: list[Tensor], labels: list[str], shares: list[float]) -> Heat:
        """Panels on the common grid as a heat, with the notes that readers need."""
        notes = [*self.shown.notes, *self.maps.notes]
        if self.shown.one_key:
            if any(is_single(x, self.selection.reference) for x in self.layers):
                notes.insert(0, SINGLE)
        elif len(self.layers) < len(self.selection.layers):
            notes.append("layers with a single-token reference are left out")
        if self.on_reference and self.preset.masked_g2r:
            notes.append(UNMASKED)
        if self.preset.invert_r2g and self._clamps_means():
            notes.append(CLAMPED)
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
            threshold=self.preset.threshold,
            order=self.preset.order,
            clamped=self._clamped,
        )

    def _clamps_means(self) -> bool:
        """Whether a map on the generated picture is resized as the mean over several tokens."""
        several = any(self.selection.reference_of(x).grid.tokens > 1 for x in self.layers)
        resized = any((x.grid.rows, x.grid.columns) != (self.common.rows, self.common.columns) for x in self.layers)
        return not self.on_reference and several and resized


def ulam(
    maps: AttributionMaps,
    side: str = "R2G",
    choice: Choice = EVERYTHING,
    *,
    preset: str = "default",
    placed_only: bool = False,
) -> Heat:
    """The time-and-head integrated map: one panel, the mean over steps, heads and layers.

    Args:
        maps: a recording.
        side: "R2G", "R2G-balanced", "mass" or "G2R".
        choice: what to take of the recording.
        preset: "default", "paper" or "official".
        placed_only: R2G, R2G-balanced and mass over the reference's placed tokens only.

    Raises:
        UnavailableError: the choice does not exist, or the side is meaningless for these layers.
    """
    b = _Builder(maps, side, choice, preset=preset, placed_only=placed_only)
    value, share = b.mean(b.selection.steps)
    return b.heat("ULAM", [value], [steps_label(maps, b.selection.steps)], [share])


def tlam(
    maps: AttributionMaps,
    side: str = "R2G",
    choice: Choice = EVERYTHING,
    *,
    groups: int = 5,
    preset: str = "default",
    placed_only: bool = False,
) -> Heat:
    """The head-integrated maps: one panel per time group (half-open, as even as possible), each the mean over its steps.

    Raises:
        UnavailableError: as `ulam`; or there are fewer steps than groups; or memory was short at recording and a
            group is not a union of the step ranges that were kept.
    """
    b = _Builder(maps, side, choice, preset=preset, placed_only=placed_only, over_time=True)
    start, stop = b.selection.steps
    if choice.steps is None:  # a run that started late or stopped early
        start = next(a for a, b in maps.bins if a <= maps.recorded[0] < b)
        stop = next(b for a, b in maps.bins if a <= maps.recorded[-1] < b)
    if not 1 <= groups <= stop - start:
        which = "recorded" if choice.steps is None else "chosen"
        raise UnavailableError(
            f"{groups} time groups were asked for; the {which} steps {start} to {stop} can be split into 1 to {stop - start}"
        )
    ranges = [(start + lo, start + hi) for lo, hi in even_ranges(stop - start, groups)]
    values, shares = zip(*(b.mean(r) for r in ranges), strict=True)
    return b.heat("TLAM", list(values), [steps_label(maps, r) for r in ranges], list(shares))


def hlam(
    maps: AttributionMaps,
    side: str = "R2G",
    choice: Choice = EVERYTHING,
    *,
    preset: str = "default",
    placed_only: bool = False,
) -> Heat:
    """The time-integrated maps: one panel per head index, the mean over the chosen layers that have it.

    Raises:
        UnavailableError: as `ulam`; or only the mean over heads was kept.
    """
    b = _Builder(maps, side, choice, preset=preset, placed_only=placed_only)
    indices = b.selection.heads or tuple(range(max(x.heads for x in b.layers)))
    per_layer = [(x, *b.panels(x, b.selection.steps)) for x in b.layers]
    values, labels, shares = [], [], []
    for head in indices:
        found = [(p, s, b.selection.heads_of(x)) for x, p, s in per_layer if head < x.heads]
        if not found:
            raise UnavailableError(f"none of the layers that have {side} maps has a head {head}; choose others")
        if any(len(p) != len(has) for p, _, has in found):
            raise UnavailableError("marginal maps were kept only as their mean over heads; record again with more memory")
        values.append(torch.stack([p[has.index(head)] for p, _, has in found]).mean(0))
        shares.append(float(torch.stack([s[has.index(head)] for _, s, has in found]).mean()))
        few = "" if len(found) == len(b.layers) else f" ({len(found)} layers)"
        labels.append(f"head {head}{few}")
    return b.heat("HLAM", values, labels, shares)


def llam(
    maps: AttributionMaps,
    side: str = "R2G",
    choice: Choice = EVERYTHING,
    *,
    preset: str = "default",
    placed_only: bool = False,
) -> Heat:
    """The maps per layer: one panel per layer in network order, the mean over steps and heads.

    Raises:
        UnavailableError: as `ulam`.
    """
    b = _Builder(maps, side, choice, preset=preset, placed_only=placed_only)
    found = [b.panels(x, b.selection.steps) for x in b.layers]
    labels = [f"{x.name} · {x.grid.rows}×{x.grid.columns}" for x in b.layers]
    return b.heat("LLAM", [p.mean(0) for p, _ in found], labels, [float(s.mean()) for _, s in found])


class Level(Protocol):
    """Makes the maps of one level: steps, heads or layers become panels, or all of them are averaged."""

    def __call__(
        self, maps: AttributionMaps, side: str = ..., choice: Choice = ..., *, preset: str = ..., placed_only: bool = ...
    ) -> Heat:
        """The maps, see `ulam`."""


LEVELS: dict[str, Level] = {"ULAM": ulam, "TLAM": tlam, "HLAM": hlam, "LLAM": llam}


def level_of(
    maps: AttributionMaps,
    level: str,
    side: str = "R2G",
    choice: Choice = EVERYTHING,
    *,
    groups: int = 5,
    preset: str = "default",
    placed_only: bool = False,
    reference_mask: MaskLike | None = None,
) -> Heat:
    """The maps of a level, given by name.

    Args:
        maps: a recording.
        level: "ULAM", "TLAM", "HLAM" or "LLAM".
        side: see `ulam`.
        choice: what to take of the recording.
        groups: time groups of TLAM; other levels ignore it.
        preset: see `ulam`.
        placed_only: see `ulam`.
        reference_mask: MASK (1 or images, H, W), 1 = the object; the official preset multiplies G2R by it, the
            others ignore it.

    Raises:
        UnavailableError: there is no such level; else as the level's own function.
        I2AMError: the mask does not fit the run, or has another shape than the recorded reference image.
    """
    if level not in LEVELS:
        raise UnavailableError(f"there is no level {level!r}; there are {', '.join(LEVELS)}")
    if level == "TLAM":
        heat = tlam(maps, side, choice, groups=groups, preset=preset, placed_only=placed_only)
    else:
        heat = LEVELS[level](maps, side, choice, preset=preset, placed_only=placed_only)
    if reference_mask is None or side != "G2R" or not preset_of(preset).masked_g2r:
        return heat
    mask = mask_of(reference_mask, choice.image, maps.images, "reference mask")
    known = maps.references[choice.reference].grid.picture or (0, 0)
    check_shape("reference mask", (mask.shape[0], mask.shape[1]), known, "recorded reference image")
    return times_mask(heat, mask)
