"""DDIM and PLMS as latent-diffusion has them, which all authors of the paper's models sample with; η is 0."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...errors import I2AMError
from ..sampling import Predict
from ..schedule import STEPS, alphas_of

SAMPLERS = ("ddim", "plms")
ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""The weights of the newest noise and of those before it."""


def timesteps_of(steps: int) -> tuple[int, ...]:
    """The timesteps that latent-diffusion takes for a wanted number of steps, from the noisiest down.

    They lie 1000 // steps apart and end at 1, so there are more of them where the steps do not divide 1000. Where that leads
    to a timestep of 1000, with which the originals break off, it is 999.

    Raises:
        I2AMError: the number is out of range.

    >>> timesteps_of(4), len(timesteps_of(30)), timesteps_of(30)[0]
    ((751, 501, 251, 1), 31, 991)
    """
    if not 1 <= steps <= STEPS:
        raise I2AMError(f"a run takes 1 to {STEPS} steps, got {steps}")
    return tuple(dict.fromkeys(min(t + 1, STEPS - 1) for t in reversed(range(0, STEPS, STEPS // steps))))


def steps_told(steps: int) -> str:
    """What to tell a reader where a wanted number of steps gives another; else nothing.

    >>> print(steps_told(30))
    30 steps do not divide 1000: as in the authors' code there are 31, from timestep 991
    >>> print(steps_told(501))
    with 501 steps the authors' code asks for timestep 1000, which does not exist: here there are 999, from timestep 999
    >>> steps_told(50)
    ''

    Raises:
        I2AMError: the number is out of range.
    """
    times = timesteps_of(steps)
    if len(times) == steps:
        return ""
    if (STEPS - 1) % (STEPS // steps) == 0:
        return (
            f"with {steps} steps the authors' code asks for timestep {STEPS}, which does not exist: here there are "
            f"{len(times)}, from timestep {times[0]}"
        )
    return f"{steps} steps do not divide {STEPS}: as in the authors' code there are {len(times)}, from timestep {times[0]}"


def noised(latents: Tensor, noise: Tensor) -> Tensor:
    """Scaled latents (B, 4, h, w) noised to the last timestep, 999, from which the authors start."""
    alpha = alphas_of()[-1]
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def sample(
    predict: Predict,
    latents: Tensor,
    times: Sequence[int],
    *,
    cfg: float,
    sampler: str = "ddim",
    on_step: Callable[[int], object] | None = None,
) -> Tensor:
    """The latents (B, 4, h, w) after all steps.

    PLMS evaluates the model once more in its first step, at the second one's timestep.

    Args:
        predict: with guidance it gets the latents twice, for the unconditional and then for the conditional half.
        latents: (B, 4, h, w) at the first step's noise level.
        times: of `timesteps_of`.
        cfg: scale of classifier-free guidance; 1 runs without.
        sampler: of `SAMPLERS`.
        on_step: called with the number of finished steps.

    Raises:
        I2AMError: there is no such sampler.
    """
    if sampler not in SAMPLERS:
        raise I2AMError(f"sampler is {sampler!r}; choose one of {', '.join(SAMPLERS)}")
    alphas = alphas_of().to(latents.device)
    after = [*(alphas[t] for t in times[1:]), alphas[0]]
    newest: deque[Tensor] = deque(maxlen=len(ADAMS_BASHFORTH) if sampler == "plms" else 1)
    for i, t in enumerate(times):
        newest.appendleft(_guided(predict, latents, t, cfg))
        weights = ADAMS_BASHFORTH[len(newest) - 1]
        noise = sum((w * one for w, one in zip(weights, newest, strict=True)), torch.zeros_like(latents))
        if sampler == "plms" and i == 0:
            ahead = _moved(latents, noise, alphas[t], after[i])
            noise = (noise + _guided(predict, ahead, times[min(1, len(times) - 1)], cfg)) / 2
        latents = _moved(latents, noise, alphas[t], after[i])
        if on_step is not None:
            on_step(i + 1)
    return latents


def _guided(predict: Predict, latents: Tensor, t: int, cfg: float) -> Tensor:
    """The noise in the latents at timestep t."""
    time = torch.tensor(t, device=latents.device)
    if cfg == 1:
        return predict(latents, time)
    uncond, cond = predict(latents.repeat(2, 1, 1, 1), time).chunk(2)
    return uncond + cfg * (cond - uncond)


def _moved(latents: Tensor, noise: Tensor, alpha: Tensor, after: Tensor) -> Tensor:
    """The latents from one ᾱ to the next, along the noise."""
    clean = (latents - (1 - alpha).sqrt() * noise) / alpha.sqrt()
    return after.sqrt() * clean + (1 - after).sqrt() * noise
