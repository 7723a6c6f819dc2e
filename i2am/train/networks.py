"""The custom model's networks: what is trained, what is frozen, and both as one checkpoint in the authors' layout."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from ..geometry.layout import Layout, TokenGrid
from ..models.tryon.custom import CUSTOM
from ..models.tryon.ldm_keys import unet_to_ldm, vae_to_ldm, vision_to_ldm
from ..models.tryon.vision import MEAN, SPREAD

CHANNELS = CUSTOM.channels
"""Noisy, agnostic and densepose latents, 4 each, in this order."""


class TryOn(nn.Module):
    """What is trained: the U-Net, the projection of the reference's tokens, and the token for "no reference".

    Args:
        unet: takes (B, 12, h, w).
        proj_out: from the vision model's width to the U-Net's context.
        null: (1, 1 or S, context).
    """

    def __init__(self, unet: UNet2DConditionModel, proj_out: nn.Linear, null: Tensor) -> None:
        super().__init__()
        self.unet = unet
        self.proj_out = proj_out
        self.learnable_vector = nn.Parameter(null.clone())

    def forward(self, noisy: Tensor, known: Tensor, time: Tensor, tokens: Tensor, dropped: Tensor) -> Tensor:
        """The noise that the U-Net predicts in the latents.

        Args:
            noisy: (B, 4, h, w) latents.
            known: (B, 8, h, w) agnostic and densepose latents.
            time: (B,) timesteps, 0 to 999.
            tokens: (B, S, width) of the vision model.
            dropped: (B,) bool, True = the reference is replaced by the "no reference" token.
        """
        context = self.proj_out(tokens)
        context = torch.where(dropped[:, None, None], self.learnable_vector.to(context.dtype), context)
        predicted: Tensor = self.unet(torch.cat([noisy, known], 1), time, context).sample
        return predicted


class Frozen(nn.Module):
    """What training leaves unchanged: the autoencoder and the vision model.

    Args:
        vae: an autoencoder of Stable Diffusion 1's kind; its latents are multiplied by 0.18215.
        vision: a `transformers.CLIPVisionModel`.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, vae: AutoencoderKL, vision: Any) -> None:
        super().__init__()
        self.vae, self.vision = vae, vision
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(SPREAD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    @property
    def cloth_side(self) -> int:
        """Side of the square picture that the vision model takes, in pixels."""
        return int(self.vision.config.image_size)

    def layout(self) -> Layout:
        """The keys of every cross-attention call: a class token, then patches row-major; the picture is squashed."""
        side = self.cloth_side // int(self.vision.config.patch_size)
        return Layout.of(TokenGrid(side, side, leading=1))

    @torch.no_grad()
    def latents(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in 0-1 to scaled latents (B, 4, H/8, W/8): the posterior's mode, as hosts take it.

        In fp32 even under autocast: Stable Diffusion 1's autoencoder leaves fp16's range.
        """
        with torch.autocast(pictures.device.type, enabled=False):
            mode: Tensor = self.vae.encode((pictures * 2 - 1).contiguous()).latent_dist.mode()
        return mode * CUSTOM.scale

    @torch.no_grad()
    def tokens(self, cloth: Tensor) -> Tensor:
        """Garments (B, 3, R, R) in 0-1 to the vision model's last tokens, (B, S, width), without its post-layernorm."""
        out: Tensor = self.vision(pixel_values=((cloth - self.mean) / self.spread).contiguous()).last_hidden_state
        return out.float()


def checkpoint_of(tryon: TryOn, frozen: Frozen, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """All weights under the names of the authors' layout, which I²AM Load Try-On and `sort_checkpoint` accept as "custom"."""
    parts = {
        "model.diffusion_model.": unet_to_ldm(tryon.unet.state_dict()),
        "first_stage_model.": vae_to_ldm(frozen.vae.state_dict()),
        "cond_stage_model.transformer.vision_model.": vision_to_ldm(frozen.vision.state_dict()),
        "proj_out.": tryon.proj_out.state_dict(),
        "": {"learnable_vector": tryon.learnable_vector.detach()},
    }
    # copies, since a safetensors file cannot hold tensors that share memory
    return {
        prefix + key: value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype, copy=True).contiguous()
        for prefix, part in parts.items()
        for key, value in part.items()
        if not key.endswith("position_ids")
    }
