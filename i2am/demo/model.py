"""The demo model's parts: the paper's custom try-on model in small.

A U-Net with 12 input channels (noisy, agnostic and densepose latents) that attends to every patch token
of the reference picture and to one leading token without a place, at two grids (32x24 and 16x12), while
the reference grid is 20x14. Only options that ComfyUI's own U-Net and VAE also have.
"""

from __future__ import annotations

import math

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from .spec import REFERENCE

CONTEXT = 128
HEADS = 4
REFERENCE_GRID = (20, 14)
LATENT = (32, 24)
FACTOR = 4


def build_unet() -> UNet2DConditionModel:
    """The U-Net, untrained: (B, 12, 32, 24) to (B, 4, 32, 24)."""
    return UNet2DConditionModel(
        sample_size=LATENT,
        in_channels=12,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 128),
        layers_per_block=1,
        norm_num_groups=32,
        cross_attention_dim=CONTEXT,
        attention_head_dim=HEADS,
        use_linear_projection=False,
    )


def build_vae() -> AutoencoderKL:
    """The autoencoder, untrained: factor 4, 4 channels. Latents are normalised inside its 1x1 convolutions."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(64, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=32,
        sample_size=LATENT[0] * FACTOR,
        scaling_factor=1.0,
    )


def build_scheduler() -> DDIMScheduler:
    """The paper's noise schedule: beta from 0.00085 to 0.012, linear in its root, epsilon prediction, eta 0."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


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
