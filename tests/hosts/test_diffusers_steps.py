"""Steps and time in the diffusers host: sigmas, repeated evaluations, partial runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers_run import (  # noqa: F401
    TIMES,
    Run,
    branches_of,
    one_thread,
    recorded,
    recording_of,
    unet_fixture,
)
from planted import LAYERS

from i2am.errors import RecordingError
from i2am.levels.choice import Choice
from i2am.levels.marginal import tlam


def scheduler_of(steps: int) -> DDIMScheduler:
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    scheduler.set_timesteps(steps)
    return scheduler


def sigma(scheduler: DDIMScheduler, time: float) -> float:
    alpha = float(scheduler.alphas_cumprod[int(time)])
    return ((1 - alpha) / alpha) ** 0.5


def test_a_pipeline_gives_sigmas_sampler_and_picture_size(unet: UNet2DConditionModel) -> None:
    scheduler = scheduler_of(3)
    times = tuple(float(t) for t in scheduler.timesteps)
    pipeline = SimpleNamespace(unet=unet, scheduler=scheduler, vae_scale_factor=4)
    run = Run(times=times)
    picture = torch.zeros(6, 5, 3, dtype=torch.uint8)
    info = {"seed": 5, "cfg": 3.0, "model": "tiny", "extra": {"note": "x"}}
    _, maps = recorded(pipeline.unet, run)
    assert (maps.run.sampler, maps.run.sigmas, maps.generated_size) == ("", (), (96, 80))
    recording = recording_of(pipeline, run, info=info, thumbnails={"garment": picture})
    with recording:
        run(unet)
    maps = recording.maps
    assert maps.generated_size == (48, 40)
    assert maps.layers[0].grid.picture == (48, 40)
    assert maps.run.timesteps == times
    assert maps.run.sigmas == pytest.approx([sigma(scheduler, t) for t in times], rel=1e-5)
    assert (maps.run.sampler, maps.run.host, maps.run.steps) == ("DDIMScheduler", "diffusers", 3)
    assert (maps.run.seed, maps.run.cfg, maps.run.model, maps.run.extra["note"]) == (5, 3.0, "tiny", "x")
    assert maps.run.extra["input_hash"] == recorded(pipeline.unet, Run(times=times, reference=2))[1].run.extra["input_hash"]
    assert maps.run.extra["input_hash"] != recorded(pipeline.unet, Run(times=times, images=2))[1].run.extra["input_hash"]
    assert maps.run.evaluations == (1, 1, 1)
    assert torch.equal(maps.thumbnails["garment"], picture)


@pytest.mark.parametrize("mode", ["batch", "calls", "none"])
def test_the_last_evaluation_at_a_timestep_counts(unet: UNet2DConditionModel, mode: str) -> None:
    once, twice = Run(mode, reference=1), Run(mode, reference=2)
    branches = branches_of(mode)
    recording = recording_of(unet, once, steps=3)
    with recording:
        for time in TIMES:
            for run in (twice, once):  # a first evaluation that does not count
                Run(mode, reference=run.reference, times=(time,))(unet)
    maps = recording.maps
    assert maps.recorded == (0, 1, 2)
    assert maps.run.evaluations == (2, 2, 2)
    assert maps.run.timesteps == TIMES
    for step, time in enumerate(TIMES):
        alone = recorded(unet, Run(mode, reference=1, times=(time,)), groups=1)[1]
        for branch in branches:
            assert torch.equal(maps.pairwise(LAYERS[-1], branch)[:, step], alone.pairwise(LAYERS[-1], branch)[:, 0])


def test_partial_runs_keep_their_absolute_step_numbers(unet: UNet2DConditionModel) -> None:
    scheduler = scheduler_of(10)
    times = tuple(float(t) for t in scheduler.timesteps)
    pipeline = SimpleNamespace(unet=unet, scheduler=scheduler, vae_scale_factor=8)
    run = Run(times=times[4:7])
    recording = recording_of(pipeline, run, steps=10, groups=5, timesteps=scheduler.timesteps)
    with recording:
        run(unet)
    maps = recording.maps
    assert maps.recorded == (4, 5, 6)
    assert maps.run.evaluations == (0, 0, 0, 0, 1, 1, 1, 0, 0, 0)
    assert maps.groups == ((0, 2), (2, 4), (4, 6), (6, 8), (8, 10))
    assert len(maps.run.timesteps) == 10
    alone = recorded(unet, run)[1]
    layer = LAYERS[1]
    assert torch.equal(maps.marginal("g2r", layer)[:, 4:7], alone.marginal("g2r", layer))
    assert not maps.marginal("g2r", layer)[:, :4].any()
    pairs = alone.pairwise(layer)
    torch.testing.assert_close(maps.pairwise(layer)[:, 2], (pairs[:, 0] + pairs[:, 1]) / 2)
    torch.testing.assert_close(maps.pairwise(layer)[:, 3], pairs[:, 2])
    labels = tlam(maps, "G2R", Choice(steps=(4, 7), layers=layer), groups=3).labels
    for label, step in zip(labels, (4, 5, 6), strict=True):
        assert f"step {step}" in label
        assert f"{sigma(scheduler, times[step]):.3g}" in label


def test_a_timestep_that_is_not_in_the_schedule_is_refused(unet: UNet2DConditionModel) -> None:
    with pytest.raises(RecordingError, match=r"timestep 500.*not among the 3 given"):
        recorded(unet, Run(times=(901.0, 500.0)), timesteps=TIMES, steps=3)


def test_a_run_that_stops_early_says_which_steps_it_did(unet: UNet2DConditionModel) -> None:
    _, maps = recorded(unet, Run(times=TIMES[:2]), steps=5, groups=5)
    assert maps.recorded == (0, 1)
    assert maps.run.steps == 5
    assert maps.run.evaluations == (1, 1, 0, 0, 0)
    per_step = tlam(maps, "G2R", groups=5)
    assert per_step.notes[-1] == "5 time groups were asked for, the recorded steps 0 to 2 make 2: one panel per step"
    fitting = tlam(maps, "G2R", Choice(steps=(0, 2)), groups=2)
    assert torch.equal(per_step.values, fitting.values)
    assert not any("time groups" in note for note in fitting.notes)
