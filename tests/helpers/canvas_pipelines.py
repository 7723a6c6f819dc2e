"""Pipelines of diffusers whose one picture is a canvas, with tiny random components and no text encoder."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import torch
from joint_models import CASES, HEADS, ROPE, WIDTH
from joint_pipelines import GARMENT, STEPS, WORDS, flux_vae, qwen_vae, text
from PIL import Image
from torch import Tensor

SIZE = (48, 96)
"""(H, W) of the canvas: 3 x 6 tokens, the reference in the left half."""


def masked(rows: slice = slice(17, 47), columns: slice = slice(49, 90)) -> Image.Image:
    """White where something is made: a pixel into the second row of tokens, and not up to the edge."""
    mask = np.zeros(SIZE, np.uint8)
    mask[rows, columns] = 255
    return Image.fromarray(mask)


def canvas() -> Image.Image:
    picture = Image.new("RGB", SIZE[::-1], (120, 120, 120))
    picture.paste(GARMENT.resize((48, 48)), (0, 0))
    picture.putpixel((3, 5), (255, 255, 255))
    return picture


def _flux(channels: int, out: int | None = None) -> Any:
    torch.manual_seed(0)
    return diffusers.FluxTransformer2DModel(
        in_channels=channels, out_channels=out, num_layers=1, num_single_layers=1, joint_attention_dim=8,
        pooled_projection_dim=4, axes_dims_rope=ROPE, attention_head_dim=WIDTH, num_attention_heads=HEADS,
    ).eval()  # fmt: skip


FLUX = {"text_encoder_2": None, "tokenizer_2": None}
KINDS: dict[str, tuple[Any, Any, Any, dict[str, Any], dict[str, Any]]] = {
    "fill": (diffusers.FluxFillPipeline, lambda: _flux(16 + 16 + 256, 16), flux_vae, FLUX, {}),
    "inpaint": (diffusers.FluxInpaintPipeline, lambda: _flux(16), flux_vae, FLUX, {"strength": 1.0}),
    "qwen": (
        diffusers.QwenImageInpaintPipeline, CASES["Qwen-Image-Edit"].model, qwen_vae, {},
        {"strength": 1.0, "true_cfg_scale": 1.0, "prompt_embeds_mask": torch.ones(1, WORDS[0]).bool()},
    ),
}  # fmt: skip


def build(name: str) -> Any:
    kind, transformer, vae, parts, _ = KINDS[name]
    pipe = kind(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(), vae=vae(), text_encoder=None, tokenizer=None,
        transformer=transformer(), **parts,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(name: str, pipe: Any, **other: Any) -> Tensor:
    given = {
        "image": canvas(), "mask_image": masked(), "height": SIZE[0], "width": SIZE[1], "num_inference_steps": STEPS,
        "generator": torch.Generator().manual_seed(3), "output_type": "latent", "prompt_embeds": text(WORDS[0]),
        **({} if name == "qwen" else {"pooled_prompt_embeds": torch.ones(1, 4)}), **KINDS[name][-1],
    }  # fmt: skip
    out: Tensor = pipe(**{**given, **other}).images
    return out
