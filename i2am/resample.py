"""Resizing of maps and masks between grids; cells are areas, places are their centres (align_corners=False)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]


def bicubic(maps: Tensor, size: Size) -> Tensor:
    """(P, h, w) to (P, *size), bicubic and clamped at 0, as the paper resizes marginal maps."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps.clone()
    return F.interpolate(maps[:, None], size, mode="bicubic", align_corners=False)[:, 0].clamp_min(0)


def bilinear(maps: Tensor, size: Size) -> Tensor:
    """(P, h, w) to (P, *size), bilinear between cell centres."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps.clone()
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def _overlap(cells: int, pixels: int) -> Tensor:
    """(cells, pixels): which part of each cell every pixel fills; rows sum to 1."""
    edges = torch.arange(cells + 1, dtype=torch.float64) / cells
    marks = torch.arange(pixels + 1, dtype=torch.float64) / pixels
    low = torch.maximum(edges[:-1, None], marks[None, :-1])
    high = torch.minimum(edges[1:, None], marks[None, 1:])
    return (high - low).clamp_min(0) * cells


def area(mask: Tensor, size: Size) -> Tensor:
    """(B, h, w) to (B, *size): the exact mean of the mask over each cell, for any pair of sizes."""
    rows, columns = _overlap(size[0], mask.shape[-2]), _overlap(size[1], mask.shape[-1])
    return (rows @ mask.double() @ columns.T).float()


def bilinear_rows(cells: list[tuple[int, int]], grid: Size, common: Size) -> Tensor:
    """(Q, rows * columns) weights by which cells (a, b) of the ``common`` grid mix the rows of a coarser or finer ``grid``."""
    weights = torch.zeros(len(cells), *grid)
    for n, (a, b) in enumerate(cells):
        y = min(max((a + 0.5) / common[0] * grid[0] - 0.5, 0.0), grid[0] - 1.0)
        x = min(max((b + 0.5) / common[1] * grid[1] - 0.5, 0.0), grid[1] - 1.0)
        y0, x0 = int(y), int(x)
        y1, x1 = min(y0 + 1, grid[0] - 1), min(x0 + 1, grid[1] - 1)
        fy, fx = y - y0, x - x0
        weights[n, y0, x0] += (1 - fy) * (1 - fx)
        weights[n, y0, x1] += (1 - fy) * fx
        weights[n, y1, x0] += fy * (1 - fx)
        weights[n, y1, x1] += fy * fx
    return weights.flatten(1)


def even_ranges(total: int, parts: int) -> tuple[tuple[int, int], ...]:
    """``parts`` half-open ranges that fill 0 to ``total``; sizes differ by at most one."""
    edges = [i * total // parts for i in range(parts + 1)]
    return tuple(zip(edges[:-1], edges[1:], strict=True))
