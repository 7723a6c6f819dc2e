"""Steps by the scheduler's own position, with real pipelines: repeated timesteps, two evaluations a step, late starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    UniPCMultistepScheduler,
)
from pipelines import BETAS, LAYOUT, STEPS, Truth, assert_true, normal, pipeline, recorded, recording_of, run
from planted import CONTEXT, LATENT

from i2am.errors import RecordingError
from i2am.hosts.diffusers.record import record
from i2am.maps.value import AttributionMaps

ONCE = [
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
]
TWICE = [HeunDiscreteScheduler, KDPM2DiscreteScheduler, KDPM2AncestralDiscreteScheduler]


def scheduler_of(kind: Any, **other: Any) -> Any:
    return kind.from_config({**BETAS, **other})


@pytest.mark.parametrize("kind", ONCE)
def test_one_evaluation_a_step(kind: Any) -> None:
    pipe = pipeline(scheduler=scheduler_of(kind))
    plain = run(pipe)
    with Truth(pipe.unet) as truth:
        out, maps = recorded(pipe)
    assert torch.equal(out, plain)
    assert (maps.recorded, maps.run.evaluations, maps.notes) == ((0, 1, 2, 3), (1,) * STEPS, ())
    assert maps.run.timesteps == tuple(float(t) for t in pipe.scheduler.timesteps)
    assert_true(maps, truth, {step: step for step in range(STEPS)})


@pytest.mark.parametrize("kind", TWICE)
def test_the_last_of_a_steps_two_evaluations_counts(kind: Any) -> None:
    pipe = pipeline(scheduler=scheduler_of(kind))
    plain = run(pipe)
    with Truth(pipe.unet) as truth:
        out, maps = recorded(pipe)
    assert torch.equal(out, plain)
    assert len(truth.evaluations) == 2 * STEPS - 1
    assert (maps.run.steps, maps.recorded, maps.run.evaluations) == (STEPS, (0, 1, 2, 3), (2, 2, 2, 1))
    assert maps.run.timesteps == tuple(float(t) for t in pipe.scheduler.timesteps[::2])
    assert_true(maps, truth, {0: 1, 1: 3, 2: 5, 3: 6})


def test_dpm_sde() -> None:
    pytest.importorskip("torchsde")
    from diffusers import DPMSolverSDEScheduler

    pipe = pipeline(scheduler=scheduler_of(DPMSolverSDEScheduler, noise_sampler_seed=1))
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe)
    assert (maps.run.steps, maps.run.evaluations) == (STEPS, (2, 2, 2, 1))
    assert_true(maps, truth, {0: 1, 1: 3, 2: 5, 3: 6})


def test_pndm_takes_its_first_step_twice() -> None:
    pipe = pipeline(scheduler=scheduler_of(PNDMScheduler, skip_prk_steps=True))
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe)
    assert (maps.run.steps, maps.recorded, maps.run.evaluations) == (STEPS, (0, 1, 2, 3), (2, 1, 1, 1))
    assert maps.run.timesteps == (751.0, 501.0, 251.0, 1.0)
    assert_true(maps, truth, {0: 1, 1: 2, 2: 3, 3: 4})


def test_pndm_with_runge_kutta_steps() -> None:
    pipe = pipeline(scheduler=scheduler_of(PNDMScheduler, skip_prk_steps=False))
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, steps=6)
    assert (maps.run.steps, maps.run.evaluations) == (6, (4, 4, 4, 1, 1, 1))
    assert_true(maps, truth, {0: 3, 1: 7, 2: 11, 3: 12, 4: 13, 5: 14})


@pytest.mark.parametrize(
    ("kind", "sigmas", "steps"),
    [
        (DPMSolverMultistepScheduler, "use_karras_sigmas", 50),
        (DPMSolverMultistepScheduler, "use_karras_sigmas", 100),
        (DPMSolverMultistepScheduler, "use_exponential_sigmas", 100),
        (DEISMultistepScheduler, "use_karras_sigmas", 50),
        (UniPCMultistepScheduler, "use_karras_sigmas", 50),
    ],
)
def test_timesteps_that_repeat_are_steps_of_their_own(kind: Any, sigmas: str, steps: int) -> None:
    scheduler = scheduler_of(kind, **{sigmas: True})
    scheduler.set_timesteps(steps)
    times = [float(t) for t in scheduler.timesteps]
    assert len(set(times)) < steps
    pipe = pipeline(scheduler=scheduler)
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, options={"layers": "mid_block*"}, steps=steps, guidance=1.0)
    assert len(truth.evaluations) == steps
    assert maps.recorded == tuple(range(steps))
    assert maps.run.evaluations == (1,) * steps
    assert maps.run.timesteps == tuple(times)
    assert_true(maps, truth, {step: step for step in range(steps)}, rows=slice(0, 1))


def loop(pipe: Any, scheduler: Any, steps: slice = slice(None)) -> None:
    """A loop of somebody's own, with guidance in one batch."""
    x, context = normal(3, 1, 4, *LATENT), normal(4, 2, LAYOUT.key_count, CONTEXT)
    with torch.inference_mode():
        for time in scheduler.timesteps[steps]:
            both = pipe.unet(scheduler.scale_model_input(torch.cat([x, x]), time), time, encoder_hidden_states=context).sample
            x = scheduler.step(both[:1] + 3 * (both[1:] - both[:1]), time, x).prev_sample


@pytest.mark.parametrize("repeated", [2, 3])
def test_equal_first_timesteps_of_an_own_loop(repeated: int) -> None:
    """Nothing tells the scheduler where it begins, so it counts from the second of them."""
    pipe = pipeline()
    scheduler = scheduler_of(DPMSolverMultistepScheduler)
    scheduler.set_timesteps(8)
    scheduler.timesteps[:repeated] = scheduler.timesteps[0].clone()
    recording = record(pipe.unet, LAYOUT, scheduler=scheduler, pairwise="heads", groups=8)
    with Truth(pipe.unet) as truth, recording:
        loop(pipe, scheduler, slice(0, 6))
    assert recording.maps.recorded == tuple(range(6))
    assert_true(recording.maps, truth, {step: step for step in range(6)})


def test_the_scheduler_of_an_own_loop_counts_its_steps() -> None:
    pipe, scheduler = pipeline(), scheduler_of(DPMSolverMultistepScheduler, use_karras_sigmas=True)
    scheduler.set_timesteps(50)
    recording = record(pipe.unet, LAYOUT, scheduler=scheduler, pairwise="heads", groups=50)
    with recording:
        loop(pipe, scheduler, slice(20, None))
    assert recording.maps.recorded == tuple(range(20, 50))
    assert recording.maps.run.evaluations == (0,) * 20 + (1,) * 30


def test_repeated_timesteps_alone_do_not_tell_steps() -> None:
    pipe, scheduler = pipeline(), scheduler_of(DPMSolverMultistepScheduler, use_karras_sigmas=True)
    scheduler.set_timesteps(50)
    with (
        pytest.raises(RecordingError, match=r"repeat.*`scheduler`"),
        record(pipe.unet, LAYOUT, timesteps=scheduler.timesteps),
    ):
        loop(pipe, scheduler)


@pytest.mark.parametrize("kind", [*ONCE, *TWICE])
def test_img2img_keeps_the_numbers_of_the_whole_schedule(kind: Any) -> None:
    pipe = pipeline(StableDiffusionImg2ImgPipeline, scheduler_of(kind))
    options = {"image": normal(6, 1, 4, *LATENT), "strength": 0.4, "steps": 10}
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, **options)
    late = (6, 7, 8, 9)
    per = 2 if kind in TWICE else 1
    assert (maps.run.steps, maps.recorded) == (10, late)
    assert maps.run.evaluations == (0,) * 6 + (per,) * 3 + (1,)
    assert len(maps.run.timesteps) == 10
    assert_true(maps, truth, {step: min(per * (i + 1) - 1, len(truth.evaluations) - 1) for i, step in enumerate(late)})


@pytest.mark.parametrize(("strength", "first"), [(0.4, 5), (0.8, 1), (0.9, 1)])
def test_img2img_with_pndm(strength: float, first: int) -> None:
    """The pipeline counts the repeated timestep too, and so begins a step earlier."""
    pipe = pipeline(StableDiffusionImg2ImgPipeline, scheduler_of(PNDMScheduler, skip_prk_steps=True))
    _, maps = recorded(pipe, image=normal(6, 1, 4, *LATENT), strength=strength, steps=10)
    assert (maps.run.steps, maps.recorded) == (10, tuple(range(first, 10)))


@pytest.mark.parametrize("kind", [DDPMScheduler, LCMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler])
def test_timesteps_of_ones_own(kind: Any) -> None:
    pipe = pipeline(scheduler=scheduler_of(kind))
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, timesteps=[999, 639, 259])
    assert (maps.run.steps, maps.recorded, maps.run.timesteps) == (3, (0, 1, 2), (999.0, 639.0, 259.0))
    assert_true(maps, truth, {step: step for step in range(3)})


def test_one_pass_of_lcm() -> None:
    pipe = pipeline(scheduler=scheduler_of(LCMScheduler))
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, steps=1, guidance=1.0)
    assert (maps.run.steps, maps.recorded) == (1, (0,))
    assert_true(maps, truth, {0: 0}, rows=slice(0, 1))


def test_a_number_of_steps_that_is_not_the_schedulers() -> None:
    with pytest.raises(RecordingError, match="steps is 20, but the DDIMScheduler was set to 4; leave `steps` out"):
        recorded(pipeline(), options={"steps": 20})
    assert recorded(pipeline(), options={"steps": STEPS})[1].recorded == (0, 1, 2, 3)


def test_a_scheduler_that_is_replaced_inside() -> None:
    pipe = pipeline()
    recording = recording_of(pipe)
    with recording:
        pipe.scheduler = scheduler_of(HeunDiscreteScheduler)
        run(pipe, steps=3)
    assert recording.maps.run.sampler == "HeunDiscreteScheduler"
    assert recording.maps.run.evaluations == (2, 2, 1)


def test_sigmas_are_those_that_a_scheduler_keeps_itself() -> None:
    """Some give the model other numbers than places in a table of ᾱ."""
    scheduler = scheduler_of(EulerDiscreteScheduler, timestep_type="continuous", prediction_type="v_prediction")
    _, maps = recorded(pipeline(scheduler=scheduler))
    assert maps.run.sigmas == tuple(scheduler.sigmas[:STEPS].tolist())
    assert maps.run.sigmas[0] > 10
    for kind in TWICE:
        scheduler = scheduler_of(kind)
        _, maps = recorded(pipeline(scheduler=scheduler))
        assert maps.run.sigmas == tuple(scheduler.sigmas[: 2 * STEPS : 2].tolist())


def test_a_first_step_of_pure_noise_has_no_finite_sigma(tmp_path: Path) -> None:
    """Zero terminal SNR; maps with an infinite σ could not be saved."""
    zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}
    scheduler = scheduler_of(DDIMScheduler, **zero)
    _, maps = recorded(pipeline(scheduler=scheduler))
    assert scheduler.alphas_cumprod[-1] == 0
    assert maps.run.sigmas == ()
    assert AttributionMaps.load(maps.save(tmp_path / "maps.safetensors")) == maps
