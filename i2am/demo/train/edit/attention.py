"""Attention for training on a CPU: one sample at a time, so that its weights stay in the processor's cache.

At this size it takes half the time of plain matrix products over the batch, and less than PyTorch's fused kernel.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from ....models.edit.family import GRID, TEXT

GENERATED = slice(TEXT, TEXT + GRID[0] * GRID[1])


class _Attention(torch.autograd.Function):
    """Gives (B, heads, N, d) and the head-mean weights of the rows and columns that are asked for, (B, rows, columns)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
        q = q * q.shape[-1] ** -0.5
        out, weights, mean = torch.empty_like(q), [], []
        for i in range(len(q)):
            p = torch.softmax(q[i] @ k[i].transpose(-1, -2), -1)
            torch.matmul(p, v[i], out=out[i])
            mean.append(p[:, rows, columns].float().mean(0))
            weights.append(p)
        ctx.rows, ctx.columns = rows, columns
        ctx.save_for_backward(q, k, v, *weights)
        return out, torch.stack(mean)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        g, g_mean = grads
        q, k, v, *weights = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        g = g.contiguous()
        for i, p in enumerate(weights):
            dp = g[i] @ v[i].transpose(-1, -2)
            if g_mean.numel():
                dp[:, ctx.rows, ctx.columns] += (g_mean[i] / len(p)).to(dp.dtype)
            ds = torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype)  # noqa: SLF001
            torch.matmul(p.transpose(-1, -2), g[i], out=dv[i])
            torch.matmul(ds, k[i], out=dq[i])
            torch.matmul(ds.transpose(-1, -2), q[i], out=dk[i])
        return dq.mul_(q.shape[-1] ** -0.5), dk, dv, None, None


class Attention:
    """What a network's ``attend`` takes; keeps the head-mean weights of some layers.

    ``kept`` has, for each layer of ``layers`` that ran, the weights (B, generated tokens, reference tokens).
    """

    def __init__(self, layers: Collection[str] = ()) -> None:
        self.layers = layers
        self.kept: dict[str, Tensor] = {}

    def __call__(self, name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What the heads of a layer give, (B, N, heads * d), from q, k and v, (B, heads, N or S, d)."""
        keep = name in self.layers
        rows = slice(None) if q.shape[2] < k.shape[2] else GENERATED  # the last layer has the generated rows alone
        rows, columns = (rows, slice(GENERATED.stop, None)) if keep else (slice(0), slice(0))
        out, mean = _Attention.apply(q.contiguous(), k.contiguous(), v.contiguous(), rows, columns)
        if keep:
            self.kept[name] = mean
        return out
