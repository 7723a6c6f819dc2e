"""From the vision model's tokens to those that the U-Net attends to: a mapper of the class token, or one linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from .checkpoint import check_weights, measured


class _Attention(nn.Module):
    """Self-attention of one head; its fused projection holds q, k and v in this order."""

    def __init__(self, width: int, operations: Any, placed: dict[str, Any]) -> None:
        super().__init__()
        self.c_qkv = operations.Linear(width, 3 * width, **placed)
        self.c_proj = operations.Linear(width, width, **placed)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, width) to the same."""
        q, k, v = self.c_qkv(x).chunk(3, -1)
        out: Tensor = self.c_proj(functional.scaled_dot_product_attention(q, k, v))
        return out


class _MLP(nn.Module):
    def __init__(self, width: int, operations: Any, placed: dict[str, Any]) -> None:
        super().__init__()
        self.c_fc = operations.Linear(width, 4 * width, **placed)
        self.c_proj = operations.Linear(4 * width, width, **placed)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, width) to the same."""
        out: Tensor = self.c_proj(functional.gelu(self.c_fc(x)))
        return out


class _Block(nn.Module):
    def __init__(self, width: int, operations: Any, placed: dict[str, Any]) -> None:
        super().__init__()
        self.attn = _Attention(width, operations, placed)
        self.ln_1 = operations.LayerNorm(width, **placed)
        self.mlp = _MLP(width, operations, placed)
        self.ln_2 = operations.LayerNorm(width, **placed)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, width) to the same."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class SingleTokenMapper(nn.Module):
    """Pre-norm transformer blocks over the class token, a last norm and a projection (Paint-by-Example, Yang et al. 2023).

    Args:
        width: of the vision model, 1024.
        context: of the U-Net's cross-attention, 768.
        layers: blocks, 5.
        operations: what makes linear layers and norms: ``torch.nn``, or a host's own that know of its memory.
        placed: ``device`` and ``dtype`` of the weights.
    """

    def __init__(self, width: int, context: int, layers: int, operations: Any = nn, **placed: Any) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(width, operations, placed) for _ in range(layers))
        self.final_ln = operations.LayerNorm(width, **placed)
        self.proj_out = operations.Linear(width, context, **placed)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, width) to (B, S, context)."""
        for block in self.resblocks:
            x = block(x)
        out: Tensor = self.proj_out(self.final_ln(x))
        return out


def projection_of(weights: Mapping[str, Tensor], single_token: bool, operations: Any = nn, **placed: Any) -> nn.Module:
    """What leads from the vision model's width to the U-Net's context.

    Args:
        weights: a checkpoint's part "mapper".
        single_token: whether it is the `SingleTokenMapper`; otherwise it is one linear layer for all tokens.
        operations: see `SingleTokenMapper`.
        placed: ``device`` and ``dtype`` of the weights.

    Raises:
        WeightsFileError: weights are missing, left over or of another shape; listed by group.
    """
    made: nn.Module
    with measured("token mapper"):
        context, width = weights["proj_out.weight"].shape
        if single_token:
            layers = len({key.split(".")[1] for key in weights if key.startswith("resblocks.")})
            made = SingleTokenMapper(width, context, layers, operations, **placed)
        else:
            made = operations.Linear(width, context, **placed)
    if not single_token:
        weights = {key.removeprefix("proj_out."): value for key, value in weights.items()}
    check_weights("token mapper", made.state_dict(), weights)
    made.load_state_dict(weights)
    return made
