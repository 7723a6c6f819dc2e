"""The auxiliary loss that teaches two layers to point: at the true place on the garment, at the same place of the person."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ....drawn.spec import REFERENCE
from ....models.edit.family import GARMENT_GRID, GRID

TOKENS = GRID[0] * GRID[1]


def garment_target(place: Tensor) -> tuple[Tensor, Tensor]:
    """Places (B, 2, rows, columns) in pixels of the garment's picture to the four tokens around each.

    Returns:
        Indices into the garment's tokens and their weights, (B, rows * columns, 4) each.
    """
    rows, columns = GARMENT_GRID
    x = (place[:, 0].flatten(1) / REFERENCE[1] * columns - 0.5).clamp(0, columns - 1)
    y = (place[:, 1].flatten(1) / REFERENCE[0] * rows - 0.5).clamp(0, rows - 1)
    left, top = x.floor().clamp(max=columns - 2), y.floor().clamp(max=rows - 2)
    fx, fy = x - left, y - top
    first = (top * columns + left).long()
    indices = torch.stack([first, first + 1, first + columns, first + columns + 1], -1)
    return indices, torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], -1)


def attention_loss(kept: Iterable[Tensor], place: Tensor, cloth: Tensor, same: Tensor) -> Tensor:
    """Cross-entropy of attention on the references against the truth: on garment tokens, plus half of that on the person's.

    Args:
        kept: head-mean weights (B, generated tokens, person's tokens + garment's) of each taught layer.
        place: (B, 2, 16, 12) true place on the garment's picture, in its pixels.
        cloth: (B, 16, 12) share of garment; tokens beyond a half are taught its place.
        same: (B, 16, 12) share of pixels that stay as they are; tokens beyond a half are taught the person's same token.
    """
    indices, target = garment_target(place)
    garment, person = cloth.flatten(1) > 0.5, same.flatten(1) > 0.5
    here = torch.arange(TOKENS, device=place.device).view(1, -1, 1).expand(len(place), -1, 1)
    total, layers = place.new_zeros(()), 0
    for weights in kept:
        share = (weights / weights.sum(-1, keepdim=True)).clamp_min(1e-7).log()
        to_garment = -(target * share.gather(2, TOKENS + indices)).sum(-1)
        to_person = -share.gather(2, here)[..., 0]
        total = total + (to_garment * garment).sum() / garment.sum().clamp_min(1)
        total = total + 0.5 * (to_person * person).sum() / person.sum().clamp_min(1)
        layers += 1
    return total / layers
