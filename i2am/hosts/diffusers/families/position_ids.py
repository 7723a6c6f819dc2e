"""Pictures in position ids: which tokens belong to which picture, and where each lies in it."""

from __future__ import annotations

import torch
from torch import Tensor

from ....errors import LayoutError
from .family import Grid

ROW, COLUMN = 1, 2
"""The axes of position ids that hold a token's place; the others tell pictures apart."""


def pictures_of(ids: Tensor, name: str) -> list[Grid]:
    """The grids of the pictures whose tokens follow one another, row by row.

    A picture ends where an axis other than row and column changes, or where a token is not the next one of its grid.

    Args:
        ids: (tokens, axes) or (rows of a batch, tokens, axes): picture index, row, column, and further ones.
        name: of the argument, for messages.

    Raises:
        LayoutError: there are none, or they have no row and column.

    >>> pictures_of(torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1], [1, 0, 2]]), "img_ids")
    [(2, 2), (1, 3)]
    """
    ids = ids[0] if ids.ndim == 3 else ids
    if ids.ndim != 2 or ids.shape[1] < 3 or not len(ids):
        raise LayoutError(f"{name} is of the shape {tuple(ids.shape)}, expected (tokens, 3 or more): picture, row, column")
    left, grids = ids.detach().to("cpu", torch.float64), []
    while len(left):
        grid = _first(left)
        grids.append(grid)
        left = left[grid[0] * grid[1] :]
    return grids


def _first(ids: Tensor) -> Grid:
    """(rows, columns) of the picture that begins at the first token."""
    others = [axis for axis in range(ids.shape[1]) if axis not in (ROW, COLUMN)]
    ids = ids[: _leading((ids[:, others] == ids[0, others]).all(1))]
    row, column = ids[:, ROW] - ids[0, ROW], ids[:, COLUMN] - ids[0, COLUMN]
    columns = _leading((row == 0) & (column == torch.arange(len(ids))))
    rows = len(ids) // columns
    row, column = (axis[: rows * columns].view(rows, columns) for axis in (row, column))
    fits = (row == torch.arange(rows)[:, None]) & (column == torch.arange(columns))
    return _leading(fits.all(1)), columns


def _leading(true: Tensor) -> int:
    """How many values are true before the first that is not."""
    return int(true.long().cumprod(0).sum())
