"""Grids with fewer cells: blocks of tokens, whose values are added up."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from .layout import TokenGrid
from .thinning import coarser


def block_of(grid: TokenGrid, most: int) -> tuple[int, int]:
    """The smallest blocks, (rows, columns) of tokens, that leave at most ``most`` cells a side; 0: no limit.

    >>> block_of(TokenGrid(64, 48), 32), block_of(TokenGrid(20, 33), 32)
    ((2, 2), (1, 2))
    """
    if not most:
        return 1, 1
    return max(1, -(-grid.rows // most)), max(1, -(-grid.columns // most))


def pooled(grid: TokenGrid, most: int) -> TokenGrid:
    """The grid of such blocks; leading tokens stay."""
    return coarser(grid, *block_of(grid, most))


def cell_of_each(grid: TokenGrid, most: int) -> Tensor:
    """(rows * columns,): the cell of the pooled grid that each placed token is in.

    >>> cell_of_each(TokenGrid(2, 3), 2)
    tensor([0, 0, 1, 2, 2, 3])
    """
    rows, columns = block_of(grid, most)
    down, across = torch.arange(grid.rows) // rows, torch.arange(grid.columns) // columns
    return (down[:, None] * pooled(grid, most).columns + across).flatten()


def sum_cells(values: Tensor, grid: TokenGrid, most: int) -> Tensor:
    """(m, rows * columns) to (m, cells): the exact sum over each block.

    >>> sum_cells(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]), TokenGrid(2, 3), 2)
    tensor([[3., 3., 9., 6.]])
    """
    rows, columns = block_of(grid, most)
    if rows == columns == 1:
        return values
    square = values.unflatten(-1, (grid.rows, grid.columns))
    if rows > 1:
        whole = grid.rows // rows
        blocks = square[:, : whole * rows].unflatten(1, (whole, rows))
        total = blocks[:, :, 0] + blocks[:, :, 1]
        for i in range(2, rows):
            total += blocks[:, :, i]
        if grid.rows % rows:
            total = torch.cat([total, square[:, whole * rows :].sum(1, keepdim=True)], 1)
        square = total
    if columns > 1:
        square = square @ _across(grid.columns, columns, values.dtype, values.device)
    return square.flatten(1)


@lru_cache(maxsize=32)
def _across(columns: int, block: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(columns, cells of a row): 1 where a column is in a cell."""
    return torch.nn.functional.one_hot(torch.arange(columns) // block).to(device, dtype)


def spread_cells(values: Tensor, grid: TokenGrid, most: int) -> Tensor:
    """(m, leading + cells) to (m, leading + rows * columns): each cell's sum split evenly among its tokens.

    >>> spread_cells(torch.tensor([[3.0, 3.0, 9.0, 6.0]]), TokenGrid(2, 3), 2)
    tensor([[1.5000, 1.5000, 3.0000, 4.5000, 4.5000, 6.0000]])
    """
    if block_of(grid, most) == (1, 1):
        return values
    cell = cell_of_each(grid, most).to(values.device)
    split = values[:, grid.leading :] / cell.bincount()
    return torch.cat([values[:, : grid.leading], split[:, cell]], 1)
