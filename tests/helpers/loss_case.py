"""A call with other keys, leading tokens and random probabilities, for the losses on attention."""

from __future__ import annotations

import torch
from torch import Tensor

from i2am.geometry.layout import Reference, TokenGrid

LEFT = torch.tensor([[[1.0, 1.0, 0.0, 0.0]] * 4])  # the left half of a picture of 4 x 4
GRID, REFERENCE = (3, 4), Reference(TokenGrid(2, 5, 1), 3)  # 3 other keys, 1 leading, 10 placed, 2 other keys
KEYS, OBJECT = 16, slice(4, 14)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def probabilities(*shape: int, seed: int = 0, sharp: float = 4.0) -> Tensor:
    return (sharp * rand(*shape, seed=seed)).softmax(-1)
