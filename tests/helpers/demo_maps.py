"""Recordings of the demo model whose every patch looks where it is told to."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from i2am.drawn.places import GRID
from i2am.drawn.spec import PICTURE
from i2am.geometry.layout import TokenGrid
from i2am.maps.facts import LayerInfo, RunInfo
from i2am.maps.value import AttributionMaps
from i2am.models.demo.encoder import REFERENCE_GRID
from i2am.models.demo.family import demo_layout

CELLS, TOKENS = GRID[0] * GRID[1], REFERENCE_GRID[0] * REFERENCE_GRID[1]


def maps_of(layers: dict[str, Tensor], groups: tuple[tuple[int, int], ...] = ((0, 4),), recorded: int = 4) -> AttributionMaps:
    """Maps whose pairwise tensors, (images, groups, heads, N, 281), are given."""
    shape = {CELLS: GRID, 192: (16, 12)}
    layout = demo_layout()
    infos = tuple(
        LayerInfo(name, TokenGrid(*shape[t.shape[3]], picture=PICTURE), 4, False, layout.key_count, layout.references)
        for name, t in layers.items()
    )
    return AttributionMaps(
        {("pairwise", name, "cond", 0): t for name, t in layers.items()},
        layers=infos,
        references=layout.references,
        branches=("cond",),
        images=len(next(iter(layers.values()))),
        run=RunInfo(steps=groups[-1][1]),
        bins=groups,
        groups=groups,
        recorded=tuple(range(recorded)),
        generated_size=PICTURE,
    )


def planted(tokens: Tensor, rows_off: int = 0, columns_off: int = 0, mass: float = 1.0) -> Tensor:
    """A^r, (B, 1, 1, cells, 281): ``mass`` on each cell's token (B, cells, 2), moved, and the rest on the leading one."""
    row, column = tokens[..., 0] + rows_off, tokens[..., 1] + columns_off
    row = torch.where((row < 0) | (row >= REFERENCE_GRID[0]), tokens[..., 0] - rows_off, row)
    column = torch.where((column < 0) | (column >= REFERENCE_GRID[1]), tokens[..., 1] - columns_off, column)
    weights = F.one_hot(1 + row * REFERENCE_GRID[1] + column, TOKENS + 1).float() * mass
    weights[..., 0] = 1 - mass
    return weights[:, None, None]


def name_of(layer: str) -> str:
    return f"{layer}.transformer_blocks.0"
