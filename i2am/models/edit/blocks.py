"""FLUX's two kinds of block, in plain torch, under the names that ComfyUI's classes give their parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .positions import rotate

Attend = Callable[[str, Tensor, Tensor, Tensor], Tensor]
"""Attention of a named layer: its name, q (B, heads, N, d), k and v (B, heads, S, d) to (B, heads, N, d)."""


def attend(_name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's own attention."""
    return F.scaled_dot_product_attention(q, k, v)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without weights, then ``scale`` and ``shift`` (B, 1, C) of x (B, S, C)."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


class Modulation(nn.Module):
    """The conditioning vector (B, C) to ``parts`` shifts, scales and gates of (B, 1, C) each."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.lin = nn.Linear(width, parts * width)

    def forward(self, vector: Tensor) -> tuple[Tensor, ...]:
        """A vector (B, width) to ``parts`` of (B, 1, width)."""
        return self.lin(F.silu(vector))[:, None].chunk(self.parts, -1)


class Scale(nn.Module):
    """Root-mean-square norm over the channels of a head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to the same shape, in fp32."""
        return F.rms_norm(x.float(), self.scale.shape, self.scale, 1e-6)


class HeadNorm(nn.Module):
    """Splits joined q, k, v (B, S, 3 C) into heads and norms q and k in fp32: (B, heads, S, d) each."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm, self.key_norm = Scale(width), Scale(width)

    def forward(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, S, 3 C) to q, k and v, (B, heads, S, d) each."""
        b, s, _ = qkv.shape
        q, k, v = qkv.view(b, s, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.query_norm(q), self.key_norm(k), v


class SelfAttention(nn.Module):
    """One stream's projections of a double block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.norm = HeadNorm(heads, width // heads)
        self.proj = nn.Linear(width, width)


def _mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))


def _joined(x: Tensor) -> Tensor:  # (B, heads, S, d) -> (B, S, heads * d)
    return x.transpose(1, 2).flatten(2)


class DoubleBlock(nn.Module):
    """Text and pictures keep projections of their own and attend in one sequence, the text first."""

    def __init__(self, width: int, heads: int, ratio: float) -> None:
        super().__init__()
        hidden = int(width * ratio)
        self.img_mod, self.img_attn, self.img_mlp = Modulation(width, 6), SelfAttention(width, heads), _mlp(width, hidden)
        self.txt_mod, self.txt_attn, self.txt_mlp = Modulation(width, 6), SelfAttention(width, heads), _mlp(width, hidden)

    def forward(
        self, name: str, img: Tensor, txt: Tensor, vector: Tensor, turn: Tensor, attend: Attend
    ) -> tuple[Tensor, Tensor]:
        """The block's output at the pictures' tokens and at the text's."""
        img_mod, txt_mod, text = self.img_mod(vector), self.txt_mod(vector), txt.shape[1]
        txt_heads = self.txt_attn.norm(self.txt_attn.qkv(modulated(txt, *txt_mod[:2])))
        img_heads = self.img_attn.norm(self.img_attn.qkv(modulated(img, *img_mod[:2])))
        q, k, v = (torch.cat(pair, 2) for pair in zip(txt_heads, img_heads, strict=True))
        out = _joined(attend(name, rotate(q, turn).to(v), rotate(k, turn).to(v), v))
        return (
            _advanced(img, self.img_attn.proj(out[:, text:]), self.img_mlp, img_mod),
            _advanced(txt, self.txt_attn.proj(out[:, :text]), self.txt_mlp, txt_mod),
        )


def _advanced(x: Tensor, attended: Tensor, mlp: nn.Module, parts: tuple[Tensor, ...]) -> Tensor:
    """One stream after its attention and its MLP."""
    _, _, gate, shift, scale, mlp_gate = parts
    x = x + gate * attended
    out: Tensor = x + mlp_gate * mlp(modulated(x, shift, scale))
    return out


class SingleBlock(nn.Module):
    """Attention and MLP side by side over one sequence."""

    def __init__(self, width: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.width, self.hidden = width, int(width * ratio)
        self.linear1 = nn.Linear(width, 3 * width + self.hidden)
        self.linear2 = nn.Linear(width + self.hidden, width)
        self.norm = HeadNorm(heads, width // heads)
        self.modulation = Modulation(width, 3)

    def forward(self, name: str, x: Tensor, vector: Tensor, turn: Tensor, attend: Attend, rows: slice) -> Tensor:
        """The block's output at the tokens of ``rows`` alone; all tokens are keys."""
        shift, scale, gate = self.modulation(vector)
        x_mod, split = modulated(x, shift, scale), 3 * self.width
        weight, bias = self.linear1.weight, self.linear1.bias
        q, k, v = self.norm(F.linear(x_mod, weight[:split], bias[:split]))
        hidden = F.linear(x_mod[:, rows], weight[split:], bias[split:])
        out = attend(name, rotate(q[:, :, rows], turn[rows]).to(v), rotate(k, turn).to(v), v)
        return x[:, rows] + gate * self.linear2(torch.cat([_joined(out), F.gelu(hidden, approximate="tanh")], -1))
