"""Wan 2.1's pipeline of diffusers for image-to-video, with tiny random components and no encoder of text or pictures."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import diffusers
import torch
from joint_models import normal
from torch import Tensor

HEADS, EACH = 2, 257
Change = Callable[[Tensor], Tensor]


def network(pictures: int = 1, **other: Any) -> Any:
    torch.manual_seed(0)
    given = {"image_dim": 8, "added_kv_proj_dim": 24, "pos_embed_seq_len": None if pictures == 1 else EACH * pictures}
    made = diffusers.WanTransformer3DModel(
        num_attention_heads=HEADS, attention_head_dim=12, in_channels=12, out_channels=4, text_dim=8, freq_dim=8, ffn_dim=16,
        num_layers=2, **{**given, **other},
    )  # fmt: skip
    return made.eval()


@functools.cache
def vae() -> Any:
    torch.manual_seed(0)
    sizes = {"base_dim": 8, "z_dim": 4, "dim_mult": [1] * 4, "num_res_blocks": 1}
    return diffusers.AutoencoderKLWan(**sizes, latents_mean=[0.0] * 4, latents_std=[1.0] * 4).eval()


Change = Callable[[Tensor], Tensor]


def pipeline(pictures: int = 1, change: Change = lambda seen: seen, made: Any = None, seed: int = 40) -> Any:
    """The pipeline with a vision encoder of random tokens, which ``change`` may alter."""
    pipe = diffusers.WanImageToVideoPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=copy.deepcopy(vae()),
        text_encoder=None,
        tokenizer=None,
        image_encoder=None,
        image_processor=None,
        transformer=network(pictures) if made is None else made,
    )
    pipe.encode_image = lambda _images, _device: change(normal(seed, pictures, EACH, 8))
    pipe.set_progress_bar_config(disable=True)
    return pipe
