"""The demo model in diffusers: loaded from its weights, and sampled with DDIM and classifier-free guidance."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors import safe_open
from torch import Tensor

from .. import sampling
from ..sampling import denoise
from ..schedule import ddim
from .encoder import ReferenceEncoder
from .family import WEIGHTS, load_part
from .networks import LATENT, build_unet, build_vae

PARTS = ("unet", "vae", "encoder")


@dataclass
class DemoModel:
    """The demo model's parts, in fp32 and ready to run."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    encoder: ReferenceEncoder
    scheduler: DDIMScheduler
    about: dict[str, Any]

    @classmethod
    def load(cls, folder: Path = WEIGHTS) -> DemoModel:
        """Read the weights of ``folder``: unet, vae and encoder, one safetensors file each.

        Raises:
            FileNotFoundError: a file is missing.
        """
        model = cls.untrained()
        for name in PARTS:
            getattr(model, name).load_state_dict(load_part(name, folder))
        with safe_open(folder / "unet.safetensors", "pt") as file:
            model.about = json.loads((file.metadata() or {}).get("i2am", "{}"))
        return model

    @classmethod
    def untrained(cls, seed: int = 0) -> DemoModel:
        """The same parts with random weights (a baseline)."""
        torch.manual_seed(seed)
        return cls(build_unet().eval(), build_vae().eval(), ReferenceEncoder().eval(), ddim(), {})

    def encode(self, picture: Tensor) -> Tensor:
        """Pictures (B, 3, 128, 96) in 0-1 to latents (B, 4, 32, 24)."""
        return self.vae.encode((picture * 2 - 1).contiguous()).latent_dist.mode()  # type: ignore[no-any-return]

    def decode(self, latent: Tensor) -> Tensor:
        """Latents (B, 4, 32, 24) to pictures (B, 3, 128, 96) in 0-1."""
        return (self.vae.decode(latent).sample / 2 + 0.5).clamp(0, 1)  # type: ignore[no-any-return]


def noise_of(seeds: Sequence[int]) -> Tensor:
    """The starting noise of each seed, (len(seeds), 4, 32, 24), the same alone or in a batch."""
    return sampling.noise_of(seeds, (4, *LATENT))


@torch.inference_mode()
def try_on(
    model: DemoModel,
    *,
    agnostic: Tensor,
    densepose: Tensor,
    reference: Tensor | None,
    seeds: Sequence[int],
    steps: int = 50,
    cfg: float = 5.0,
    on_step: Callable[[int], object] | None = None,
) -> Tensor:
    """Generate pictures (B, 3, 128, 96) in 0-1, before the known area is pasted back.

    Args:
        model: the demo model.
        agnostic: (B, 3, 128, 96) person pictures with the garment's area grey.
        densepose: (B, 3, 128, 96) part maps.
        reference: (B, 3, 160, 112) garment pictures; None: the learned null tokens.
        seeds: of the noise, one per image.
        steps: DDIM steps.
        cfg: scale of classifier-free guidance; 1 runs without.
        on_step: called with the number of finished steps.
    """
    device = model.unet.device
    known = torch.cat([model.encode(agnostic.to(device)), model.encode(densepose.to(device))], 1)
    context = null = model.encoder.null(len(seeds))
    if reference is not None:
        context = model.encoder(reference.to(device))
    if cfg != 1:
        context, known = torch.cat([null, context]), known.repeat(2, 1, 1, 1)

    def predict(noisy: Tensor, t: Tensor) -> Tensor:
        return model.unet(torch.cat([noisy, known], 1), t, context).sample  # type: ignore[no-any-return]

    latents = denoise(model.scheduler, predict, noise_of(seeds).to(device), steps=steps, cfg=cfg, on_step=on_step)
    return model.decode(latents).cpu()
