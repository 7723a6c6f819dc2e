"""What people do to a pipeline while it is recorded: it works as it would without, and the maps are of what was computed."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from diffusers_run import traces
from pipelines import LAYOUT, STEPS, Truth, assert_true, normal, pipeline, recorded, recording_of, run
from planted import CONTEXT, LATENT, LAYERS, attention_of
from torch import Tensor, nn

from i2am.errors import RecordingError
from i2am.maps.value import AttributionMaps

ALL = {step: step for step in range(STEPS)}


def same(a: AttributionMaps, b: AttributionMaps) -> bool:
    return a._tensors.keys() == b._tensors.keys() and all(torch.equal(t, b._tensors[k]) for k, t in a._tensors.items())


def objects(unet: nn.Module) -> dict[str, Any]:
    """All modules, processors and parameters by identity, the hooks that were set before, and what instances hold."""
    modules = dict(unet.named_modules())
    return {
        "modules": {name: id(m) for name, m in modules.items()},
        "processors": {name: id(m.processor) for name, m in modules.items() if hasattr(m, "processor")},
        "state": {name: id(t) for name, t in [*unet.named_parameters(), *unet.named_buffers()]},
        "keys": list(unet.state_dict()),
        "own": {name: sorted(k for k in vars(m) if not k.startswith("_")) for name, m in modules.items()},
        "classes": {name: type(m) for name, m in modules.items()},
        "forward": {name: m.forward.__func__ for name, m in modules.items()},
    }


def test_nothing_is_replaced_inside_or_after() -> None:
    pipe = pipeline()
    before, hooks = objects(pipe.unet), traces(pipe.unet)
    inside: list[dict[str, Any]] = []

    def look(pipe: Any, _index: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        inside.append(objects(pipe.unet))
        return tensors

    plain = run(pipe)
    out, _ = recorded(pipe, callback_on_step_end=look)
    assert torch.equal(out, plain)
    assert inside == [before] * STEPS
    assert objects(pipe.unet) == before
    assert traces(pipe.unet) == hooks


# ------------------------------------------------------------------------------------------------------------------ LoRA


class LoRA(nn.Module):
    """Wraps a projection as peft does: the base layer's own output is no longer the projection's."""

    def __init__(self, base: nn.Linear, seed: int) -> None:
        super().__init__()
        self.base_layer = base
        self.register_buffer("down", normal(seed, 2, base.in_features))
        self.register_buffer("up", normal(seed + 1, base.out_features, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + x @ self.down.T @ self.up.T


def add_lora(unet: UNet2DConditionModel) -> None:
    for i, layer in enumerate(LAYERS):
        attention = attention_of(unet, layer)
        attention.to_q, attention.to_k = LoRA(attention.to_q, 2 * i), LoRA(attention.to_k, 100 + 2 * i)


def test_a_lora_that_is_added_inside() -> None:
    pipe, expected = pipeline(), pipeline()
    recording = recording_of(pipe)
    with recording:
        add_lora(pipe.unet)
        out = run(pipe)
    add_lora(expected.unet)
    with Truth(expected.unet) as truth:
        plain, from_the_start = recorded(expected)
    assert torch.equal(out, plain)
    assert same(recording.maps, from_the_start)
    assert_true(recording.maps, truth, ALL)
    assert not same(recording.maps, recorded(pipeline())[1])


def test_a_lora_of_peft_that_is_added_inside() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False)

    def add(pipe: Any) -> None:
        torch.manual_seed(7)
        pipe.unet.add_adapter(config, "style")

    pipe, expected = pipeline(), pipeline()
    recording = recording_of(pipe)
    with recording:
        add(pipe)
        out = run(pipe)
    add(expected)
    with Truth(expected.unet) as truth:
        plain, from_the_start = recorded(expected)
    assert torch.equal(out, plain)
    assert same(recording.maps, from_the_start)
    assert_true(recording.maps, truth, ALL)


# ------------------------------------------------------------------------------------------------ processors and copies


@pytest.mark.parametrize("change", ["set_default_attn_processor", "slices", "written out", "fused"])
def test_another_processor_set_inside(change: str) -> None:
    pipe = pipeline()
    recording = recording_of(pipe)
    with Truth(pipe.unet) as truth:
        run(pipe)  # what is projected is the same with every processor
    with recording:
        if change == "set_default_attn_processor":
            pipe.unet.set_default_attn_processor()
        elif change == "slices":
            pipe.enable_attention_slicing(1)
        elif change == "fused":
            pipe.fuse_qkv_projections()
        else:
            pipe.unet.set_attn_processor(AttnProcessor())
        out = run(pipe)
    assert torch.equal(out, run(pipe))
    assert_true(recording.maps, truth, ALL)
    # diffusers' default is the processor that writes its attention out
    default = {type(p) for p in pipe.unet.attn_processors.values()} == {AttnProcessor}
    assert default == (change in ("set_default_attn_processor", "written out"))


@pytest.mark.parametrize("size", [1, 2, "auto", "max"])
def test_sliced_attention_of_two_images(size: Any) -> None:
    pipe = pipeline()
    pipe.enable_attention_slicing(size)
    plain = run(pipe, num_images_per_prompt=2)
    with Truth(pipe.unet) as truth:
        out, maps = recorded(pipe, options={"images": 2}, num_images_per_prompt=2)
    assert torch.equal(out, plain)
    assert_true(maps, truth, ALL, rows=slice(2, 4))


def test_a_copy_that_is_made_inside_is_a_network_of_its_own() -> None:
    pipe = pipeline()
    recording = recording_of(pipe)
    with recording:
        copied = copy.deepcopy(pipe.unet)
        run(pipe)
        run(pipeline(unet=copied), seed=7)  # not recorded
    assert recording.maps.notes == ()
    assert same(recording.maps, recorded(pipeline())[1])
    assert same(recorded(pipeline(unet=copied))[1], recording.maps)
    original = weakref.ref(pipe.unet)
    del pipe, recording
    gc.collect()
    assert original() is None  # the copy's hooks hold nothing of it


def test_two_threads_on_one_network_of_which_one_records() -> None:
    pipe = pipeline()
    expected, alone = recorded(pipe)
    context = normal(8, 1, LAYOUT.key_count, CONTEXT)
    errors: list[BaseException] = []
    started, stop = threading.Event(), threading.Event()

    def other() -> None:
        try:
            with torch.inference_mode():
                while not stop.is_set():
                    pipe.unet(normal(9, 1, 4, *LATENT), 500, encoder_hidden_states=context)
                    started.set()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
            started.set()

    thread = threading.Thread(target=other)
    recording = recording_of(pipe)
    with recording:
        thread.start()
        started.wait()
        out = run(pipe)
        stop.set()
        thread.join()
    assert errors == []
    assert torch.equal(out, expected)
    assert same(recording.maps, alone)


def test_a_model_that_runs_in_another_thread_alone_is_said() -> None:
    pipe = pipeline()
    thread = threading.Thread(target=run, args=(pipe,))
    recording = recording_of(pipe)
    recording.__enter__()
    thread.start()
    thread.join()
    with pytest.raises(RecordingError, match=r"not called inside.*in another thread"):
        recording.__exit__(None, None, None)


# --------------------------------------------------------------------------------------------- what breaks off in attention


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("caught", ["outside", "inside"])
def test_no_torch_function_mode_is_left(error: type[BaseException], caught: str) -> None:
    pipe = pipeline()
    attention, depth = attention_of(pipe.unet, LAYERS[2]), torch._C._len_torch_function_stack
    within: list[int] = []

    def fail(*_: Any) -> None:
        within.append(depth())
        raise error

    handle = attention.to_v.register_forward_hook(fail)
    recording = recording_of(pipe)
    if caught == "outside":
        with pytest.raises(error), recording:
            run(pipe)
    else:
        with recording:
            with pytest.raises(error):
                run(pipe)
            handle.remove()
            if error is RuntimeError:  # an interrupt passes hooks by: its mode goes with the next attention
                assert depth() == 0
            out = run(pipe)
            assert depth() == 0
            assert torch.equal(out, run(pipe))
    handle.remove()
    assert within == [1]
    assert depth() == 0
    assert same(recorded(pipe)[1], recorded(pipeline())[1])


def by_methods(out: Tensor, q: Tensor, k: Tensor) -> None:
    out *= 3
    q.zero_()
    k[:] = 1


def by_out(out: Tensor, q: Tensor, k: Tensor) -> None:
    torch.mul(out, 3, out=out)
    torch.mul(q, 0, out=q)
    torch.div(k, k, out=k)


def several_at_once(out: Tensor, q: Tensor, k: Tensor) -> None:
    torch._foreach_mul_([out, q, k], 3.0)


def by_data(out: Tensor, q: Tensor, k: Tensor) -> None:
    out.data, q.data, k.data = out * 3, q * 0, k * 0


class InPlace:
    """A processor that changes its attention's output, queries and keys in place afterwards."""

    def __init__(self, change: Callable[[Tensor, Tensor, Tensor], None]) -> None:
        self.change = change

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            t.unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for t in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        self.change(out, q, k)
        return attn.to_out[0](out.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("change", [by_methods, by_out, several_at_once, by_data])
def test_what_is_changed_in_place_afterwards_was_seen_before(change: Any) -> None:
    pipe = pipeline()
    attention_of(pipe.unet, LAYERS[0]).set_processor(InPlace(change))
    plain = run(pipe)
    with Truth(pipe.unet) as truth:
        out, maps = recorded(pipe)
    assert torch.equal(out, plain)
    assert_true(maps, truth, ALL)
    attention_of(pipe.unet, LAYERS[0]).set_processor(AttnProcessor2_0())
    norms = [m.grouped("norm", LAYERS[0])[:, 0] for m in (maps, recorded(pipe)[1])]
    torch.testing.assert_close(norms[0], norms[1], rtol=1e-4, atol=1e-6)
