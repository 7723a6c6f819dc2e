"""The diffusers host changes nothing, restores everything and sees every call."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from diffusers_run import (  # noqa: F401
    LAYOUT,
    MODES,
    TIMES,
    Broken,
    Run,
    Seen,
    assert_states,
    branches_of,
    normal,
    one_thread,
    recorded,
    recording_of,
    traces,
    unet_fixture,
)
from planted import CONTEXT, GRIDS, LATENT, LAYERS, MIDDLE, attention_of, tiny_unet
from torch import Tensor

from i2am.errors import RecordingError
from i2am.hosts.diffusers.record import record
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder


def same(a: AttributionMaps, b: AttributionMaps) -> bool:
    return a._tensors.keys() == b._tensors.keys() and all(torch.equal(a._tensors[k], b._tensors[k]) for k in a._tensors)


# ------------------------------------------------------------------------------------------- nothing is changed


@pytest.mark.parametrize(("mode", "images"), MODES)
def test_the_output_is_bit_identical_and_every_call_is_seen(
    unet: UNet2DConditionModel, monkeypatch: pytest.MonkeyPatch, mode: str, images: int
) -> None:
    run = Run(mode, images)
    before = traces(unet)
    plain = run(unet)
    events: Counter = Counter()
    observe = Recorder.observe

    def counted(self: Recorder, layer: str, grid: Any, step: int, branch: str, q: Tensor, *args: Any, **kwargs: Any) -> None:
        for image in range(len(q)):
            events[layer, step, branch, image] += 1
        observe(self, layer, grid, step, branch, q, *args, **kwargs)

    monkeypatch.setattr(Recorder, "observe", counted)
    with Seen(unet) as seen:
        out, maps = recorded(unet, run)
    assert torch.equal(out, plain)
    assert traces(unet) == before
    assert set(events.values()) == {1}
    assert len(events) == len(TIMES) * len(LAYERS) * len(branches_of(mode)) * images
    assert_states(maps, seen, run)
    assert [x.name for x in maps.layers] == list(LAYERS)
    assert {x.name: (x.grid.rows, x.grid.columns) for x in maps.layers} == GRIDS
    assert [x.name for x in maps.layers if x.middle] == [MIDDLE]

    other = Run(mode, images, reference=2)
    changed, other_maps = recorded(unet, other)
    assert not torch.equal(changed, plain)
    assert torch.equal(changed, other(unet))
    assert not torch.allclose(other_maps.marginal("g2r", LAYERS[0]), maps.marginal("g2r", LAYERS[0]), rtol=1e-3)


@pytest.mark.parametrize("pairwise", [None, "mean", "heads"])
def test_what_is_kept_does_not_change_the_output(unet: UNet2DConditionModel, pairwise: str | None) -> None:
    run = Run()
    mask = torch.zeros(24, 20)
    mask[:12] = 1
    out, maps = recorded(unet, run, pairwise=pairwise, keep=("cond",), inpaint_mask=mask, layers="up_blocks*", groups=1)
    assert torch.equal(out, run(unet))
    assert maps.branches == ("cond",)
    assert [x.name for x in maps.layers] == [x for x in LAYERS if x.startswith("up")]
    assert maps.pairwise_heads == pairwise
    assert maps.generated_size == (96, 80)


@pytest.mark.parametrize("processor", [AttnProcessor, AttnProcessor2_0])
def test_every_attention_backend(unet: UNet2DConditionModel, processor: type) -> None:
    run = Run(images=2)
    unet.set_attn_processor(processor())
    before = traces(unet)
    plain = run(unet)
    with Seen(unet) as seen:
        out, maps = recorded(unet, run)
    assert torch.equal(out, plain)
    assert traces(unet) == before
    assert_states(maps, seen, run)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_reduced_in_fp32(unet: UNet2DConditionModel, dtype: torch.dtype) -> None:
    run = Run(images=2, dtype=dtype)
    unet = unet.to(dtype)
    plain = run(unet)
    assert plain.dtype == dtype
    with Seen(unet) as seen:
        out, maps = recorded(unet, run)
    assert torch.equal(out, plain)
    assert maps.marginal("r2g", LAYERS[0]).dtype == torch.float32
    assert_states(maps, seen, run)  # to fp32's own error, from the model's own half-precision q and k


def test_a_model_that_runs_under_autocast(unet: UNet2DConditionModel) -> None:
    run = Run(images=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = run(unet)
        with Seen(unet) as seen:
            out, maps = recorded(unet, run)
    assert seen.calls[LAYERS[0]][0]["to_q"].dtype == torch.bfloat16
    assert torch.equal(out, plain)
    assert_states(maps, seen, run)


def test_blocks_whose_first_attention_is_cross_attention_too() -> None:
    unet = tiny_unet(only_cross_attention=(True, False))
    run = Run()
    first = [f"{x}.attn1" for x in LAYERS if unet.get_submodule(f"{x}.attn1").is_cross_attention]
    assert first
    out, maps = recorded(unet, run, layers=["*.attn1"])
    assert torch.equal(out, run(unet))
    assert [x.name for x in maps.layers] == first
    assert [x.name for x in recorded(unet, run)[1].layers] == [
        name for layer in LAYERS for name in (f"{layer}.attn1", layer) if name in (*first, layer)
    ]
    hooked: list[Tensor] = []
    attention = unet.get_submodule(first[0])
    with_hook = attention.to_k.register_forward_hook(lambda _m, _a, key: hooked.append(key))
    run(unet)
    with_hook.remove()
    assert hooked[0].shape[1] == LAYOUT.key_count


def test_latents_of_odd_size(unet: UNet2DConditionModel) -> None:
    run = Run(latent=(9, 13))
    with Seen(unet) as seen:
        out, maps = recorded(unet, run)
    assert torch.equal(out, run(unet))
    assert {(x.grid.rows, x.grid.columns) for x in maps.layers} == {(9, 13), (5, 7)}
    assert_states(maps, seen, run)


def test_gradients_still_flow_through_a_recorded_model(unet: UNet2DConditionModel) -> None:
    x, context = normal(0, 1, 4, *LATENT), normal(1, 1, LAYOUT.key_count, CONTEXT).requires_grad_()
    unet(x, 5, context).sample.sum().backward()
    plain, context.grad = context.grad, None
    recording = record(unet, LAYOUT, steps=1, branches=("cond",))
    with recording:
        unet(x, 5, context).sample.sum().backward()
    assert plain is not None
    assert torch.equal(context.grad, plain)
    assert not any(t.requires_grad for t in recording.maps._tensors.values())


# ---------------------------------------------------------------------------------------- everything is restored


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["between steps", "inside a call"])
def test_a_run_that_breaks_off_leaves_nothing(unet: UNet2DConditionModel, error: type[BaseException], where: str) -> None:
    before, plain = traces(unet), Run()(unet)
    processors = {name: attention_of(unet, name).processor for name in LAYERS}
    recording = recording_of(unet, Run())
    calls = [0]

    def fail(*_: object) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise error

    handle = None
    run = Run(each_step=fail if where == "between steps" else None)
    if where == "inside a call":
        handle = attention_of(unet, LAYERS[-1]).to_v.register_forward_hook(fail)
    with pytest.raises(error), recording:
        run(unet)
    if handle is not None:
        handle.remove()
    assert calls[0] == 2
    assert traces(unet) == before
    assert all(attention_of(unet, name).processor is p for name, p in processors.items())
    with pytest.raises(RecordingError, match="no maps"):
        _ = recording.maps
    # the same recording can be used again, and nothing of the broken run is in it
    with recording:
        out = Run()(unet)
    assert torch.equal(out, plain)
    assert same(recording.maps, recorded(unet, Run())[1])
    assert recording.maps.recorded == (0, 1, 2)


def test_a_second_run_starts_clean(unet: UNet2DConditionModel) -> None:
    recording = recording_of(unet, Run())
    with recording:
        Run(reference=1)(unet)
    first = recording.maps
    with recording:
        Run(reference=2)(unet)
    assert same(first, recorded(unet, Run(reference=1))[1])
    assert same(recording.maps, recorded(unet, Run(reference=2))[1])
    assert not same(first, recording.maps)


def test_a_failed_second_run_does_not_leave_the_first_ones_maps(unet: UNet2DConditionModel) -> None:
    recording = recording_of(unet, Run())
    with recording:
        Run()(unet)
    with pytest.raises(Broken), recording:
        raise Broken
    with pytest.raises(RecordingError, match="no maps"):
        _ = recording.maps


def test_one_recording_is_not_entered_twice_at_once(unet: UNet2DConditionModel) -> None:
    before = traces(unet)
    recording = recording_of(unet, Run())
    with recording:
        with pytest.raises(RecordingError, match="running already"), recording:
            pass
        Run()(unet)
    assert recording.maps.recorded == (0, 1, 2)
    assert traces(unet) == before


def test_nested_recordings_do_not_mix(unet: UNet2DConditionModel) -> None:
    before, run = traces(unet), Run(images=2)
    plain = run(unet)
    wide = recording_of(unet, run)
    narrow = recording_of(unet, run, keep=("cond",), layers="mid_block*", pairwise="mean", groups=1)
    with wide, narrow:
        out = run(unet)
    assert torch.equal(out, plain)
    assert traces(unet) == before
    assert same(wide.maps, recorded(unet, run)[1])
    assert same(narrow.maps, recorded(unet, run, keep=("cond",), layers="mid_block*", pairwise="mean", groups=1)[1])


def test_an_inner_recording_of_a_part_of_the_run(unet: UNet2DConditionModel) -> None:
    outer, inner = recording_of(unet, Run()), recording_of(unet, Run(times=TIMES[:2]))
    with outer:
        with inner:
            Run(times=TIMES[:2])(unet)
        inner_maps = inner.maps
        Run(reference=2, times=TIMES[2:])(unet)
    assert same(inner_maps, recorded(unet, Run(times=TIMES[:2]))[1])
    last = outer.maps.pairwise(LAYERS[0])[:, 2]
    assert torch.equal(last, recorded(unet, Run(reference=2, times=TIMES[2:]), groups=1)[1].pairwise(LAYERS[0])[:, 0])


def test_recordings_that_end_in_the_wrong_order(unet: UNet2DConditionModel) -> None:
    before, run = traces(unet), Run()
    plain = run(unet)
    first, second = recording_of(unet, run), recording_of(unet, run)
    first.__enter__()
    second.__enter__()
    run(unet)
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert same(first.maps, second.maps)
    assert traces(unet) == before
    assert torch.equal(run(unet), plain)


def test_two_models_recorded_at_once() -> None:
    one, two = tiny_unet(1), tiny_unet(2)
    a, b = recording_of(one, Run()), recording_of(two, Run(reference=2))
    with a, b:
        Run()(one)
        Run(reference=2)(two)
    assert same(a.maps, recorded(one, Run())[1])
    assert same(b.maps, recorded(two, Run(reference=2))[1])


OURS = ("Watch", "Recorder", "CallMaps", "AttributionMaps", "DiffusersRecording")


def held() -> tuple[int, Counter]:
    """Bytes of all tensors, and how many objects of a recording there are, that did not exist at `gc.freeze`."""
    gc.collect()
    alive = gc.get_objects()
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in alive if type(t) is Tensor}
    return sum(storages.values()), Counter(type(x).__name__ for x in alive if type(x).__name__ in OURS)


def test_twenty_recordings_in_a_row_do_not_grow_memory(unet: UNet2DConditionModel) -> None:
    def fail(_step: int) -> None:
        raise Broken

    run, breaking = Run(times=TIMES[:1]), Run(times=TIMES[:1], each_step=fail)
    run(unet)
    gc.collect()
    gc.freeze()
    try:
        shared = recording_of(unet, run)
        nothing = held()
        with shared:
            run(unet)
        one = held()
        assert one[0] >= nothing[0] + shared.maps.nbytes
        assert one[1]["AttributionMaps"] == 1
        for i in range(20):
            if i % 4 == 3:
                with pytest.raises(Broken), shared:
                    breaking(unet)
                assert held() == nothing, i
            elif i % 2:
                recorded(unet, run)
            else:
                with shared:
                    run(unet)
                assert held() == one, i
    finally:
        gc.unfreeze()
