"""Regions made of whole token cells: those that a map names, and others of equal size to compare with."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import I2AMError, LayoutError
from ..geometry.layout import WHOLE, Rect, TokenGrid
from ..geometry.resample import Size, area
from ..levels.heat import Heat
from ..maps.value import AttributionMaps
from .removal import cells_in


def painted(chosen: Tensor, size: Size, rect: Rect | None = WHOLE) -> Tensor:
    """Cells (rows, columns), boolean, as a region of the picture that they lie on, (H, W) in 0-1.

    Each pixel belongs to the cell that its centre lies in.

    >>> painted(torch.tensor([[True, False]]), (1, 4))
    tensor([[1., 1., 0., 0.]])
    """
    left, top, right, bottom = rect or WHOLE
    rows = _cell_of(size[0], chosen.shape[0], top, bottom)
    columns = _cell_of(size[1], chosen.shape[1], left, right)
    out = torch.zeros(size)
    there = (rows >= 0)[:, None] & (columns >= 0)[None]
    out[there] = chosen[rows.clamp_min(0)][:, columns.clamp_min(0)][there].float()
    return out


def _cell_of(pixels: int, cells: int, first: float, last: float) -> Tensor:
    """(pixels,): the cell that the middle of each pixel lies in; -1: none."""
    middles = (torch.arange(pixels, dtype=torch.float64) + 0.5) / pixels
    index = ((middles - first) / (last - first) * cells).floor().long()
    return torch.where((index >= 0) & (index < cells), index, -1)


def moved_region(region: Tensor, grid: TokenGrid, seed: int, name: str = "the reference") -> Tensor:
    """A region of as many cells as another one and of its shape, elsewhere: moved cyclically by a random offset.

    Of all offsets one of those is drawn at which the two overlap least.

    Args:
        region: (H, W) of the picture of ``grid``; a cell is in it if more than half of it is.
        grid: of the picture's tokens.
        seed: of the offset.
        name: of the picture, for errors.

    Raises:
        LayoutError: the region covers no whole cell, or all of them, or the tokens have no places.

    >>> left = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    >>> sorted({int(moved_region(left, TokenGrid(1, 4), seed).argmax()) for seed in range(20)})
    [1, 2, 3]
    """
    if not grid.placed:
        raise LayoutError(f"a region of {name} is to be compared, but its tokens have no places; cut the whole reference")
    cells = cells_in(region, grid, name)
    if not 0 < len(cells) < grid.rows * grid.columns:
        much = "none" if not len(cells) else "all"
        raise LayoutError(
            f"the region covers {much} of the {grid.rows} x {grid.columns} tokens of {name}, so there is no other region like "
            f"it to compare with; paint a {'larger' if much == 'none' else 'smaller'} one"
        )
    chosen = torch.zeros(grid.rows * grid.columns)
    chosen[cells] = 1
    chosen = chosen.view(grid.rows, grid.columns)
    spectrum = torch.fft.fft2(chosen.double())
    overlap = torch.fft.ifft2(spectrum.abs() ** 2).real.round().flatten()  # with itself, moved by each offset
    overlap[0] = len(cells) + 1  # not moved at all
    offsets = (overlap == overlap.min()).nonzero()[:, 0]
    picked = offsets[int(torch.randint(len(offsets), (), generator=torch.Generator().manual_seed(seed)))]
    moved = chosen.roll((int(picked) // grid.columns, int(picked) % grid.columns), (0, 1)) > 0
    size = (region.shape[0], region.shape[1])
    return painted(moved, size if min(size) >= max(grid.rows, grid.columns) else (grid.rows, grid.columns), grid.rect)


def by_coarsest_layer(heat: Heat, maps: AttributionMaps, reference: int = 0) -> Heat:
    """A map by the cells of the coarsest recorded layer, each the mean of the map over it, so that all layers lose whole cells.

    Were single cells of a finer grid cut, a coarser layer would lose those of its own that they cover by more than half: far
    fewer of scattered cells than of as many that lie together, whatever the map says.

    Args:
        heat: of the recording.
        maps: the recording.
        reference: which one a map on the reference picture is of.
    """
    grids = [x.grid if heat.picture == "generated" else x.references[reference].grid for x in maps.layers]
    coarsest = min((grid for grid in grids if grid.placed), key=lambda grid: grid.placed)
    size: Size = (min(coarsest.rows, heat.values.shape[1]), min(coarsest.columns, heat.values.shape[2]))
    return heat if size == tuple(heat.values.shape[1:]) else replace(heat, values=area(heat.values, size))


def fractions_of(text: str) -> tuple[float, ...]:
    """Fractions such as "0.1 0.25 0.5 1", above 0 and up to 1, in rising order.

    Raises:
        I2AMError: the text is anything else.

    >>> fractions_of("0.5, 0.1 1")
    (0.1, 0.5, 1.0)
    """
    try:
        found = sorted({float(part) for part in text.replace(",", " ").split()})
    except ValueError:
        found = []
    if not found or not all(0 < value <= 1 for value in found):
        raise I2AMError(f"expected fractions above 0 and up to 1, such as 0.1 0.25 0.5 1, got {text[:80]!r}")
    return tuple(found)
