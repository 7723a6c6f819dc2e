"""Euler steps along the edit model's flow, with classifier-free guidance over dropped references."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .blocks import Attend, attend
from .family import CHANNELS, LATENT, SHIFT, STEPS
from .network import EditNetwork


def shifted(u: Tensor) -> Tensor:
    """Evenly spaced u in 0-1 to noise levels: SHIFT u / (1 + (SHIFT - 1) u)."""
    return SHIFT * u / (1 + (SHIFT - 1) * u)


def sigmas(steps: int = STEPS) -> Tensor:
    """The noise levels of a run from 1 to 0, (steps + 1,): ComfyUI's "simple" scheduler."""
    return shifted(torch.linspace(1, 0, steps + 1))


def edit_noise(seeds: Sequence[int]) -> Tensor:
    """The starting noise of each seed, (len(seeds), 4, 32, 24), the same alone or in a batch."""
    return torch.stack([torch.randn(CHANNELS, *LATENT, generator=torch.Generator().manual_seed(s)) for s in seeds])


@torch.no_grad()
def sample(
    network: EditNetwork,
    context: Tensor,
    references: Sequence[Tensor],
    noise: Tensor,
    steps: int = STEPS,
    cfg: float = 1.0,
    attend: Attend = attend,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Latents (B, 4, 32, 24) of the edited pictures.

    Args:
        network: the edit model's network.
        context: (T, width) text tokens of all pictures.
        references: latents of the references, person then garment; fewer: the others are dropped.
        noise: (B, 4, 32, 24), see `edit_noise`.
        steps: Euler steps.
        cfg: scale of guidance away from what the model makes without references; 1 runs without.
        attend: see `EditNetwork.forward`; guidance's second half runs without it.
        on_step: called with the number of finished steps.
    """
    x, levels = noise, sigmas(steps).to(noise)
    text = context.to(noise).expand(len(noise), -1, -1)
    for i in range(steps):
        sigma = levels[i].expand(len(x))
        velocity = network(x, sigma, text, references, attend=attend)
        if cfg != 1:
            bare = network(x, sigma, text)
            velocity = bare + cfg * (velocity - bare)
        x = x + (levels[i + 1] - levels[i]) * velocity
        if on_step is not None:
            on_step(i + 1)
    return x
