"""The noise schedule of the paper's models, Stable Diffusion's: beta from 0.00085 to 0.012, linear in its square root."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

STEPS = 1000
BETAS: dict[str, Any] = {
    "num_train_timesteps": STEPS,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
}
"""For any of diffusers' schedulers that predict the noise."""


def ddim() -> DDIMScheduler:
    """DDIM as the paper samples: timesteps 981, 961, …, 1 for 50 steps, eta 0, and the first step's noise level as the end."""
    return DDIMScheduler(**BETAS, set_alpha_to_one=False, steps_offset=1)


def alphas_of() -> Tensor:
    """ᾱ of every timestep, (1000,), computed in float64 as checkpoints keep it."""
    ends = BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5
    return (1 - torch.linspace(*ends, STEPS, dtype=torch.float64) ** 2).cumprod(0).float()
