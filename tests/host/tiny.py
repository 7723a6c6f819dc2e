"""A tiny Stable Diffusion U-Net with random weights, on the host's real sampling path."""

from __future__ import annotations

from functools import cache
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models_base
import torch
from torch import Tensor

import nodes

CONTEXT = 32  # channels of a conditioning token
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "channel_mult": (1, 2),  # a latent of 16 x 12 is attended at 16 x 12 and at 8 x 6
    "num_res_blocks": [1, 1],
    "transformer_depth": [1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1],
    "num_heads": 4,
    "num_head_channels": -1,
    "use_spatial_transformer": True,
    "context_dim": CONTEXT,
    "legacy": False,
    "dtype": torch.float32,
}


SD15 = {
    **UNET,
    "channel_mult": (1, 1, 2, 2),
    "num_res_blocks": [2, 2, 2, 2],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
}
"""The blocks of Stable Diffusion 1.5 with few channels; a latent's sides are multiples of 8."""
SDXL = {
    **UNET,
    "channel_mult": (1, 2, 4),
    "num_res_blocks": [2, 2, 2],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "context_dim": 2048,
}
"""The blocks and the tokens of SDXL, without its label."""
SHAPES = {"tiny": UNET, "sd15": SD15, "sdxl": SDXL}


class _Config(comfy.supported_models_base.BASE):
    unet_extra_config: dict[str, Any] = {}  # noqa: RUF012 -- as the host declares it
    latent_format = comfy.latent_formats.SD15


@cache
def _network(seed: int, shape: str) -> comfy.model_base.BaseModel:
    network = comfy.model_base.BaseModel(_Config(SHAPES[shape]), model_type=comfy.model_base.ModelType.EPS)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.diffusion_model.parameters():  # the host leaves them uninitialised
            random = torch.randn(weight.shape, generator=source)
            if weight.dim() == 1:  # biases, and the scales of norms
                weight.copy_(0.1 * random)
            else:
                weight.copy_(random / weight[0].numel() ** 0.5)
        for layer in network.diffusion_model.modules():
            if isinstance(layer, torch.nn.GroupNorm | torch.nn.LayerNorm):
                layer.weight.add_(1)
    return network.eval().requires_grad_(False)


def model(seed: int = 0, shape: str = "tiny") -> comfy.model_patcher.ModelPatcher:
    """A new patcher of one of `SHAPES`, with weights that depend on the seed alone."""
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(_network(seed, shape), load_device=device, offload_device=torch.device("cpu"))


def context(tokens: int, seed: int, batch: int = 1) -> Tensor:
    """Random tokens, (batch, tokens, 32)."""
    return torch.randn(batch, tokens, CONTEXT, generator=torch.Generator().manual_seed(seed))


def conditioning(tokens: int, seed: int, batch: int = 1, **options: Any) -> list[list[Any]]:
    """A CONDITIONING of random tokens; ``options`` go beside them."""
    return [[context(tokens, seed, batch), dict(options)]]


def positive(tokens: int = 12, seed: int = 10, **options: Any) -> list[list[Any]]:
    return conditioning(tokens, seed, **options)


def negative(tokens: int = 12, seed: int = 11, **options: Any) -> list[list[Any]]:
    return conditioning(tokens, seed, **options)


def sample(
    model: Any,
    positive: list[list[Any]],
    negative: list[list[Any]],
    sampler: str = "euler",
    steps: int = 4,
    cfg: float = 5.0,
    seed: int = 1,
    latent: tuple[int, ...] | dict[str, Any] = (1, 4, 16, 12),
    scheduler: str = "normal",
    **options: Any,
) -> Tensor:
    """What KSampler makes, (B, 4, height, width), of an empty latent of this shape or of a LATENT."""
    start = latent if isinstance(latent, dict) else {"samples": torch.zeros(latent)}
    with torch.inference_mode():  # as in the executor
        made = nodes.common_ksampler(model, seed, steps, cfg, sampler, scheduler, positive, negative, start, **options)
    return made[0]["samples"]
