"""SRAM, the reference patches that one generated patch looked at (eq. 16), and its mirror."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from operator import index

import torch
from torch import Tensor

from ..errors import UnavailableError, shown
from ..geometry.cells import place_of
from ..geometry.layout import TokenGrid
from ..geometry.resample import Size, bilinear, bilinear_rows
from ..geometry.thinning import weights_of
from ..maps.facts import TOGETHER, LayerInfo
from ..maps.value import AttributionMaps
from .available import is_single, multi_token
from .choice import EVERYTHING, Choice
from .cut import pooled_notes
from .grids import common_grid, is_sized, name_of_reference, picture_size
from .heat import Heat
from .presets import preset_of
from .selection import Selection, select
from .steps import whole_ranges

DIFFUSE = 3.0
"""An SRAM whose peak is below this multiple of a uniform map is called diffuse."""
BLOCK = 1024
"""The mean over a region is computed in blocks of this many cells, to bound memory."""

Cell = tuple[int, int]


def asked_grid(
    maps: AttributionMaps, direction: str = "reference", choice: Choice = EVERYTHING, *, preset: str = "default"
) -> TokenGrid:
    """The grid that `sram` takes cells of: the generated picture's, or for "generated" (the mirror) the reference's.

    Raises:
        UnavailableError: as `sram`.
    """
    return _Pairwise.of(maps, direction, choice, preset).asked


def sram(
    maps: AttributionMaps,
    at: Cell | Sequence[Cell] | Tensor,
    direction: str = "reference",
    choice: Choice = EVERYTHING,
    *,
    each: bool = False,
    preset: str = "default",
    size: Size | None = None,
) -> Heat:
    """The row of A^r at one or more generated patches, on the reference picture; or its mirror.

    A query on a layer coarser than the common grid is the bilinear mix of that layer's rows, between cell
    centres, so that the mean over all cells is G2R. (If layers see unequal reference grids, this holds for preset
    "default" only: the others resize G2R differently.)

    Args:
        maps: a recording with pairwise maps.
        at: a cell (row a, column b), a list of them, or a (rows, columns) boolean mask. Cells are of the common
            grid of the generated picture; for ``direction`` "generated", of the reference grid.
        direction: "reference": which reference patches were used; "generated": the mirror, where a reference
            patch went: the column of A^r, averaged over steps, heads and layers, then normalised over the generated
            positions; of several patches the mean of these.
        choice: what to take of the recording; heads need a recording per head.
        each: one panel per cell instead of their mean.
        preset: see `ulam`.
        size: (H, W) of the picture that the cells lie on, in whose pixels labels name them; None: as recorded.

    Raises:
        UnavailableError: no pairwise maps, a cell outside of the grid, steps that are not a union of the
            recorded groups, or a single-token reference.
    """
    pairs, rules = _Pairwise.of(maps, direction, choice, preset), preset_of(preset)
    cells = _cells(at, pairs.asked, direction)
    of = pairs.rows if direction == "reference" else pairs.columns
    values, shares = of(cells) if each else _mean(of, cells, pairs.asked)
    notes = tuple(_concentration(v) for v in values) if direction == "reference" else ()
    one_note = notes if len(values) == 1 else ()
    size = size or (picture_size(pairs.asked) if is_sized(pairs.asked) else None)
    labels = [f"patch {place_of(pairs.asked, a, b, size)}" for a, b in cells]
    if len(cells) > 1 and not each:
        labels = [f"mean of {len(cells)} patches"]
    if len(notes) > 1:
        labels = [f"{label}: {note}" for label, note in zip(labels, notes, strict=True)]
    used = names_of(maps, pairs.layers)
    left_out = [x.name for x in pairs.selection.layers if x.name not in used and not is_single(x, choice.reference)]
    about = [*pooled_notes(maps, pairs.selection, pairs.layers), *maps.notes]
    if left_out:
        about.append(f"without pairwise maps, left out: {', '.join(left_out)}")
    shown_on = pairs.reference if direction == "reference" else pairs.generated
    return Heat(
        values=values,
        side="SRAM" if direction == "reference" else "mirror",
        picture=direction,
        level="SRAM",
        labels=tuple(labels),
        size=picture_size(shown_on),
        sized=is_sized(shown_on),
        rect=shown_on.rect,
        notes=(*one_note, *about),
        unplaced=tuple(shares.tolist()) if direction == "reference" else (),
        colours=rules.colours,
        threshold=rules.threshold,
        order=rules.order,
        queries=tuple(cells),
        of=name_of_reference(maps, pairs.selection.reference),
    )


def pairwise_layers_of(maps: AttributionMaps, selection: Selection, what: str) -> tuple[LayerInfo, ...]:
    """The chosen layers that have pairwise maps of more than one token, which ``what`` ("SRAM" or "mirror") is made from.

    They are as their pairwise maps see them, and may be one for all; see `AttributionMaps.pair_layers`.

    Raises:
        UnavailableError: none has, or some of the layers were chosen where the pairwise maps of all were kept together.
    """
    usable = {x.name for x in multi_token(maps, selection, what)}
    found = maps.pair_layers(selection.branch, selection.reference)
    if [x.name for x in found] == [TOGETHER]:
        if len(selection.layers) == len(maps.layers):
            return found
        maps.pairwise(selection.layers[0].name, selection.branch, selection.reference)  # says that it has none of its own
    names = [x.name for x in found]
    layers = tuple(x for x in found if x.name in usable)
    if not layers:
        raise UnavailableError(
            f"none of the chosen layers has pairwise maps, which {what} needs (layers with pairwise maps: "
            f"{', '.join(names) or 'none'}); set detail to pairwise on I²AM Record, or pairwise in Python, "
            f"and run again"
        )
    return layers


def names_of(maps: AttributionMaps, layers: Sequence[LayerInfo]) -> tuple[str, ...]:
    """The names of the layers that a map over pairs is made from."""
    together = any(x.name == TOGETHER for x in layers)
    return tuple(x.name for x in (maps.layers if together else layers))


def _cells(at: Cell | Sequence[Cell] | Tensor, grid: TokenGrid, direction: str) -> list[Cell]:
    which = "generated" if direction == "reference" else "reference"
    if isinstance(at, Tensor):
        if at.dtype != torch.bool or tuple(at.shape) != (grid.rows, grid.columns):
            raise UnavailableError(
                f"a mask of patches must be boolean and {grid.rows} x {grid.columns} on the {which} picture, got {at.dtype} "
                f"{tuple(at.shape)}"
            )
        cells: list[Cell] = [(int(a), int(b)) for a, b in at.nonzero().tolist()]
    else:
        try:
            one = len(at) == 2 and isinstance(at[0], Integral)
            cells = [(index(a), index(b)) for a, b in ([at] if one else at)]  # type: ignore[arg-type, misc, list-item]
        except (TypeError, ValueError) as error:
            raise UnavailableError(
                f"a patch is (row, column) in whole numbers, and several are a list of such, got {shown(str(at))}"
            ) from error
    if not cells:
        raise UnavailableError(f"no patch was given; the {which} picture has {grid.rows} rows and {grid.columns} columns")
    for a, b in cells:
        if not (0 <= a < grid.rows and 0 <= b < grid.columns):
            raise UnavailableError(
                f"patch ({a}, {b}) is outside of the {which} picture's {grid.rows} rows and {grid.columns} columns"
            )
    return cells


def pairwise_of(maps: AttributionMaps, selection: Selection, layer: LayerInfo) -> Tensor:
    """(N, S) of one layer: the mean over the chosen groups' recorded steps and heads."""
    groups = whole_ranges(maps.groups, selection.steps, "pairwise maps")
    values = maps.pairwise(layer.name, selection.branch, selection.reference)[selection.image]
    if selection.heads is not None:
        if values.shape[1] != layer.heads:
            raise UnavailableError(
                "pairwise maps were kept as their mean over heads; leave out the choice of heads, or record with pairwise "
                "per head"
            )
        values = values[:, list(selection.heads_of(layer))]
    count = torch.tensor([maps.steps_seen(maps.groups[i], selection.reference) for i in groups], dtype=torch.float32)
    if not count.sum():
        raise UnavailableError(f"none of the steps {selection.steps[0]} to {selection.steps[1]} was recorded")
    return (values[groups].mean(1) * count.view(-1, 1, 1)).sum(0) / count.sum()


def _mean(of: Callable[[list[Cell]], tuple[Tensor, Tensor]], cells: list[Cell], grid: TokenGrid) -> tuple[Tensor, Tensor]:
    """The mean map, (1, rows, columns), and unplaced share, (1,), over cells of a grid, in blocks; each token counts once."""
    weights = weights_of(grid)[[a * grid.columns + b for a, b in cells]]
    values, shares = [], []
    for start in range(0, len(cells), BLOCK):
        of_some, unplaced = of(cells[start : start + BLOCK])
        own = weights[start : start + BLOCK]
        values.append(torch.tensordot(own, of_some, 1)[None])
        shares.append((own * unplaced).sum(0, keepdim=True))
    return torch.cat(values).sum(0, keepdim=True) / weights.sum(), torch.cat(shares).sum(0, keepdim=True) / weights.sum()


@dataclass(frozen=True)
class _Pairwise:
    """The pairwise maps of a choice, and the grids of both pictures that they are resized to."""

    maps: AttributionMaps
    selection: Selection
    layers: tuple[LayerInfo, ...]
    scaled: bool
    generated: TokenGrid
    reference: TokenGrid
    asked: TokenGrid
    """The grid whose cells are asked for."""

    @classmethod
    def of(cls, maps: AttributionMaps, direction: str, choice: Choice, preset: str) -> _Pairwise:
        """Check what was asked for.

        Raises:
            UnavailableError: as `sram`.
        """
        if direction not in ("reference", "generated"):
            named = "; give a choice by name: choice=Choice(…)" if isinstance(direction, Choice) else ""
            raise UnavailableError(f"direction is 'reference' or 'generated', got {shown(repr(direction), 200)}{named}")
        rules = preset_of(preset)
        selection = select(maps, rules, choice, side="SRAM")
        layers = pairwise_layers_of(maps, selection, "SRAM" if direction == "reference" else "mirror")
        pooled = [x.grid for x in layers if x.cells]
        generated = max(pooled, key=lambda g: g.placed) if pooled else common_grid(maps, "generated")
        reference = max((selection.reference_of(x).grid for x in layers), key=lambda g: g.placed)
        asked = generated if direction == "reference" else reference
        return cls(maps, selection, layers, rules.scaled, generated, reference, asked)

    def rows(self, cells: list[Cell]) -> tuple[Tensor, Tensor]:
        """SRAM of each generated cell, (Q, rows, columns), and its unplaced share, (Q,)."""
        common, generated = self.reference, self.generated
        total, share = torch.zeros(len(cells), common.rows, common.columns), torch.zeros(len(cells))
        for layer, weight in self._weighted():
            grid = self.selection.reference_of(layer).grid
            pairs = pairwise_of(self.maps, self.selection, layer)
            if (layer.grid.rows, layer.grid.columns) == (generated.rows, generated.columns):
                row = pairs[[a * generated.columns + b for a, b in cells]]  # (Q, S)
            else:
                mix = bilinear_rows(cells, (layer.grid.rows, layer.grid.columns), (generated.rows, generated.columns))
                row = mix @ pairs
            share += weight * row[:, : grid.leading].sum(1)
            placed = row[:, grid.leading :].reshape(-1, grid.rows, grid.columns)
            total += weight * self._scale(grid) * bilinear(placed, (common.rows, common.columns))
        return total, share

    def columns(self, cells: list[Cell]) -> tuple[Tensor, Tensor]:
        """The mirror of each reference cell, (Q, rows, columns), summing to 1, and its unplaced share, (Q,), which is 0."""
        common, reference = self.generated, self.reference
        total, share = torch.zeros(len(cells), common.rows, common.columns), torch.zeros(len(cells))
        for layer, weight in self._weighted():
            grid = self.selection.reference_of(layer).grid
            mix = bilinear_rows(cells, (grid.rows, grid.columns), (reference.rows, reference.columns))
            column = mix @ pairwise_of(self.maps, self.selection, layer)[:, grid.leading :].T  # (Q, N)
            placed = column.reshape(-1, layer.grid.rows, layer.grid.columns)
            total += weight * self._scale(grid) * bilinear(placed, (common.rows, common.columns))
        return total / total.sum((1, 2), keepdim=True).clamp_min(1e-12), share

    def _weighted(self) -> list[tuple[LayerInfo, float]]:
        """Each layer with its share of the mean over layers and heads."""
        heads = [len(self.selection.heads_of(x)) for x in self.layers]
        return [(layer, h / sum(heads)) for layer, h in zip(self.layers, heads, strict=True)]

    def _scale(self, grid: TokenGrid) -> float:
        return grid.placed / self.reference.placed if self.scaled else 1.0


def _concentration(row: Tensor) -> str:
    """How concentrated an SRAM is, since min-max makes every one look sure."""
    p = row.flatten() / row.sum().clamp_min(1e-12)
    peak = float(p.max()) * p.numel()
    entropy = float(-(p * p.clamp_min(1e-12).log()).sum())
    word = "diffuse: " if peak < DIFFUSE else ""
    return f"{word}peak {peak:.1f} × uniform, entropy {entropy:.1f} of {math.log(p.numel()):.1f} nats"
