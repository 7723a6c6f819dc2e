"""The levels of aggregation: ULAM, TLAM, HLAM and LLAM of the marginal maps (eqs. 4-7, 10-15; DESIGN 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import UnavailableError
from ..geometry.layout import WHOLE, Rect, TokenGrid
from ..geometry.resample import Size, bicubic, bilinear, even_ranges
from ..maps.value import AttributionMaps, LayerInfo, Range
from .batch import MaskLike, check_shape, mask_of
from .heat import UNMASKED, Heat, times_mask
from .presets import Preset, preset_of
from .selection import BESIDE, OVER_REFERENCE, SINGLE, Selection, is_single, select, whole_ranges

SIDES = ("R2G", "R2G-balanced", "mass", "G2R")
_KINDS = {"R2G": "r2g", "R2G-balanced": "balanced", "mass": "mass", "G2R": "g2r"}
COMPARATIVE = "comparative, not causal"


def common_grid(
    maps: AttributionMaps, picture: str, layers: str | Sequence[str] | None = None, reference: int = 0
) -> TokenGrid:
    """The grid that maps on a picture are brought to.

    Args:
        maps: a recording.
        picture: "generated": the finest query grid of all recorded layers (the latent's where the network
            attends there); "reference": the largest reference grid of ``layers``.
    """
    if picture == "generated":
        return max((x.grid for x in maps.layers), key=lambda g: g.placed)
    selection = select(maps, preset_of("default"), layers=layers, reference=reference)
    return _reference_grid(selection)


def reference_grid(maps: AttributionMaps, reference: int = 0) -> TokenGrid:
    """The largest grid that any recorded layer sees of a reference; 0 x 0 where its tokens have no places."""
    return max((x.references[reference].grid for x in maps.layers), key=lambda g: g.placed)


def _reference_grid(selection: Selection) -> TokenGrid:
    return max((selection.reference_of(x).grid for x in selection.layers), key=lambda g: g.placed)


def picture_size(grid: TokenGrid) -> Size:
    """The picture's (H, W); where it is unknown 8 pixels a token, and 224 x 224 for tokens without places."""
    if not grid.placed:
        return grid.picture or (224, 224)
    return grid.picture if grid.picture and min(grid.picture) > 0 else (grid.rows * 8, grid.columns * 8)


def _check_side(side: str) -> None:
    if side not in SIDES:
        raise UnavailableError(f"there is no side {side!r}; there are {', '.join(SIDES)}")


def multi_token(maps: AttributionMaps, selection: Selection, what: str) -> tuple[LayerInfo, ...]:
    """The chosen layers whose maps over the reference mean something.

    Raises:
        UnavailableError: every chosen layer has a single key, the reference's tokens have no places on its picture, or
            the branch's keys are null tokens.
    """
    chosen = selection.layers
    if what in OVER_REFERENCE and selection.branch in maps.null_branches:
        chosen = tuple(x for x in chosen if x.name.startswith(BESIDE))  # these see the garment in both branches
        if not chosen:
            raise UnavailableError(
                f"{what} of branch {selection.branch!r} is refused: its keys stand for 'no reference', so no place on the "
                f"reference was looked at; use branch 'cond'"
            )
    layers = tuple(x for x in chosen if not is_single(x, selection.reference))
    if not layers:
        raise UnavailableError(
            f"{what} is unavailable: the chosen layers attend to a single token, and a softmax over one key is 1 "
            f"whatever the reference is; R2G is still defined"
        )
    if what in OVER_REFERENCE and not any(selection.reference_of(x).grid.placed for x in layers):
        reference = selection.reference_of(layers[0])
        raise UnavailableError(
            f"{what} is unavailable: the {reference.grid.tokens} tokens of {reference.name!r} have no places on its picture, "
            f"since its encoder mixes all of it into each; R2G and R2G-balanced are still defined"
        )
    return layers


def layers_for(maps: AttributionMaps, selection: Selection, side: str, placed_only: bool = False) -> tuple[LayerInfo, ...]:
    """The chosen layers that a side's map is made of.

    Raises:
        UnavailableError: the side means nothing for these layers.
    """
    if placed_only and not any(selection.reference_of(x).grid.placed for x in selection.layers):
        raise UnavailableError("placed_only leaves nothing: none of the reference's tokens has a place; leave it out")
    if side == "R2G":
        return selection.layers
    layers = multi_token(maps, selection, side)
    if side == "mass":
        whole = [x for x in layers if selection.reference_of(x).grid.tokens == x.keys_of(selection.reference)]
        whole = [x for x in whole if not (placed_only and selection.reference_of(x).grid.leading)]
        if whole:
            raise UnavailableError(
                f"the mass of layer {whole[0].name!r} is refused: the reference's tokens are all keys of the call, so the "
                f"mass is 1 everywhere; use placed_only where there are leading tokens, or another side"
            )
    return layers


def time_mean(maps: AttributionMaps, kind: str, layer: LayerInfo, selection: Selection, steps: Range) -> Tensor:
    """(heads chosen, length): the mean over the recorded steps of a range."""
    values = maps.marginal(kind, layer.name, selection.branch, selection.reference)[selection.image]
    inside = whole_ranges(maps.bins, steps, "marginal maps")
    count = torch.tensor([maps.steps_seen(maps.bins[i], selection.reference) for i in inside], dtype=torch.float32)
    if not count.sum():
        raise UnavailableError(
            f"none of the steps {steps[0]} to {steps[1]} was recorded: the run did not do them, or not with this reference"
        )
    mean = (values[inside] * count.view(-1, 1, 1)).sum(0) / count.sum()
    return _heads(mean, layer, selection)


def _heads(values: Tensor, layer: LayerInfo, selection: Selection) -> Tensor:
    """(heads, ...) to the chosen heads."""
    if selection.heads is None:
        return values
    if len(values) != layer.heads:
        raise UnavailableError(
            f"heads of layer {layer.name!r} were kept as their mean only; leave out the choice of heads, or record again "
            f"with more memory or per head"
        )
    return values[list(selection.heads_of(layer))]


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
        if over_time:
            self.preset = replace(self.preset, own=self.preset.own_over_time)
        self.selection = select(maps, self.preset, side=side, **choice)
        self.layers = layers_for(maps, self.selection, side, placed_only)
        self.on_reference = side == "G2R"
        self.common = _reference_grid(self.selection) if self.on_reference else common_grid(maps, "generated")
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


def steps_label(maps: AttributionMaps, steps: Range) -> str:
    """ "steps 0–9 · σ 14.6–5.3": the range's first and last step, and their noise levels or timesteps where known."""
    seen = [step for step in maps.recorded if steps[0] <= step < steps[1]]  # a run may start late or stop early
    first, last = (seen[0], seen[-1]) if seen else (steps[0], steps[1] - 1)
    label = f"steps {first}–{last}" if last > first else f"step {first}"
    for sign, known in (("σ", maps.run.sigmas), ("t", maps.run.timesteps)):
        if len(known) > last:
            a, b = known[first], known[last]
            return f"{label} · {sign} {a:.3g}–{b:.3g}" if last > first else f"{label} · {sign} {a:.3g}"
    return label
