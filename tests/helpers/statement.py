"""A plain statement of the equations in float64: the whole (queries, keys, heads) block at once, no chunks, no library.

Nothing here is clever, so that it can be read beside the equations and believed. It imports torch alone.
Shapes: B images, H heads, N generated tokens, S keys, T steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

# --------------------------------------------------------------------------------------- one attention call


def logits(q: Tensor, k: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """L = Q Kᵀ · scale, plus the call's mask: (B, H, N, S); a forbidden pair is -inf."""
    k = k.double().repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    block = torch.einsum("bhnd,bhsd->bhns", q.double(), k) * scale
    if mask is None:
        return block
    if mask.dtype == torch.bool:
        return torch.where(mask, block, torch.tensor(-torch.inf, dtype=torch.float64))
    return block + mask.double()


def log_softmax(block: Tensor, dim: int) -> Tensor:
    """log(exp L / Σ exp L) along one axis; a slice that is forbidden throughout stays -inf (weights of 0)."""
    top = block.amax(dim=dim, keepdim=True)
    top = torch.where(torch.isfinite(top), top, torch.zeros_like(top))
    total = (block - top).exp().sum(dim=dim, keepdim=True)
    return torch.where(total > 0, block - top - total.log(), torch.tensor(-torch.inf, dtype=torch.float64))


def real_attention(block: Tensor) -> Tensor:
    """A^r: softmax over all keys of the call (B, H, N, S)."""
    return log_softmax(block, dim=-1).exp()


def compared_attention(block: Tensor) -> Tensor:
    """A^g: softmax over the generated positions (B, H, N, S)."""
    return log_softmax(block, dim=-2).exp()


def balanced_attention(block: Tensor) -> Tensor:
    """A^r(q, j) / Σ_q' A^r(q', j), divided as logarithms so that a column that underflows keeps its shape."""
    return log_softmax(log_softmax(block, dim=-1), dim=-2).exp()


def call_maps(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    reference: tuple[int, int, int],
    *,
    scale: float,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """All maps of one reference = (start, leading, placed) from the generated tokens' q; weights is (B or 1, N)."""
    start, leading, placed = reference
    every = slice(start, start + leading + placed)
    with_place = slice(start + leading, start + leading + placed)
    block = logits(q, k, scale, mask)
    a_r, a_g, a_b = real_attention(block), compared_attention(block), balanced_attention(block)
    inside = log_softmax(block[..., with_place], dim=-1)  # A^r among the placed tokens, renormalised
    maps = {
        "r2g": a_g[..., every].mean(-1),
        "r2g_placed": a_g[..., with_place].mean(-1),
        "balanced": a_b[..., every].mean(-1),
        "balanced_placed": a_b[..., with_place].mean(-1),
        "mass": a_r[..., every].sum(-1),
        "mass_placed": a_r[..., with_place].sum(-1),
        "entropy": -torch.where(inside > -torch.inf, inside.exp() * inside, 0.0).sum(-1),
        "peak_value": a_r[..., with_place].amax(-1),
        "peak_index": a_r[..., with_place].argmax(-1),
        "g2r": a_r[..., every].mean(-2),
        "pairwise": a_r[..., every],
        "pairwise_mean": a_r[..., every].mean(1, keepdim=True),
    }
    if weights is not None:  # eq. 17
        w = weights.double()[:, None, :, None]
        maps["g2r_masked"] = (w * a_r[..., every]).sum(-2) / w.sum(-2)
    if v is not None:
        v = v.double().repeat_interleave(q.shape[1] // v.shape[1], dim=1)
        output = torch.einsum("bhns,bhsd->bhnd", a_r[..., every], v[:, :, every])
        maps["norm"] = output.square().sum(-1).sqrt()
    return maps


def cell_areas(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """(h, w) mask -> (rows · columns): its mean over each cell, by splitting pixels until cells are whole numbers of them."""
    split = mask.double().repeat_interleave(grid[0], 0).repeat_interleave(grid[1], 1)
    return split.reshape(grid[0], mask.shape[0], grid[1], mask.shape[1]).mean((1, 3)).flatten()


# ------------------------------------------------------------------------------------------- resizing a map


def bilinear_weights(old: int, new: int) -> Tensor:
    """(new, old): place of each new cell centre between two old cell centres; outside the outermost, the outermost."""
    weights = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        place = min(max((i + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        low = min(int(place), old - 1)
        high = min(low + 1, old - 1)
        weights[i, low] += 1 - (place - low)
        weights[i, high] += place - low
    return weights


def bicubic_weights(old: int, new: int) -> Tensor:
    """(new, old): cubic convolution with a = -0.75 at cell centres, the border repeated."""
    a = -0.75
    weights = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        place = (i + 0.5) * old / new - 0.5
        base = int(place // 1)
        for j in range(base - 1, base + 3):
            x = abs(place - j)
            near = (a + 2) * x**3 - (a + 3) * x**2 + 1
            far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
            weights[i, min(max(j, 0), old - 1)] += near if x <= 1 else far
    return weights


def bicubic(maps: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """(..., h·w) -> (..., h'·w'), clamped at 0."""
    square = maps.double().reshape(*maps.shape[:-1], *old)
    if old != new:
        rows, columns = bicubic_weights(old[0], new[0]), bicubic_weights(old[1], new[1])
        square = torch.einsum("yh,...hw,xw->...yx", rows, square, columns)
    return square.clamp(min=0).flatten(-2)


def bilinear(maps: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """(..., h·w) -> (..., h'·w')."""
    square = maps.double().reshape(*maps.shape[:-1], *old)
    rows, columns = bilinear_weights(old[0], new[0]), bilinear_weights(old[1], new[1])
    return torch.einsum("yh,...hw,xw->...yx", rows, square, columns).flatten(-2)


def bilinear_queries(pairs: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """(..., h·w, tokens) -> (..., h'·w', tokens): the row of A^r at a finer place is a mix of the rows around it."""
    return bilinear(pairs.transpose(-1, -2), old, new).transpose(-1, -2)


# --------------------------------------------------------------------------- over steps, heads and layers


def time_groups(steps: int, count: int) -> list[tuple[int, int]]:
    """Half-open ranges, as even as possible: sizes differ by at most one."""
    edges = [g * steps // count for g in range(count + 1)]
    return [(edges[g], edges[g + 1]) for g in range(count)]


def layer_scale(grid: tuple[int, int], common: tuple[int, int], scaled: bool) -> float:
    """h_l·w_l / (h·w) on the generated picture, S_l / S_common on the reference; 1 where maps are averaged raw."""
    return grid[0] * grid[1] / (common[0] * common[1]) if scaled else 1.0


def on_generated(marginal: Tensor, grid: tuple[int, int], common: tuple[int, int], scaled: bool) -> Tensor:
    """One layer's (T, H, h·w), averaged over steps, on the common grid: (H, h'·w')."""
    return bicubic(marginal.double().mean(0), grid, common) * layer_scale(grid, common, scaled)


def on_reference(
    marginal: Tensor, leading: int, grid: tuple[int, int], common: tuple[int, int], scaled: bool
) -> tuple[Tensor, Tensor]:
    """One layer's (T, H, tokens), averaged over steps: (H, h'·w') on the common grid, and the unplaced share (H,)."""
    mean = marginal.double().mean(0)
    return bicubic(mean[:, leading:], grid, common) * layer_scale(grid, common, scaled), mean[:, :leading].sum(-1)


def mean_of(panels: list[Tensor]) -> Tensor:
    """The mean over all layers and heads: a list of (H, n) -> (n)."""
    return torch.cat(panels).mean(0)


def specific(
    pairs: Tensor,
    leading: int,
    grids: tuple[tuple[int, int], tuple[int, int]],
    common: tuple[tuple[int, int], tuple[int, int]],
    scaled: bool,
) -> tuple[Tensor, Tensor]:
    """SRAM of every generated patch (eq. 16) from one layer's A^r, (T, H, N, tokens).

    Grids are those of (queries, reference). Returns (H, h'·w', reference h'·w'), and the unplaced share (H, h'·w').
    """
    rows = bilinear_queries(pairs.double().mean(0), grids[0], common[0])
    placed = bilinear(rows[..., leading:], grids[1], common[1]) * layer_scale(grids[1], common[1], scaled)
    return placed, rows[..., :leading].sum(-1)


def mirror(block: Tensor, token: int) -> Tensor:
    """Where one reference patch went: its column of A^r, normalised over the generated positions: (N, S) -> (N)."""
    column = block.double()[:, token]
    return column / column.sum()
