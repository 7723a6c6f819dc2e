"""DDIM and PLMS of latent-diffusion: which timesteps, how many, from where, and along which noise."""

from __future__ import annotations

import numpy as np
import paper_models as paper
import pytest
import torch
from torch import Tensor

from i2am.errors import I2AMError
from i2am.models.schedule import alphas_of, ddim
from i2am.models.tryon.sampling import noised, sample, steps_told, timesteps_of

ALPHAS = paper.schedule()["alphas_cumprod"].double()


def of_latent_diffusion(steps: int) -> list[int]:
    """`make_ddim_timesteps` of CompVis' latent-diffusion, "uniform", from the noisiest down."""
    return [int(t) for t in np.asarray(list(range(0, 1000, 1000 // steps))) + 1][::-1]


@pytest.mark.parametrize("steps", [1, 2, 4, 7, 10, 20, 25, 30, 50, 60, 100, 200, 500])
def test_the_timesteps_are_latent_diffusions(steps: int) -> None:
    assert list(timesteps_of(steps)) == of_latent_diffusion(steps)


def test_numbers_that_do_not_divide_1000_give_more_steps_and_say_so() -> None:
    assert (len(timesteps_of(30)), timesteps_of(30)[0]) == (31, 991)
    assert (len(timesteps_of(60)), timesteps_of(60)[0]) == (63, 993)
    assert steps_told(60) == "60 steps do not divide 1000: as in the authors' code there are 63, from timestep 993"
    assert steps_told(100) == ""
    for steps in (3, 501, 1000):  # 1000 is among theirs
        assert of_latent_diffusion(steps)[0] == 1000
        assert f"with {steps} steps the authors' code asks for timestep 1000, which does not exist" in steps_told(steps)
    assert of_latent_diffusion(400)[0] == 999
    assert "400 steps do not divide 1000: as in the authors' code there are 500" in steps_told(400)
    for steps in range(1, 1001):  # theirs reach 1000 at some numbers, which they have no ᾱ for
        times = timesteps_of(steps)
        assert times == tuple(sorted(set(times), reverse=True))
        assert 1 == times[-1] <= times[0] <= 999
    with pytest.raises(I2AMError, match="1 to 1000 steps, got 0"):
        timesteps_of(0)


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(I2AMError, match="sampler is 'euler'; choose one of ddim, plms"):
        sample(predict, torch.zeros(1, 4, 5, 3), timesteps_of(2), cfg=1.0, sampler="euler")


def test_the_schedule_is_the_checkpoints() -> None:
    assert torch.equal(alphas_of(), paper.schedule()["alphas_cumprod"])
    x, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    assert torch.allclose(noised(x, noise), (ALPHAS[999].sqrt() * x + (1 - ALPHAS[999]).sqrt() * noise).float(), atol=1e-6)


def predict(x: Tensor, t: Tensor) -> Tensor:
    """Some noise that depends on the picture and the time."""
    return torch.tanh(x * (1 + t / 700)) + 0.1 * torch.cos(t / 90)


def in_double(x: Tensor, steps: int, plms: bool) -> Tensor:
    """The samplers' formulas in float64."""
    times, past = of_latent_diffusion(steps), []
    for i, t in enumerate(times):
        a, after = ALPHAS[t], ALPHAS[times[i + 1]] if i + 1 < len(times) else ALPHAS[0]

        def move(eps: Tensor, x: Tensor = x, a: Tensor = a, after: Tensor = after) -> Tensor:
            return after.sqrt() * (x - (1 - a).sqrt() * eps) / a.sqrt() + (1 - after).sqrt() * eps

        eps = used = predict(x, torch.tensor(t))
        if plms:
            used = {
                0: lambda e, p, i=i, move=move: (e + predict(move(e), torch.tensor(times[min(i + 1, len(times) - 1)]))) / 2,
                1: lambda e, p: (3 * e - p[-1]) / 2,
                2: lambda e, p: (23 * e - 16 * p[-1] + 5 * p[-2]) / 12,
                3: lambda e, p: (55 * e - 59 * p[-1] + 37 * p[-2] - 9 * p[-3]) / 24,
            }[min(len(past), 3)](eps, past)
        past.append(eps)
        x = move(used)
    return x


@pytest.mark.parametrize("sampler", ["ddim", "plms"])
@pytest.mark.parametrize("steps", [1, 2, 4, 30])
def test_the_samplers_follow_the_formulas(sampler: str, steps: int) -> None:
    start = torch.randn(2, 4, 5, 3, generator=torch.manual_seed(0))
    times = of_latent_diffusion(steps)
    seen: list[int] = []
    got = sample(predict, start, times, cfg=1.0, sampler=sampler, on_step=seen.append)
    expected = in_double(start.double(), steps, sampler == "plms")
    assert torch.allclose(got.double(), expected, rtol=1e-4, atol=1e-4)
    assert seen == list(range(1, len(times) + 1))


def test_plms_looks_ahead_once_and_guidance_runs_as_one_batch() -> None:
    calls: list[tuple[int, int]] = []

    def noted(x: Tensor, t: Tensor) -> Tensor:
        calls.append((len(x), int(t)))
        return predict(x, t)

    sample(noted, torch.randn(1, 4, 2, 2), timesteps_of(4), cfg=5.0, sampler="plms")
    assert calls == [(2, 751), (2, 501), (2, 501), (2, 251), (2, 1)]


def test_where_the_steps_divide_1000_ddim_is_diffusers() -> None:
    start, scheduler = torch.randn(1, 4, 5, 3), ddim()
    scheduler.set_timesteps(50)
    x = start
    for t in scheduler.timesteps:
        x = scheduler.step(predict(x, t), t, x).prev_sample
    assert torch.allclose(sample(predict, start, timesteps_of(50), cfg=1.0), x, rtol=1e-3, atol=1e-4)
