"""Which of the patches that look at a region agree on one copy of it, where no mask says which patches to ask.

Every patch looks somewhere, those of the background too, so that most that look at a region may have nothing to do with it.
Random sample consensus (Fischler and Bolles, 1981): of many affine maps through three patches each, the one that most patches
agree with.
"""

from __future__ import annotations

import torch
from torch import Tensor

TRIES = 400
NEAR = 1.0
"""A patch agrees with a copy if it lies this near its place there, in generated cells."""
AGREED = 0.15
"""Of all patches' weight; fewer agree by chance."""
SMALLEST, LARGEST = 0.1, 10.0
"""Generated cells that one reference cell may become."""


def agreeing(source: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """(n,) bool: the patches that agree on one affine map from source to target, both (n, 2) in cells; all where few do.

    The same for the same patches: the samples are drawn from a fixed seed.
    """
    everyone = torch.ones(len(source), dtype=torch.bool)
    if len(source) < 3:
        return everyone
    ones = torch.cat([source, torch.ones(len(source), 1)], 1).double()
    chosen = torch.multinomial(weights.expand(TRIES, -1), 3, generator=torch.Generator().manual_seed(0))
    corners = ones[chosen]
    apart = torch.linalg.det(corners).abs() > 0.5  # twice the triangle's area, in reference cells
    if not bool(apart.any()):
        return everyone
    affine = torch.linalg.solve(corners[apart], target.double()[chosen][apart])
    scale = torch.linalg.det(affine[:, :2]).abs()
    agrees = (ones @ affine - target.double()).norm(dim=2) < NEAR
    votes = (agrees * weights).sum(1) * ((scale > SMALLEST) & (scale < LARGEST))
    best = int(votes.argmax())
    return agrees[best] if float(votes[best]) >= AGREED * float(weights.sum()) else everyone
