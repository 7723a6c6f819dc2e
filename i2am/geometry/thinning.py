"""Some of a grid's tokens for all of them: one of each block, and the batches that say how much that leaves to chance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .layout import Rect, TokenGrid

BATCHES = 8
"""How many parts of the kept tokens are compared with each other, each spread over the whole picture."""


def coarser(grid: TokenGrid, rows: int, columns: int) -> TokenGrid:
    """The grid whose cells are blocks of ``rows`` x ``columns`` of a grid's; the last blocks may reach beyond it.

    >>> coarser(TokenGrid(4, 3), 2, 2)
    TokenGrid(rows=2, columns=2, leading=0, picture=None, rect=(0.0, 0.0, 1.3333333333333333, 1.0), edge=(1.0, 0.5))
    """
    if rows == columns == 1 or not grid.placed:
        return grid
    down, across = -(-grid.rows // rows), -(-grid.columns // columns)
    rect: Rect | None = None
    if grid.rect is not None:
        left, top, right, bottom = grid.rect
        stretch = across * columns / grid.columns, down * rows / grid.rows
        rect = (left, top, left + (right - left) * stretch[0], top + (bottom - top) * stretch[1])
    held = grid.rows - 1 + grid.edge[0] - (down - 1) * rows, grid.columns - 1 + grid.edge[1] - (across - 1) * columns
    return replace(grid, rows=down, columns=across, rect=rect, edge=(held[0] / rows, held[1] / columns))


def weights_of(grid: TokenGrid) -> Tensor:
    """(rows * columns,): how much of a whole cell each cell holds, for means over them in which every token counts once.

    >>> weights_of(coarser(TokenGrid(3, 4), 2, 2))
    tensor([1.0000, 1.0000, 0.5000, 0.5000])
    """
    down, across = torch.ones(grid.rows), torch.ones(grid.columns)
    down[-1:], across[-1:] = grid.edge
    return torch.outer(down, across).flatten()


@dataclass(frozen=True, eq=False)
class Kept:
    """Which tokens of a grid are kept.

    Attributes:
        grid: of the blocks that each kept token stands for.
        tokens: (n,) the kept tokens' places in the whole grid, batch by batch; see `BATCHES`.
        back: (n,) where the token of each block is among these.
        sizes: number of tokens in each batch; one batch if all tokens are kept.
        share: n as a share of all tokens.
        stands: (n,) how much of a whole block each kept token stands for, batch by batch: less at an edge whose blocks reach
            beyond the grid; None: all the same.
    """

    grid: TokenGrid
    tokens: Tensor
    back: Tensor
    sizes: tuple[int, ...]
    share: float
    stands: Tensor | None = None

    @property
    def all(self) -> bool:
        """Whether all tokens are kept."""
        return self.share == 1


def keep(grid: TokenGrid, stride: int) -> Kept:
    """One token of each ``stride`` x ``stride`` block, at another place of the block from block to block.

    A token at the same place of each block would shift the map, and see only every other column of a pattern.

    >>> keep(TokenGrid(4, 4), 2).tokens.sort().values
    tensor([ 0,  6,  9, 15])
    """
    whole = torch.arange(grid.placed)
    if stride == 1:
        return Kept(grid, whole, whole, (grid.placed,), 1.0)
    blocks = coarser(grid, stride, stride)
    i, j = (x.flatten() for x in torch.meshgrid(torch.arange(blocks.rows), torch.arange(blocks.columns), indexing="ij"))
    rows = (i * stride + j % stride).clamp_max(grid.rows - 1)
    columns = (j * stride + i % stride).clamp_max(grid.columns - 1)
    batch = (3 * i + j) % BATCHES  # neighbours along rows and columns are in different ones
    order = batch.argsort(stable=True)
    sizes = [int(count) for count in batch.bincount() if count]
    tokens, share = (rows * grid.columns + columns)[order], len(order) / grid.placed
    whole = weights_of(blocks)[order]
    stands = whole if len(whole.unique()) > 1 else None
    return Kept(blocks, tokens, order.argsort(), tuple(sizes), share, stands)


def standard_error(means: Tensor, sizes: tuple[int, ...], share: float) -> Tensor | None:
    """The standard error of the mean over all tokens, (...), from the means of the batches of kept ones, (batches, ...).

    From the variance between batches, with the correction for a finite population: 0 where all tokens are kept. None: a single
    batch says nothing of it.

    >>> standard_error(torch.tensor([[0.25], [0.75]]), (2, 2), 0.5), standard_error(torch.tensor([[0.25]]), (1,), 0.5)
    (tensor([0.1768]), None)
    """
    counts = torch.tensor(sizes, dtype=means.dtype, device=means.device).view(-1, *[1] * (means.ndim - 1))
    if share == 1:
        return torch.zeros_like(means[0])
    if len(sizes) == 1:
        return None
    mean = (means * counts).sum(0) / counts.sum()
    between = (counts * (means - mean).square()).sum(0) / (len(sizes) - 1)
    return (between / counts.sum() * (1 - share)).sqrt()
