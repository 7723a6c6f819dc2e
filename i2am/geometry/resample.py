"""Resizing maps and masks between grids; cells are areas, and positions are cell centres (align_corners=False)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .layout import WHOLE, Rect

Size = tuple[int, int]


def bicubic(maps: Tensor, size: Size, clamped: bool = True) -> Tensor:
    """(P, h, w) to (P, *size), bicubic; clamped at 0, as the paper resizes marginal maps, or with its overshoots.

    >>> wide = bicubic(torch.tensor([[[0.0, 0.0, 1.0]]]), (1, 6))
    >>> tuple(wide.shape), float(wide.min())
    ((1, 1, 6), 0.0)
    """
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps.clone()
    resized = F.interpolate(maps[:, None], size, mode="bicubic", align_corners=False)[:, 0]
    return resized.clamp_min(0) if clamped else resized


def bilinear(maps: Tensor, size: Size) -> Tensor:
    """(P, h, w) to (P, *size), bilinear; every old cell has the same total weight (see `_linear`).

    >>> bilinear(torch.tensor([[[0.0, 1.0]]]), (1, 4)).squeeze()
    tensor([0.0000, 0.2500, 0.7500, 1.0000])
    """
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps.clone()
    rows, columns = _linear(maps.shape[-2], size[0]).to(maps), _linear(maps.shape[-1], size[1]).to(maps)
    return rows @ maps @ columns.T


def _linear(old: int, new: int) -> Tensor:
    """(new, old) weights of linear interpolation between cell centres; rows sum to 1, columns to new / old.

    The border is repeated. If ``new`` is a multiple of ``old``, the interpolant is sampled at the new cells' centres;
    otherwise it is averaged over each new cell, since samples would give the old cells unequal total weights, and the
    mean over the new cells would no longer be the mean over the old ones.
    """
    padded = torch.arange(-1, old + 1, dtype=torch.float64) + 0.5  # with a repeated cell at each border
    edges = torch.arange(new + 1, dtype=torch.float64) * old / new
    if new % old == 0:
        centres = (edges[:-1] + edges[1:]) / 2
        hats = (1 - (centres[:, None] - padded).abs()).clamp_min(0)
    else:
        x = (edges[:, None] - padded).clamp(-1, 1)
        until = torch.where(x < 0, (x + 1) ** 2 / 2, 1 - (1 - x) ** 2 / 2)
        hats = (until[1:] - until[:-1]) * new / old
    weights = hats[:, 1:-1].clone()
    weights[:, 0] += hats[:, 0]
    weights[:, -1] += hats[:, -1]
    return weights


def _overlap(cells: int, pixels: int, first: float, last: float) -> Tensor:
    """(cells, pixels): the fraction of each cell that each pixel covers; cells span ``first`` to ``last``, pixels 0 to 1.

    Rows sum to 1, or to less where a cell extends beyond the pixels.
    """
    edges = first + (last - first) * torch.arange(cells + 1, dtype=torch.float64) / cells
    marks = torch.arange(pixels + 1, dtype=torch.float64) / pixels
    low = torch.maximum(edges[:-1, None], marks[None, :-1])
    high = torch.minimum(edges[1:, None], marks[None, 1:])
    return (high - low).clamp_min(0) * cells / (last - first)


def area(mask: Tensor, size: Size, rect: Rect = WHOLE) -> Tensor:
    """(B, h, w) to (B, *size): the exact mean of the mask over each cell, for any pair of sizes.

    ``rect`` is the part of the mask that the cells cover; outside the mask counts as 0.

    >>> area(torch.tensor([[[1.0, 1.0, 0.0]]]), (1, 2)).squeeze()
    tensor([1.0000, 0.3333])
    """
    left, top, right, bottom = rect
    rows, columns = _overlap(size[0], mask.shape[-2], top, bottom), _overlap(size[1], mask.shape[-1], left, right)
    return (rows @ mask.double() @ columns.T).float()


def bilinear_rows(cells: list[tuple[int, int]], grid: Size, common: Size) -> Tensor:
    """(Q, rows * columns) bilinear weights that make each cell (a, b) of the ``common`` grid a mix of the cells of ``grid``."""
    rows, columns = _linear(grid[0], common[0]), _linear(grid[1], common[1])
    a, b = torch.tensor(cells).T
    return torch.einsum("qy,qx->qyx", rows[a], columns[b]).flatten(1).float()


def even_ranges(total: int, parts: int) -> tuple[tuple[int, int], ...]:
    """Split 0 to ``total`` into ``parts`` half-open ranges whose sizes differ by at most one.

    >>> even_ranges(50, 4)
    ((0, 12), (12, 25), (25, 37), (37, 50))
    """
    edges = [i * total // parts for i in range(parts + 1)]
    return tuple(zip(edges[:-1], edges[1:], strict=True))
