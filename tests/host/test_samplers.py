"""Every sampler of the host, whole and in slices, keeps its maps and its latent."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import comfy.sample
import comfy.samplers
import pytest
import torch
from host_tests import tiny
from host_tests.spy import Spy
from torch import Tensor

SAMPLERS = list(comfy.samplers.KSampler.SAMPLERS)
BY_SIGMA = ("dpm_fast", "dpm_adaptive")  # their callback does not count steps
STEPS = 4
SLICES = {"whole": (None, None), "slice": (1, 3)}
"""As the steps of KSamplerAdvanced; a slice that ends early leaves noise."""
SHAPE = (1, 4, 16, 12)


@pytest.fixture(scope="module")
def attach(pack: ModuleType) -> Any:
    host = importlib.import_module(f"{pack.__name__}.i2am.hosts.comfy.record")
    layout = importlib.import_module(f"{pack.__name__}.i2am.geometry.layout")
    given = {"pairwise": "heads", "groups": STEPS, "layout": layout.Layout.of(layout.TokenGrid(3, 4))}
    return lambda model, **options: host.attach(model, host.Options(**given, **options))


def sample(model: Any, sampler: str, start: int | None, stop: int | None, callback: Any = None) -> Tensor:
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    given = {"start_step": start, "last_step": stop, "callback": callback, "seed": 1}
    conditionings = tiny.positive(), tiny.negative()
    with torch.inference_mode():
        latent = torch.zeros(SHAPE)
        return comfy.sample.sample(model, noise, STEPS, 5.0, sampler, "normal", *conditionings, latent, **given)


@pytest.mark.parametrize("part", SLICES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_it_keeps_its_maps_and_its_latent(attach: Any, sampler: str, part: str) -> None:
    plain = sample(tiny.model(), sampler, *SLICES[part])
    branches = ("cond", "uncond")
    model, recording = attach(tiny.model(), branches=branches)
    spy = Spy(12)
    latent = sample(spy.attach(model), sampler, *SLICES[part], callback=spy.callback)
    assert torch.equal(latent, plain)
    maps = recording.maps_of(latent)
    start, stop = SLICES[part]
    steps = STEPS if start is None or stop is None else stop - start
    assert maps.run.steps == steps
    if sampler in BY_SIGMA:
        assert maps.recorded
        assert set(maps.recorded) <= set(range(steps))
        assert sum(maps.run.evaluations) == sum(spy.evaluations())
        return
    assert maps.recorded == tuple(range(steps))
    assert maps.run.evaluations == tuple(spy.evaluations()[:steps])
    assert (len(maps.layers), maps.branches, maps.images) == (7, branches, 1)
    for step, calls in spy.steps().items():
        assert [call.layer for call in calls] == [layer.name for layer in maps.layers]
        call = calls[0]
        q, k = (t.unflatten(2, (call.heads, -1)).transpose(1, 2).double() for t in (call.q, call.k))
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)  # uncond, then cond
        for row, branch in enumerate(reversed(branches)):
            got = maps.pairwise(call.layer, branch)
            got = got[:, sum(group <= step for group in range(1, steps))].double()  # a group for each step
            assert torch.allclose(got, weights[row : row + 1], atol=2e-6), (step, branch)


@pytest.mark.parametrize(("start", "stop"), [(2, 2), (3, 1), (STEPS, 10_000)])
def test_a_slice_without_steps_gives_the_latent_back(attach: Any, pack: ModuleType, start: int, stop: int) -> None:
    plain = sample(tiny.model(), "heun", start, stop)
    model, recording = attach(tiny.model())
    latent = sample(model, "heun", start, stop)
    assert torch.equal(latent, plain)
    errors = importlib.import_module(f"{pack.__name__}.i2am.errors")
    with pytest.raises(errors.RecordingError, match="no recorded run gave this latent"):
        recording.maps_of(latent)


def test_one_sigma_alone_is_said_to_be_no_step(attach: Any, pack: ModuleType) -> None:
    """A sampler of sigmas by hand may get a slice that is empty."""

    def made(model: Any) -> Tensor:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(tiny.positive(), tiny.negative())
        guider.set_cfg(5.0)
        noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            euler = comfy.samplers.sampler_object("euler")
            return guider.sample(noise, torch.zeros(SHAPE), euler, torch.tensor([3.0]), seed=1)

    model, recording = attach(tiny.model())
    latent = made(model)
    assert torch.equal(latent, made(tiny.model()))
    errors = importlib.import_module(f"{pack.__name__}.i2am.errors")
    with pytest.raises(errors.RecordingError, match="this sampler's part of the schedule has no step"):
        recording.maps_of(latent)


def test_both_slices_of_one_schedule_have_maps_of_their_own(attach: Any) -> None:
    """The graph of the bug report: the first sampler leaves noise, the second one goes on."""

    def both(model: Any) -> tuple[Tensor, Tensor]:
        given = {"sampler": "heun", "steps": 10}
        pair = tiny.positive(), tiny.negative()
        first = tiny.sample(model, *pair, **given, start_step=0, last_step=5)
        last = {"start_step": 5, "last_step": 10, "disable_noise": True, "force_full_denoise": True}
        return first, tiny.sample(model, *pair, **given, **last, latent={"samples": first})

    plain = both(tiny.model())
    model, recording = attach(tiny.model())
    made = both(model)
    assert all(torch.equal(a, b) for a, b in zip(made, plain, strict=True))
    one, two = (recording.maps_of(latent) for latent in made)
    assert one.recorded == two.recorded == (0, 1, 2, 3, 4)
    assert one.run.sigmas[-1] > two.run.sigmas[0]
