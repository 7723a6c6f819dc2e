"""DDIM with classifier-free guidance, for any model that predicts the noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import DDIMScheduler
from torch import Tensor

Predict = Callable[[Tensor, Tensor], Tensor]
"""Noisy latents (B, 4, h, w) and the timestep to the noise in them, (B, 4, h, w)."""


def noise_of(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """The starting noise of each seed, (len(seeds), *shape), the same alone or in a batch."""
    return torch.stack([torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def denoise(
    scheduler: DDIMScheduler,
    predict: Predict,
    latents: Tensor,
    *,
    steps: int,
    cfg: float,
    on_step: Callable[[int], object] | None = None,
) -> Tensor:
    """The latents (B, 4, h, w) after all steps.

    Args:
        scheduler: whose timesteps are set here.
        predict: with guidance it gets the latents twice, for the unconditional and then for the conditional half.
        latents: (B, 4, h, w) at the first step's noise level.
        steps: DDIM steps.
        cfg: scale of classifier-free guidance; 1 runs without.
        on_step: called with the number of finished steps.
    """
    scheduler.set_timesteps(steps, device=latents.device)
    for i, t in enumerate(scheduler.timesteps):
        if cfg != 1:
            uncond, cond = predict(latents.repeat(2, 1, 1, 1), t).chunk(2)
            noise = uncond + cfg * (cond - uncond)
        else:
            noise = predict(latents, t)
        latents = scheduler.step(noise, t, latents).prev_sample
        if on_step is not None:
            on_step(i + 1)
    return latents
