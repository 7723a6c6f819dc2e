"""Group normalisation by way of layer normalisation, whose bf16 backward pass on the CPU is many times faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _forward(self: nn.GroupNorm, x: Tensor) -> Tensor:
    rows = x.reshape(len(x) * self.num_groups, -1)
    normal = F.layer_norm(rows, (rows.shape[1],), None, None, self.eps).view_as(x)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return torch.addcmul(self.bias.view(shape).to(normal.dtype), normal, self.weight.view(shape).to(normal.dtype))


@contextmanager
def fast_group_norm(model: nn.Module) -> Iterator[None]:
    """Within the context, every `GroupNorm` of ``model`` takes the faster way; the result differs by rounding only."""
    norms = [m for m in model.modules() if isinstance(m, nn.GroupNorm)]
    for norm in norms:
        norm.forward = _forward.__get__(norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward
