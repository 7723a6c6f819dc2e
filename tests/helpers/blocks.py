"""Which generated tokens are kept of a grid, and how many each stands for, counted one by one."""

from __future__ import annotations

import torch
from torch import Tensor

from i2am.geometry.layout import TokenGrid


def kept_tokens(grid: TokenGrid, stride: int) -> list[int]:
    """The token of each block: across a row of blocks it moves down, down a column it moves right."""
    return [
        min(i * stride + j % stride, grid.rows - 1) * grid.columns + min(j * stride + i % stride, grid.columns - 1)
        for i in range(-(-grid.rows // stride))
        for j in range(-(-grid.columns // stride))
    ]


def tokens_per_block(grid: TokenGrid, stride: int) -> Tensor:
    """How many tokens are in each block, float64: fewer where it reaches beyond the grid."""
    counts = torch.zeros(-(-grid.rows // stride), -(-grid.columns // stride), dtype=torch.float64)
    for r in range(grid.rows):
        for c in range(grid.columns):
            counts[r // stride, c // stride] += 1
    return counts.flatten()
