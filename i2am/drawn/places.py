"""Where each patch of a drawn person's garment truly lies on the reference picture."""

from __future__ import annotations

import torch
from torch import Tensor

GRID = (32, 24)
"""Rows and columns of the latent, at which the true correspondence is cached."""


def true_places(truth: Tensor, visible: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """True place per cell of ``grid``, (B, 2, rows, columns) in reference pixels, and its coverage (B, 1, rows, columns)."""
    share = torch.nn.functional.adaptive_avg_pool2d(visible, grid)
    mean = torch.nn.functional.adaptive_avg_pool2d(truth * visible, grid) / share.clamp_min(1e-6)
    return mean, share
