"""The demo model's reference encoder: a small transformer over the patches of the reference picture. Needs torch alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...drawn.spec import REFERENCE

CONTEXT = 128
REFERENCE_GRID = (20, 14)


def _sinusoidal_2d(rows: int, columns: int, width: int) -> Tensor:
    """Fixed 2-D positions, (rows * columns, width): a quarter each of sin and cos of row and column."""
    quarter = width // 4
    rate = torch.exp(torch.arange(quarter) * (-math.log(100.0) / quarter)) * math.pi
    row = (torch.arange(rows) + 0.5).view(-1, 1, 1) / rows * 8 * rate
    column = (torch.arange(columns) + 0.5).view(1, -1, 1) / columns * 8 * rate
    row, column = row.expand(rows, columns, quarter), column.expand(rows, columns, quarter)
    return torch.cat([row.sin(), row.cos(), column.sin(), column.cos()], -1).reshape(rows * columns, -1)


class _Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:  # (B, S, C) -> (B, S, C)
        b, s, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, s, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, s, c)
        x = x + self.out(attended)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ReferenceEncoder(nn.Module):
    """Turns the reference picture into 1 + 20x14 tokens; the leading token has no place.

    `forward` takes (B, 3, 160, 112) in 0-1 and gives (B, 281, 128); `null` gives the learned tokens that
    stand for "no reference" in classifier-free guidance.
    """

    def __init__(self, width: int = CONTEXT) -> None:
        super().__init__()
        tokens = REFERENCE_GRID[0] * REFERENCE_GRID[1]
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(64, width, 3, 2, 1),
        )
        self.register_buffer("fixed", _sinusoidal_2d(*REFERENCE_GRID, width), persistent=False)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.lead = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.blocks = nn.ModuleList(_Block(width, 4) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.null_tokens = nn.Parameter(torch.randn(1, 1 + tokens, width) * 0.02)

    def forward(self, picture: Tensor) -> Tensor:
        """Pictures (B, 3, 160, 112) in 0-1 to tokens (B, 281, 128)."""
        if picture.ndim != 4 or tuple(picture.shape[1:]) != (3, *REFERENCE):
            raise ValueError(
                f"the reference encoder takes pictures of shape (B, 3, {REFERENCE[0]}, {REFERENCE[1]}), got "
                f"{tuple(picture.shape)}; resize the reference picture first"
            )
        x = self.stem(picture * 2 - 1).flatten(2).transpose(1, 2) + self.fixed + self.position
        x = torch.cat([self.lead.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def null(self, batch: int) -> Tensor:
        """The learned null tokens, (batch, 281, 128)."""
        return self.null_tokens.expand(batch, -1, -1)
