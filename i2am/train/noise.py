"""The random draws of a training sample, from its own index alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from ..models.schedule import BETAS, STEPS


@dataclass(frozen=True)
class Draw:
    """noise (B, 4, h, w), time (B,) uniform in 0 to 999, and dropped (B,): True = trained without its reference."""

    noise: Tensor
    time: Tensor
    dropped: Tensor

    def to(self, device: torch.device) -> Draw:
        """The same on a device."""
        return Draw(self.noise.to(device), self.time.to(device), self.dropped.to(device))


def draw(seed: int, epoch: int, indices: Sequence[int], shape: Sequence[int], drop: float) -> Draw:
    """Draw for each sample by (seed, epoch, index) alone.

    So a sample's noise depends neither on its batch nor on the number of processes nor on earlier draws, and a resumed
    run goes on as if it had never stopped.

    Args:
        seed: of the run.
        epoch: counted from 0.
        indices: the samples' places in the data set.
        shape: (4, h, w) of a latent.
        drop: share of dropped references, 0 to 1.
    """
    noise, time, dropped = [], [], []
    for index in indices:
        state = np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)
        rng = torch.Generator().manual_seed(int(state[0]) >> 1)
        time.append(torch.randint(STEPS, (), generator=rng))
        dropped.append(torch.rand((), generator=rng) < drop)
        noise.append(torch.randn(tuple(shape), generator=rng))
    return Draw(torch.stack(noise), torch.stack(time), torch.stack(dropped))


def schedule() -> DDPMScheduler:
    """Stable Diffusion's: beta from 0.00085 to 0.012, linear in its square root, over 1000 steps; predicts the noise."""
    return DDPMScheduler(**BETAS)
