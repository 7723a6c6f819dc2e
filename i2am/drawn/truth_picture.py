"""The true correspondence as a picture to check by eye: the same colour marks the same place of the garment."""

from __future__ import annotations

import torch
from torch import Tensor

from .draw import DemoPairs
from .spec import REFERENCE

LINE = 16
"""Pixels of the reference between two grid lines."""
STRENGTH = 0.7


def _code(place: Tensor) -> Tensor:
    """A colour for each reference place (B, 2, H, W) in pixels, with a dark grid: (B, 3, H, W)."""
    u, v = place[:, :1] / REFERENCE[1], place[:, 1:] / REFERENCE[0]
    colour = torch.cat([u, 1 - 0.5 * (u + v), v], 1).clamp(0, 1)
    on_line = ((place % LINE) < 1.2).any(1, keepdim=True)
    return torch.where(on_line, colour * 0.35, colour)


def truth_picture(pairs: DemoPairs) -> Tensor:
    """Reference and person side by side, (B, 3, 160, 208): where garment is visible, its place on the reference as a colour."""
    rows, columns = torch.meshgrid(torch.arange(REFERENCE[0]), torch.arange(REFERENCE[1]), indexing="ij")
    here = torch.stack([columns, rows]).float()[None] + 0.5
    left = _mix(pairs.reference, _code(here), pairs.reference_mask)
    right = _mix(pairs.person, _code(pairs.truth), pairs.visible)
    room = left.shape[-2] - right.shape[-2]
    right = torch.nn.functional.pad(right, (0, 0, room // 2, room - room // 2), value=1.0)
    return torch.cat([left, right], 3)


def _mix(picture: Tensor, colour: Tensor, where: Tensor) -> Tensor:
    share = STRENGTH * where
    return picture * (1 - share) + colour * share
