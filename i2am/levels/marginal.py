"""The levels of aggregation: ULAM, TLAM, HLAM and LLAM of the marginal maps (eqs. 4-7, 10-15; DESIGN 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ..errors import UnavailableError, shown
from ..geometry.masks import MaskLike, mask_of
from ..geometry.resample import bicubic, bilinear
from ..geometry.shapes import check_shape
from ..maps.facts import LayerInfo, Range
from ..maps.kinds import Kind, Shown, level_sides, shown_as
from ..maps.value import AttributionMaps
from .available import SINGLE, is_single, layers_for, refuse_heads
from .choice import EVERYTHING, Choice
from .cut import cut_notes
from .grids import common_grid, is_sized, name_of_reference, picture_size, selected_reference_grid
from .heat import UNMASKED, Heat, times_mask
from .presets import preset_of
from .selection import select
from .share import SHARES, split_of
from .steps import steps_label, time_groups, time_mean
from .word_maps import SIDE as WORDS
from .word_maps import word_shares

CLAMPED = (
    "the authors clamp the map of each token at 0 as they resize it; here it is the mean over tokens, which differs a little"
)
_RESIZE = {"bicubic": bicubic, "bilinear": bilinear}


ELSEWHERE = {
    "share": "share(maps) gives it for all references, the text and the picture together",
    "which reference": "which_reference(maps) gives it for all references together",
    "routes": "routes(maps) gives it for all references, the text and the picture together",
    "words": "word_shares(maps) gives it for all words, the references and the picture together",
    "SRAM": "sram(maps, (row, column)) gives it for a generated patch",
    "mirror": "sram(maps, (row, column), 'generated') gives it for a patch of the reference, mirror_of_object(maps, mask) for "
    "an object",
    "object": "mirror_of_object(maps, mask) gives it",
}
"""Maps that are no levels of one reference, and what gives them."""


def _kind_of(side: str) -> tuple[Kind, Shown]:
    sides = level_sides()
    if side in sides:
        return shown_as(side)
    if isinstance(side, str) and side in ELSEWHERE:
        raise UnavailableError(f"{side} is no map that the levels have: {ELSEWHERE[side]}; theirs are {', '.join(sides)}")
    near = [x for x in (*sides, *ELSEWHERE) if isinstance(side, str) and x.lower() == side.lower().replace("_", " ")]
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise UnavailableError(f"there is no side {shown(repr(side), 100)}; {meant}there are {', '.join(sides)}")


class _Builder:
    """Resizes one side's maps of a selection to the common grid, head by head."""

    def __init__(
        self,
        maps: AttributionMaps,
        side: str,
        choice: Choice,
        *,
        preset: str,
        placed_only: bool,
        over_time: bool = False,
        one_by_one: bool = False,
    ) -> None:
        kind, self.shown = _kind_of(side)
        self.maps, self.side, self.preset = maps, side, preset_of(preset)
        self.selection = select(maps, self.preset, choice, side=side, over_time=over_time, one_by_one=one_by_one)
        if choice.heads is not None:
            refuse_heads(side)
        chosen = layers_for(maps, self.selection, side, placed_only)
        self.on_reference = kind.along == "tokens"
        self.common = selected_reference_grid(self.selection) if self.on_reference else common_grid(maps, "generated")
        self.kind = kind.tensors[-1] if placed_only else kind.name  # some kinds are also kept over placed tokens alone
        self.layers = self._kept(chosen)

    def _kept(self, chosen: tuple[LayerInfo, ...]) -> tuple[LayerInfo, ...]:
        """Those of the chosen layers that have the kind; where none has, the recording may be older than the kind."""
        key = self.selection.branch, self.selection.reference
        kept = tuple(x for x in chosen if self.maps.has(self.kind, x.name, *key))
        if not kept:
            why = self.shown.lacking or "record again, with this version of I2AM"
            raise UnavailableError(f"this recording has no {self.side}: {why}")
        return kept

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
        notes = [*self.shown.notes, *cut_notes(self.maps, self.side, self.selection, self.layers), *self.maps.notes]
        if self.shown.one_key:
            if any(is_single(x, self.selection.reference) for x in self.layers):
                notes.insert(0, SINGLE)
        elif len(self.layers) < len(self.selection.layers):
            few = "single-token reference" if not self.shown.lacking else "single-token reference, or without this route,"
            notes.append(f"layers with a {few} are left out")
        if self.on_reference and self.preset.masked_g2r:
            notes.append(UNMASKED)
        if self.preset.invert_r2g and self._clamps_means():
            notes.append(CLAMPED)
        rect = self.common.rect
        if rect is None:
            notes.append("which part of the picture the tokens cover is unknown")
        return Heat(
            values=torch.stack(values),
            side=self.side,
            picture="reference" if self.on_reference else "generated",
            level=level,
            labels=tuple(labels),
            of=name_of_reference(self.maps, self.selection.reference),
            size=picture_size(self.common),
            sized=is_sized(self.common),
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
        side: "R2G", "R2G-balanced", "mass", "G2R", "via text" or "G2R via text".
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

    With fewer steps than groups there is one panel per step, and a note says so.

    Raises:
        UnavailableError: as `ulam`; or ``groups`` is less than 1; or memory was short at recording and a group is not a
            union of the step ranges that were kept.
    """
    b = _Builder(maps, side, choice, preset=preset, placed_only=placed_only, over_time=True)
    ranges, notes = time_groups(maps, b.selection, groups, choice.steps is not None)
    values, shares = zip(*(b.mean(r) for r in ranges), strict=True)
    heat = b.heat("TLAM", list(values), [steps_label(maps, r) for r in ranges], list(shares))
    return replace(heat, notes=(*heat.notes, *notes))


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
    refuse_heads(side)
    indices = b.selection.heads or tuple(range(max(x.heads for x in b.layers)))
    per_layer = [(x, *b.panels(x, b.selection.steps)) for x in b.layers]
    values, labels, shares = [], [], []
    for head in indices:
        found = [(p, s, b.selection.heads_of(x)) for x, p, s in per_layer if head < x.heads]
        if not found:
            raise UnavailableError(f"none of the layers that have {side} maps has a head {head}; choose others")
        if any(len(p) != len(has) for p, _, has in found):
            raise UnavailableError(
                "the memory budget was too short for single heads: maps were kept as their mean over heads; raise budget_mb on "
                "I²AM Record, or budget in Python, and run again"
            )
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

    Without a choice of layers also those that the run's default leaves out of means.

    Raises:
        UnavailableError: as `ulam`.
    """
    b = _Builder(maps, side, choice, preset=preset, placed_only=placed_only, one_by_one=True)
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
    word: str = "",
) -> Heat:
    """The maps of a level, given by name.

    Args:
        maps: a recording.
        level: "ULAM", "TLAM", "HLAM" or "LLAM".
        side: see `ulam`; or "share", "which reference" or "routes", see `share.split_of`; or "words",
            see `word_maps.word_shares`.
        choice: what to take of the recording.
        groups: time groups of TLAM; other levels ignore it.
        preset: see `ulam`.
        placed_only: see `ulam`.
        reference_mask: MASK (1 or images, H, W), 1 = the object; the official preset multiplies G2R by it, the
            others ignore it.
        word: of the side "words", which of them; empty: all. Other sides ignore it.

    Raises:
        UnavailableError: there is no such level; else as the level's own function.
        I2AMError: the mask does not fit the run, or has another shape than the recorded reference image.
    """
    if level not in LEVELS:
        raise UnavailableError(f"there is no level {level!r}; there are {', '.join(LEVELS)}")
    if side == WORDS:
        if level not in ("ULAM", "TLAM"):
            raise UnavailableError(
                f"words exist as ULAM and TLAM, got {level}: they are kept as their mean over layers and heads"
            )
        return word_shares(maps, choice, word=word, preset=preset, groups=groups if level == "TLAM" else 1)
    if side in SHARES:
        return split_of(maps, level, side, choice, groups=groups, preset=preset)
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
