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
        return self.vae.encode(picture * 2 - 1).latent_dist.mode()  # type: ignore[no-any-return]

    def decode(self, latent: Tensor) -> Tensor:
        """Latents (B, 4, 32, 24) to pictures (B, 3, 128, 96) in 0-1."""
        return (self.vae.decode(latent).sample / 2 + 0.5).clamp(0, 1)  # type: ignore[no-any-return]


def noise_of(seeds: Sequence[int]) -> Tensor:
    """The starting noise of each seed, (len(seeds), 4, 32, 24), the same alone or in a batch."""
    return torch.stack([torch.randn(4, *LATENT, generator=torch.Generator().manual_seed(s)) for s in seeds])


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
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Generate pictures (B, 3, 128, 96) in 0-1, before the known area is pasted back.

    Args:
        model: the demo model.
        agnostic: (B, 3, 128, 96) person pictures with the garment's area grey.
        densepose: (B, 3, 128, 96) part maps.
        reference: (B, 3, 160, 112) garment pictures; None: the learned null tokens.
        seeds: one noise seed an image.
        steps: DDIM steps.
        cfg: scale of classifier-free guidance; 1 runs without.
        on_step: called with the number of finished steps.
    """
    n = len(seeds)
    device = model.unet.device
    known = torch.cat([model.encode(agnostic.to(device)), model.encode(densepose.to(device))], 1)
    null = model.encoder.null(n)
    tokens = null if reference is None else model.encoder(reference.to(device))
    guided = cfg != 1
    context = torch.cat([null, tokens]) if guided else tokens
    latent = noise_of(seeds).to(device)
    model.scheduler.set_timesteps(steps)
    for i, t in enumerate(model.scheduler.timesteps):
        unet_in = torch.cat([latent, known], 1)
        if guided:
            uncond, cond = model.unet(unet_in.repeat(2, 1, 1, 1), t, context).sample.chunk(2)
            epsilon = uncond + cfg * (cond - uncond)
        else:
            epsilon = model.unet(unet_in, t, context).sample
        latent = model.scheduler.step(epsilon, t, latent).prev_sample
        if on_step is not None:
            on_step(i + 1)
    return model.decode(latent).cpu()
