"""What pointing is worth without a model: chance, the same place in the picture, the best affine of the silhouettes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ...drawn.places import GRID
from ...models.demo.encoder import REFERENCE_GRID

TURNS = 24
"""Rotations that the affine fit starts from; a mirrored garment is never tried, since clothes are not worn mirrored."""
REFINE = 60
"""Steps of least squares on the silhouettes after the moments."""


def chance(tokens: Tensor, within: int, grid: tuple[int, int] = REFERENCE_GRID) -> Tensor:
    """How likely a random token of ``grid`` lies within ``within`` of each of ``tokens`` (..., 2) as (row, column)."""
    share = torch.ones(tokens.shape[:-1])
    for axis, count in enumerate(grid):
        at = tokens[..., axis]
        share = share * ((at + within).clamp(max=count - 1) - (at - within).clamp(min=0) + 1) / count
    return share


def _cell_centres(grid: tuple[int, int]) -> Tensor:
    """Centres of a grid's cells as (x, y) in 0-1 of the picture, (rows * columns, 2)."""
    y = (torch.arange(grid[0]) + 0.5) / grid[0]
    x = (torch.arange(grid[1]) + 0.5) / grid[1]
    return torch.stack([x.expand(grid[0], -1), y.view(-1, 1).expand(-1, grid[1])], -1).flatten(0, 1)


def _tokens(places: Tensor) -> Tensor:
    """Places (..., 2) as (x, y) in 0-1 of the reference picture to tokens (..., 2) as (row, column)."""
    rows, columns = REFERENCE_GRID
    row = (places[..., 1] * rows).floor().clamp(0, rows - 1)
    column = (places[..., 0] * columns).floor().clamp(0, columns - 1)
    return torch.stack([row, column], -1).long()


def same_place(grid: tuple[int, int] = GRID) -> Tensor:
    """For each cell of the generated picture the token at the same relative place, (rows * columns, 2)."""
    return _tokens(_cell_centres(grid))


def _moments(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, 2) and covariance (B, 2, 2) of masks (B, 1, h, w), in (x, y) with pixels as units."""
    h, w = mask.shape[-2:]
    at = _cell_centres((h, w)) * torch.tensor([w, h])
    weight = mask.flatten(1) + 1e-9
    weight = weight / weight.sum(1, keepdim=True)
    mean = weight @ at
    away = at - mean[:, None]
    return mean, torch.einsum("bn,bni,bnj->bij", weight, away, away) + 1e-3 * torch.eye(2)


def _root(matrix: Tensor, power: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag_embed(values.clamp_min(1e-6) ** power) @ vectors.mT


def _brought(mask: Tensor, affine: Tensor, shift: Tensor, size: tuple[int, int]) -> Tensor:
    """``mask`` (B, 1, h, w) looked up at ``affine @ p + shift`` for the pixel centres p of a picture of ``size``."""
    h, w = mask.shape[-2:]
    at = _cell_centres(size) * torch.tensor([size[1], size[0]])
    places = at @ affine.mT + shift[:, None]
    grid = (places / torch.tensor([w, h]) * 2 - 1).view(len(mask), *size, 2)
    return F.grid_sample(mask, grid, align_corners=False)


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of soft masks, (B,)."""
    return torch.minimum(a, b).flatten(1).sum(1) / torch.maximum(a, b).flatten(1).sum(1).clamp_min(1e-6)


def best_affine(generated: Tensor, reference: Tensor, grid: tuple[int, int] = GRID) -> Tensor:
    """Where the affine map that best brings one silhouette onto the other says that each cell came from.

    Matches the second moments, takes of `TURNS` rotations the one with the greatest overlap, and refines all six
    numbers by least squares on blurred silhouettes. Sees the silhouettes alone, never the true correspondence.

    Args:
        generated: (B, 1, 128, 96) silhouette of the garment on the person.
        reference: (B, 1, 160, 112) silhouette of the garment in its own picture.
        grid: cells of the generated picture.

    Returns:
        Tokens (B, rows * columns, 2) as (row, column), clamped to the reference picture.
    """
    with torch.inference_mode(False), torch.enable_grad():  # the refinement descends a gradient
        worn, flat = F.avg_pool2d(generated.clone(), 4), F.avg_pool2d(reference.clone(), 4)
        back, shift = _refined(worn, flat, *_by_moments(worn, flat))
    size = torch.tensor([worn.shape[-1], worn.shape[-2]])
    places = (_cell_centres(grid) * size - shift[:, None]) @ torch.linalg.inv(back).mT
    return _tokens(places / torch.tensor([flat.shape[-1], flat.shape[-2]]))


def _by_moments(worn: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
    """From the reference to the generated picture, (B, 2, 2) and (B, 2): moments matched, overlap greatest."""
    size = (int(flat.shape[-2]), int(flat.shape[-1]))
    mean_w, spread_w = _moments(worn)
    mean_f, spread_f = _moments(flat)
    best, kept = torch.full((len(worn),), -1.0), torch.zeros(len(worn), 2, 2)
    for turn in range(TURNS):
        a = 2 * math.pi * turn / TURNS
        rotation = torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
        back = _root(spread_w, 0.5) @ rotation @ _root(spread_f, -0.5)
        found = _overlap(_brought(worn, back, _shift(back, mean_f, mean_w), size), flat)
        kept = torch.where((found > best).view(-1, 1, 1), back, kept)
        best = torch.maximum(best, found)
    return kept, _shift(kept, mean_f, mean_w)


def _shift(affine: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """What must be added after ``affine`` to bring ``start`` onto ``end``, (B, 2)."""
    return end - (affine @ start[..., None])[..., 0]


def _refined(worn: Tensor, flat: Tensor, affine: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Descend the squared difference of the blurred silhouettes; a pair keeps its start where that overlaps more."""
    size = (int(flat.shape[-2]), int(flat.shape[-1]))
    soft_worn, soft_flat = (F.avg_pool2d(F.avg_pool2d(m, 5, 1, 2), 3, 1, 1) for m in (worn, flat))
    scale = torch.cat([torch.full((4,), 0.02), torch.full((2,), 1.0)])
    change = torch.zeros(len(worn), 6, requires_grad=True)
    optimiser = torch.optim.Adam([change], lr=0.5)
    for _ in range(REFINE):
        step = change * scale
        moved = _brought(soft_worn, affine + step[:, :4].view(-1, 2, 2), shift + step[:, 4:], size)
        loss = (moved - soft_flat).square().mean((1, 2, 3)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    step = (change * scale).detach()
    new, new_shift = affine + step[:, :4].view(-1, 2, 2), shift + step[:, 4:]
    better = _overlap(_brought(worn, new, new_shift, size), flat) > _overlap(_brought(worn, affine, shift, size), flat)
    better &= torch.linalg.det(new) > 0.05
    return torch.where(better.view(-1, 1, 1), new, affine), torch.where(better.view(-1, 1), new_shift, shift)
