"""Samplers and guiders that do not do what most do: steps that are taken back, no callback, a cfg that is no number."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import comfy.samplers
import pytest
import torch
from host_tests import tiny
from torch import Tensor
from torch.overrides import TorchFunctionMode

SHAPE = (1, 4, 16, 12)
STEPS = 5


@pytest.fixture(scope="module")
def attach(pack: ModuleType) -> Any:
    host = importlib.import_module(f"{pack.__name__}.i2am.hosts.comfy.record")
    layout = importlib.import_module(f"{pack.__name__}.i2am.geometry.layout")
    return lambda model: host.attach(model, host.Options(layout=layout.Layout.of(layout.TokenGrid(3, 4))))


@pytest.fixture(scope="module")
def error(pack: ModuleType) -> Any:
    return importlib.import_module(f"{pack.__name__}.i2am.errors").RecordingError


def sample(model: Any, sampler: Any, guider: Any = comfy.samplers.CFGGuider, cfg: Any = 5.0) -> Tensor:
    own = guider(model)
    own.set_conds(tiny.positive(), tiny.negative())
    own.set_cfg(cfg)
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", STEPS)
    with torch.inference_mode():
        return own.sample(noise, torch.zeros(SHAPE), sampler, sigmas, seed=1)


def test_steps_that_dpm_adaptive_rejects_do_not_end_the_recording(attach: Any) -> None:
    sampler = comfy.samplers.ksampler("dpm_adaptive", {"h_init": 2.0, "rtol": 0.05})
    model, recording = attach(tiny.model())
    sigmas: list[float] = []

    def seen(executor: Any, x: Tensor, timestep: Tensor, *rest: Any, **named: Any) -> Tensor:
        sigmas.append(float(timestep.max()))
        return executor(x, timestep, *rest, **named)

    model.add_wrapper_with_key("predict_noise", "spy", seen)
    latent = sample(model, sampler)
    assert any(after > before * 1.001 for before, after in zip(sigmas, sigmas[1:])), "no step was rejected"
    assert torch.equal(latent, sample(tiny.model(), sampler))
    maps = recording.maps_of(latent)
    assert maps.recorded[0] == 0
    assert sum(maps.run.evaluations) == len(sigmas)


def test_a_sampler_that_reports_no_step_is_named(attach: Any, error: Any) -> None:
    def silent(network: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, **_rest: Any) -> Tensor:
        for now, after in zip(sigmas, sigmas[1:]):
            denoised = network(x, now * x.new_ones(len(x)), **extra_args)
            x = x + (x - denoised) / now * (after - now)
        return x

    model, recording = attach(tiny.model())
    latent = sample(model, comfy.samplers.KSAMPLER(silent))
    with pytest.raises(error, match="the sampler silent never reported the end of a step"):
        recording.maps_of(latent)


class _Full(TorchFunctionMode):
    """A device whose memory is full after a number of products that are written into given memory, as recordings do it."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.bmm and "out" in (kwargs or {}):
            self.left -= 1
            if self.left < 0:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return func(*args, **(kwargs or {}))


def test_a_recording_that_runs_out_of_memory_ends_alone(attach: Any, error: Any) -> None:
    euler = comfy.samplers.sampler_object("euler")
    model, recording = attach(tiny.model())
    with _Full(after=2 * 7):  # two steps of seven layers
        latent = sample(model, euler)
    assert torch.equal(latent, sample(tiny.model(), euler))
    with pytest.raises(error, match=r"ran out of memory .* record fewer layers, .*CUDA out of memory"):
        recording.maps_of(latent)


def test_a_recording_without_room_for_one_step_stops_the_run_and_says_why(attach: Any, error: Any) -> None:
    model, _ = attach(tiny.model())
    with _Full(after=3), pytest.raises(error, match="ran out of memory while maps were computed"):
        sample(model, comfy.samplers.sampler_object("euler"))


class _PerStep(comfy.samplers.CFGGuider):
    """Another cfg at every step."""

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Any = {}, seed: Any = None) -> Tensor:  # noqa: B006
        whole, self.cfg = self.cfg, self.cfg[0]
        try:
            return super().predict_noise(x, timestep, model_options, seed)
        finally:
            self.cfg = whole


def test_a_cfg_that_is_no_number_is_unknown(attach: Any) -> None:
    model, recording = attach(tiny.model())
    latent = sample(model, comfy.samplers.sampler_object("euler"), _PerStep, [3.0, 4.0])
    assert recording.maps_of(latent).run.cfg is None
