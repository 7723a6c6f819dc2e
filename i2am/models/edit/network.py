"""The edit model's network: a twin of ComfyUI's `comfy.ldm.flux.model.Flux`, in plain torch, with its state dict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import Attend, DoubleBlock, SingleBlock, attend, modulated
from .family import SHAPE
from .positions import position_ids, rotation


def timestep_embedding(sigma: Tensor, width: int = 256) -> Tensor:
    """Sinusoids of 1000 sigma, (B,) to (B, width): cosines, then sines."""
    half = width // 2
    rate = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=sigma.device) / half)
    angle = 1000 * sigma.float()[:, None] * rate
    return torch.cat([angle.cos(), angle.sin()], -1)


def to_tokens(latent: Tensor, patch: int) -> Tensor:
    """Latents (B, C, H, W) to tokens (B, H / p * W / p, C * p * p), row-major."""
    b, c, h, w = latent.shape
    return latent.view(b, c, h // patch, patch, w // patch, patch).permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * patch * patch)


def from_tokens(tokens: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """The inverse of `to_tokens`."""
    b, _, width = tokens.shape
    rows, columns = grid
    x = tokens.view(b, rows, columns, width // patch**2, patch, patch).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(b, -1, rows * patch, columns * patch)


class _Embedder(nn.Module):
    """Two linear layers that bring a vector to the network's width."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.in_layer, self.out_layer = nn.Linear(width, hidden), nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_layer(nn.functional.silu(self.in_layer(x)))


class _Last(nn.Module):
    """Modulated norm and projection to the patches of the output."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(vector)[:, None].chunk(2, -1)
        return self.linear(modulated(x, shift, scale))


class EditNetwork(nn.Module):
    """FLUX in small: text, generated picture and references as one sequence.

    ``shape`` is what ComfyUI's class takes (`family.SHAPE`). Reference i of 1, 2 … lies at positions (i, row, column).
    """

    def __init__(self, shape: dict[str, Any] = SHAPE) -> None:
        super().__init__()
        width, heads, ratio = shape["hidden_size"], shape["num_heads"], shape["mlp_ratio"]
        self.patch, self.axes, self.theta = shape["patch_size"], shape["axes_dim"], shape["theta"]
        cells = self.patch**2
        self.img_in = nn.Linear(shape["in_channels"] * cells, width)
        self.time_in = _Embedder(256, width)
        self.vector_in = _Embedder(shape["vec_in_dim"], width)
        self.txt_in = nn.Linear(shape["context_in_dim"], width)
        self.double_blocks = nn.ModuleList(DoubleBlock(width, heads, ratio) for _ in range(shape["depth"]))
        self.single_blocks = nn.ModuleList(SingleBlock(width, heads, ratio) for _ in range(shape["depth_single_blocks"]))
        self.final_layer = _Last(width, shape["out_channels"] * cells)

    def forward(
        self,
        latent: Tensor,
        sigma: Tensor,
        context: Tensor,
        references: Sequence[Tensor] = (),
        indices: Sequence[int] | None = None,
        attend: Attend = attend,
    ) -> Tensor:
        """The velocity, noise minus picture, of noisy latents.

        Args:
            latent: (B, C, H, W), noisy; H and W are multiples of the patch size.
            sigma: (B,) noise levels in 0-1.
            context: (B, T, width) text tokens.
            references: latents of references, (B, C, any H, any W) each.
            indices: position index of each reference; None: 1, 2 …
            attend: what runs each layer's attention, called with the layer's name (`family.BLOCKS`).

        Returns:
            (B, C, H, W).
        """
        pictures = [latent, *references]
        grids = [(p.shape[-2] // self.patch, p.shape[-1] // self.patch) for p in pictures]
        tokens, text = grids[0][0] * grids[0][1], context.shape[1]
        ids = position_ids(text, grids, [0, *(range(1, len(pictures)) if indices is None else indices)])
        turn = rotation(ids.to(latent.device), self.axes, self.theta)

        # activations stay in the latents' type where autocast runs the matrices in a lower one
        img = self.img_in(torch.cat([to_tokens(p, self.patch) for p in pictures], 1)).to(latent.dtype)
        txt = self.txt_in(context).to(latent.dtype)
        vector = self.time_in(timestep_embedding(sigma).to(latent.dtype))
        vector = vector + self.vector_in(latent.new_zeros(len(latent), self.vector_in.in_layer.in_features))
        for i, block in enumerate(self.double_blocks):
            img, txt = block(f"double.{i}", img, txt, vector, turn, attend)
        x, last = torch.cat([txt, img], 1), len(self.single_blocks) - 1
        generated = slice(text, text + tokens)
        for i, block in enumerate(self.single_blocks):
            x = block(f"single.{i}", x, vector, turn, attend, generated if i == last else slice(None))
        return from_tokens(self.final_layer(x, vector), grids[0], self.patch)
