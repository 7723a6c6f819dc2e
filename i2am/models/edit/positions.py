"""Positions in a joint sequence, and the rotary embedding that brings them into queries and keys."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def position_ids(text: int, grids: Sequence[tuple[int, int]], indices: Sequence[int]) -> Tensor:
    """Positions (index, row, column) of each token, (S, 3): the text at 0, then each grid at its own index."""
    parts = [torch.zeros(text, 3)]
    for (rows, columns), index in zip(grids, indices, strict=True):
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        parts.append(torch.stack([torch.full_like(row, index), row, column], -1).view(-1, 3).float())
    return torch.cat(parts)


def rotation(ids: Tensor, axes: Sequence[int], theta: float) -> Tensor:
    """How each pair of channels turns at each position: ids (S, 3) to unit complex numbers (S, sum(axes) / 2)."""
    angles = []
    for position, width in zip(ids.double().unbind(-1), axes, strict=True):
        rate = theta ** -(torch.arange(0, width, 2, dtype=torch.float64, device=ids.device) / width)
        angles.append(position[:, None] * rate)
    angle = torch.cat(angles, -1)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn neighbouring channels of queries or keys (B, heads, S, d) by ``turn`` (S, d / 2); gives fp32."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2)
