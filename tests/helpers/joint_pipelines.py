"""Pipelines of diffusers that take reference pictures, with tiny random components and no text encoder."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as qwen
from joint_models import CASES, Grid, Inputs, normal, pieces_of
from PIL import Image
from torch import Tensor
from transformers import Siglip2ImageProcessor, Siglip2VisionConfig, Siglip2VisionModel

SIZE = (32, 48)
"""(H, W) of the generated picture: 2 x 3 tokens."""
STEPS = 2
WORDS = (5, 3)
PERSON, GARMENT = Image.new("RGB", (112, 80), (200, 30, 10)), Image.new("RGB", (64, 96), (0, 30, 210))


def _blocks(kind: Any, **other: Any) -> Any:
    torch.manual_seed(0)
    return kind(
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4,
        norm_num_groups=4,
        **other,
    ).eval()


@functools.cache
def flux_vae() -> Any:
    return _blocks(diffusers.AutoencoderKL, shift_factor=0.1, scaling_factor=0.3)


@functools.cache
def flux2_vae() -> Any:
    return _blocks(diffusers.AutoencoderKLFlux2, patch_size=(2, 2))


@functools.cache
def qwen_vae() -> Any:
    torch.manual_seed(0)
    return diffusers.AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1] * 4, num_res_blocks=1, latents_mean=[0.0] * 4, latents_std=[1.0] * 4
    ).eval()


@functools.cache
def _zimage_vae() -> Any:
    return copy.deepcopy(flux_vae()).to(torch.bfloat16)  # its pipeline gives it no other


@functools.cache
def _siglip() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_patches": 16}
    return Siglip2VisionModel(Siglip2VisionConfig(**sizes)).eval()


def text(words: int) -> Tensor:
    return normal(words, 1, words, 8)


def pieces(words: int, references: int = 2) -> list[list[Tensor]]:
    """Z-Image's texts around its references, for one image."""
    return [list(text(words)[0].split(pieces_of(words, references)))]


@dataclass(frozen=True)
class Pipe:
    """One pipeline: its class, its transformer's case, and how it is called.

    ``cells`` are latent cells per token in what ``_encode_vae_image`` gives, along each side.
    """

    kind: Any
    case: str
    vae: Callable[[], Any]
    parts: dict[str, Any]
    call: dict[str, Any]
    grids: tuple[Grid, ...] = ((5, 7), (6, 4))
    pictures: tuple[Any, ...] = (PERSON, GARMENT)
    negative: dict[str, Any] = field(default_factory=dict)
    words: tuple[int, int] = WORDS
    cells: int = 2

    def build(self) -> Any:
        pipe = self.kind(
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=copy.deepcopy(self.vae()),  # one that is cast stays the test's own
            text_encoder=None,
            tokenizer=None,
            transformer=CASES[self.case].model(),
            **self.parts,
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    @property
    def inputs(self) -> Inputs:
        """What the transformer is given, in the words of its case."""
        grid = SIZE[0] // 16, SIZE[1] // 16
        return Inputs(grid, self.grids, self.words, cfg=bool(self.negative))

    def run(self, pipe: Any, **other: Any) -> Tensor:
        """The latents that the pipeline makes."""
        pictures = list(self.pictures) if len(self.pictures) > 1 else self.pictures[0]
        given = {
            "image": pictures,
            "height": SIZE[0],
            "width": SIZE[1],
            "num_inference_steps": STEPS,
            "generator": torch.Generator().manual_seed(3),
            "output_type": "latent",
            "prompt_embeds": text(WORDS[0]),
        }
        out: Tensor = pipe(**{**given, **self.call, **self.negative, **other}).images
        return out


_NEGATIVE = {"negative_prompt_embeds": text(WORDS[1])}
PIPES = {
    "FluxKontextPipeline": Pipe(
        diffusers.FluxKontextPipeline, "FLUX.1", flux_vae, {"text_encoder_2": None, "tokenizer_2": None},
        {"pooled_prompt_embeds": torch.ones(1, 4), "max_area": SIZE[0] * SIZE[1], "_auto_resize": False},
        ((5, 7),), (PERSON,),
        {
            "negative_prompt_embeds": normal(9, 1, WORDS[0], 8), "negative_pooled_prompt_embeds": torch.ones(1, 4),
            "true_cfg_scale": 2.0,
        },
        (WORDS[0], WORDS[0]),
    ),
    "Flux2Pipeline": Pipe(diffusers.Flux2Pipeline, "FLUX.2", flux2_vae, {}, {}, cells=1),
    "Flux2KleinPipeline": Pipe(
        diffusers.Flux2KleinPipeline, "FLUX.2", flux2_vae, {}, {}, negative={**_NEGATIVE, "guidance_scale": 3.0}, cells=1
    ),
    "Flux2KleinKVPipeline": Pipe(
        diffusers.Flux2KleinKVPipeline, "FLUX.2 with kept keys", flux2_vae, {}, {}, cells=1
    ),
    "QwenImageEditPlusPipeline": Pipe(
        diffusers.QwenImageEditPlusPipeline, "Qwen-Image-Edit", qwen_vae, {"processor": None},
        {"prompt_embeds_mask": torch.ones(1, WORDS[0]).bool(), "negative_prompt_embeds_mask": torch.ones(1, WORDS[1]).bool()},
        ((4, 6), (6, 4)), negative={**_NEGATIVE, "true_cfg_scale": 3.0},
    ),
    "ZImageOmniPipeline": Pipe(
        diffusers.ZImageOmniPipeline, "Z-Image", _zimage_vae,
        {"siglip": _siglip(), "siglip_processor": Siglip2ImageProcessor(max_num_patches=16)},
        {"prompt_embeds": pieces(7)}, negative={"negative_prompt_embeds": pieces(5), "guidance_scale": 2.0}, words=(7, 5),
    ),
}  # fmt: skip


def small_references(monkeypatch: Any) -> None:
    """Let Qwen's pipeline bring references to 96 x 64 pixels instead of its million."""
    monkeypatch.setattr(qwen, "VAE_IMAGE_SIZE", 96 * 64)
