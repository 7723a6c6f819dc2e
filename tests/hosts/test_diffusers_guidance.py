"""Rows of a batch by branch, with real pipelines: guidance that ends early, several images, perturbed and second passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import (
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    StableDiffusionSAGPipeline,
)
from pipelines import BETAS, LAYOUT, STEPS, Truth, assert_true, normal, pipeline, recorded, recording_of, run
from planted import LATENT, LAYERS, tiny_unet

from i2am.errors import RecordingError

ALL = {step: step for step in range(STEPS)}
BOTH = {"keep": ("uncond", "cond")}


def off_after(step: int) -> Any:
    """A callback that ends classifier-free guidance, as diffusers' documentation writes it."""

    def callback(pipe: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if index == step:
            pipe._guidance_scale = 0.0
            tensors["prompt_embeds"] = tensors["prompt_embeds"].chunk(2)[-1]
        return tensors

    return callback


@pytest.mark.parametrize("options", [{}, BOTH])
def test_guidance_that_ends_after_step_1(options: dict[str, Any]) -> None:
    call = {"callback_on_step_end": off_after(1), "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    pipe = pipeline()
    plain = run(pipe, **call)
    with Truth(pipe.unet) as truth:
        out, maps = recorded(pipe, options=options, **call)
    assert torch.equal(out, plain)
    assert [len(e[LAYERS[0]][0]) for e in truth.evaluations] == [2, 2, 1, 1]
    # the layers' rows that are cond's: the second of two, then the only one
    for evaluation in truth.evaluations:
        for tensors in evaluation.values():
            tensors[:] = [t[-1:] for t in tensors]
    assert_true(maps, truth, ALL, rows=slice(0, 1))
    assert maps.branches == ("cond",)
    assert maps.notes == (
        ("the branch 'uncond' was left out: it was evaluated in 2 of 4 steps (guidance changed)",) if options else ()
    )


def test_both_branches_of_a_whole_run_are_kept() -> None:
    pipe = pipeline()
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, options=BOTH)
    assert_true(maps, truth, ALL, slice(0, 1), branch="uncond")
    assert_true(maps, truth, ALL, slice(1, 2), branch="cond")


def test_two_images_without_guidance_are_not_two_branches() -> None:
    pipe, call = pipeline(), {"num_images_per_prompt": 2, "guidance": 1.0}
    with pytest.raises(RecordingError, match=r"called with 2 rows, expected 1 \(1 images x branches cond\); set `images`"):
        recorded(pipe, **call)
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, options={"images": 2}, **call)
    assert maps.images == 2
    assert_true(maps, truth, ALL, rows=slice(0, 2))


def test_two_images_with_guidance() -> None:
    pipe = pipeline()
    with pytest.raises(RecordingError, match="called with 4 rows, expected 2"):
        recorded(pipe, num_images_per_prompt=2)
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, options={"images": 2}, num_images_per_prompt=2)
    assert_true(maps, truth, ALL, rows=slice(2, 4))


def test_rows_that_deny_what_the_pipeline_says_are_refused() -> None:
    """A pipeline evaluates its branches in one call: one row of two would be a guess."""
    pipe = pipeline()
    run(pipe)
    x, context = normal(3, 1, 4, *LATENT), normal(4, 1, LAYOUT.key_count, 8)
    with pytest.raises(RecordingError, match="called with 1 rows, expected 2"), recording_of(pipe):
        pipe.unet(x, pipe.scheduler.timesteps[0], encoder_hidden_states=context)


@pytest.mark.parametrize(("guidance", "cond"), [(1.0, slice(0, 1)), (3.0, slice(1, 2))])
def test_perturbed_rows_are_left_out(guidance: float, cond: slice) -> None:
    pipe = pipeline(StableDiffusionPAGPipeline, pag_applied_layers=["mid"])
    call = {"guidance": guidance, "pag_scale": 2.0}
    plain = run(pipe, **call)
    with Truth(pipe.unet) as truth:
        out, maps = recorded(pipe, **call)
    assert torch.equal(out, plain)
    assert len(truth.evaluations[0][LAYERS[0]][0]) == cond.stop + 1
    assert_true(maps, truth, ALL, rows=cond)
    assert maps.branches == ("cond",)
    assert maps.notes == ("the rows of perturbed-attention guidance were left out",)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_pass_over_the_degraded_picture_is_left_out(guidance: float) -> None:
    pipe = pipeline(StableDiffusionSAGPipeline)
    call = {"guidance": guidance, "sag_scale": 0.7, "height": 96, "width": 96}
    plain = run(pipe, **call)
    with pytest.raises(RecordingError, match=r"StableDiffusionSAGPipeline does not say whether.*`branches`"):
        recorded(pipe, **call)
    branches = ("uncond", "cond") if guidance > 1 else ("cond",)
    with Truth(pipe.unet) as truth:
        out, maps = recorded(pipe, options={"branches": branches}, **call)
    assert torch.equal(out, plain)
    assert len(truth.evaluations) == 2 * STEPS
    rows = slice(len(branches) - 1, len(branches))
    assert_true(maps, truth, {step: 2 * step for step in range(STEPS)}, rows=rows)
    assert maps.run.evaluations == (1,) * STEPS
    assert maps.notes == ("a second pass of the model within a step was left out (self-attention guidance makes one)",)


@pytest.mark.parametrize("kind", [LatentConsistencyModelPipeline, StableDiffusionPipeline])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_distilled_model_has_one_row_whatever_its_guidance(kind: Any, steps: int) -> None:
    pipe = pipeline(kind, LCMScheduler(**BETAS), tiny_unet(sample_size=64, time_cond_proj_dim=8))
    negative = {} if kind is StableDiffusionPipeline else {"negative_prompt_embeds": None}
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, steps=steps, guidance=8.0, **negative)
    assert maps.recorded == tuple(range(steps))
    assert_true(maps, truth, {step: step for step in range(steps)}, rows=slice(0, 1))


def test_the_three_rows_of_instruct_pix2pix() -> None:
    pipe = pipeline(StableDiffusionInstructPix2PixPipeline, unet=tiny_unet(in_channels=8, sample_size=64))
    call = {"image": normal(6, 1, 4, *LATENT), "image_guidance_scale": 1.5}
    with pytest.raises(RecordingError, match=r"called with 3 rows, expected 2 .*`branches`"):
        recorded(pipe, **call)
    order = ("cond", "picture", "uncond")  # as the pipeline's source has them
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, options={"branches": order, "keep": ("uncond", "cond")}, **call)
    assert_true(maps, truth, ALL, slice(0, 1), branch="cond")
    assert_true(maps, truth, ALL, slice(2, 3), branch="uncond")


# ------------------------------------------------------------------------------------------------- two runs in one `with`

SECOND = "a second run in the same `with` block was left out: one recording holds one run"


@pytest.mark.parametrize(("first", "second"), [(4, 4), (4, 2), (2, 4), (1, 1)])
def test_of_two_runs_the_first_is_kept(first: int, second: int) -> None:
    pipe = pipeline()
    alone = recorded(pipe, steps=first, guidance=3.0)[1]
    recording = recording_of(pipe)
    with recording:
        run(pipe, steps=first)
        run(pipe, steps=second, seed=7)
    maps = recording.maps
    assert maps.notes == (SECOND,)
    assert maps.recorded == tuple(range(first))
    assert maps._tensors.keys() == alone._tensors.keys()
    assert all(torch.equal(t, alone._tensors[k]) for k, t in maps._tensors.items())


def test_a_second_run_with_another_scheduler_or_that_begins_later_is_left_out() -> None:
    pipe = pipeline()
    recording = recording_of(pipe)

    def stop(pipe: Any, index: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        pipe._interrupt = index == 0
        return tensors

    with recording:
        run(pipe, callback_on_step_end=stop)
        pipe.scheduler = LCMScheduler(**BETAS)
        run(pipe)
    second, short = recording.maps.notes
    assert (recording.maps.recorded, second) == ((0,), SECOND)
    assert short.startswith(f"recorded 1 of {recording.maps.run.steps} steps: ")


def test_two_runs_of_a_bare_network() -> None:
    unet, context = tiny_unet(), normal(4, 2, LAYOUT.key_count, 8)
    recording = recording_of(unet, steps=3)
    with recording, torch.inference_mode():
        for seed in (3, 4):
            for time in (900.0, 600.0, 300.0):
                unet(normal(seed, 2, 4, *LATENT), time, encoder_hidden_states=context)
    assert (recording.maps.recorded, recording.maps.notes) == ((0, 1, 2), (SECOND,))
    assert recording.maps.run.evaluations == (1, 1, 1)
