"""The diffusers host beside other attention processors, and with masked keys."""

from __future__ import annotations

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
    assert_close,
    assert_states,
    branches_of,
    normal,
    one_thread,
    recorded,
    recording_of,
    traces,
    unet_fixture,
)
from planted import LAYERS, MIDDLE, attention_of
from torch import Tensor, nn

from i2am.errors import RecordingError
from i2am.geometry.layout import Layout, TokenGrid

# --------------------------------------------------------------------------------------------- other processors


class Strong:
    """A processor of somebody else's: it scales its layer's output, and takes a keyword argument of its own."""

    def __init__(self) -> None:
        self.inner, self.calls = AttnProcessor2_0(), 0

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        self.calls += 1
        return strength * self.inner(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


class Learned(nn.Module):
    """A processor that is a module with weights."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.7))

    def forward(self, attn: nn.Module, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        return self.gain * AttnProcessor2_0()(attn, hidden_states, encoder_hidden_states)


def test_a_custom_processor_is_chained_with_its_keyword_arguments(unet: UNet2DConditionModel) -> None:
    run, custom = Run(images=2), Strong()
    attention_of(unet, LAYERS[0]).set_processor(custom)
    weak, strong = run(unet, cross_attention_kwargs={"strength": 0.5}), run(unet)
    assert not torch.equal(weak, strong)
    before, custom.calls = traces(unet), 0
    with Seen(unet) as seen:
        out, maps = recorded(unet, run, {"cross_attention_kwargs": {"strength": 0.5}})
    assert torch.equal(out, weak)
    assert custom.calls == len(TIMES)
    assert traces(unet) == before
    assert attention_of(unet, LAYERS[0]).processor is custom
    assert_states(maps, seen, run)


class Louder(AttnProcessor2_0):
    """Adds to the attention's output before the layer projects it, as adapters do."""

    def __call__(self, attn: Any, *args: Any, **kwargs: Any) -> Tensor:
        hook = attn.to_out[0].register_forward_pre_hook(lambda _module, given: (3 * given[0],), prepend=True)
        try:
            return super().__call__(attn, *args, **kwargs)
        finally:
            hook.remove()


@pytest.mark.parametrize("own", [AttnProcessor, AttnProcessor2_0, Louder])
def test_norms_are_those_of_real_attention_whatever_reaches_the_projection(unet: UNet2DConditionModel, own: type) -> None:
    """A reference with all keys to itself: from the output where that is known, else multiplied by the recorder."""
    run, layout = Run(images=2), Layout.of(TokenGrid(5, 5, 1))
    attention_of(unet, LAYERS[0]).set_processor(own())
    with Seen(unet) as seen:
        _, maps = recorded(unet, run, layout=layout)
    for branch in maps.branches:
        for step in range(len(TIMES)):
            part = seen.rows(LAYERS[0], step, branch, run)
            q, k, v = (part[name].double() for name in ("to_q", "to_k", "to_v"))
            stated = ((q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1) @ v).norm(dim=-1)
            assert_close(maps.grouped("norm", LAYERS[0], branch)[:, step].double(), stated, 1e-5, f"{branch}, step {step}")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_are_free_of_a_shorter_formats_rounding(unet: UNet2DConditionModel, dtype: torch.dtype) -> None:
    run, layout = Run(images=2, dtype=dtype), Layout.of(TokenGrid(5, 5, 1))
    with Seen(unet.to(dtype)) as seen:
        _, maps = recorded(unet, run, layout=layout)
    for step in range(len(TIMES)):
        part = seen.rows(LAYERS[0], step, "cond", run)
        q, k, v = (part[name].double() for name in ("to_q", "to_k", "to_v"))
        stated = ((q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1) @ v).norm(dim=-1)
        assert_close(maps.grouped("norm", LAYERS[0])[:, step].double(), stated, 1e-5, f"step {step}")


def test_a_processor_that_is_a_module_is_chained(unet: UNet2DConditionModel) -> None:
    run, plain = Run(), Run()(unet)
    module = Learned()
    attention_of(unet, MIDDLE).set_processor(module)
    before, changed = traces(unet), run(unet)
    assert any(name.endswith("processor.gain") for name in before["state"])
    assert not torch.equal(changed, plain)
    with Seen(unet) as seen:
        out, maps = recorded(unet, run)
    assert torch.equal(out, changed)
    assert traces(unet) == before
    assert attention_of(unet, MIDDLE)._modules["processor"] is module
    assert_states(maps, seen, run)
    with pytest.raises(Broken), recording_of(unet, run):
        raise Broken
    assert attention_of(unet, MIDDLE)._modules["processor"] is module


def test_a_processor_that_is_a_function_is_chained(unet: UNet2DConditionModel) -> None:
    def double(attn: nn.Module, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        return 2 * AttnProcessor2_0()(attn, hidden_states, encoder_hidden_states)

    attention_of(unet, MIDDLE).processor = double
    run = Run()
    changed = run(unet)
    out, _ = recorded(unet, run)
    assert torch.equal(out, changed)
    assert attention_of(unet, MIDDLE).processor is double


def test_a_processor_set_during_the_run_stays(unet: UNet2DConditionModel, caplog: pytest.LogCaptureFixture) -> None:
    custom = Strong()

    def change(step: int) -> None:
        if step == 0:
            attention_of(unet, MIDDLE).set_processor(custom)

    run = Run(each_step=change)
    with Seen(unet) as seen:
        out, maps = recorded(unet, run)
    assert custom.calls == len(TIMES) - 1
    assert attention_of(unet, MIDDLE).processor is custom
    assert caplog.text == ""
    assert_states(maps, seen, run)
    assert not any(h for pair in traces(unet)["hooks"].values() for h in pair)
    attention_of(unet, MIDDLE).set_processor(AttnProcessor2_0())
    assert torch.equal(out, run(unet))


class Blind:
    """A processor that does no attention."""

    def __call__(self, attn: nn.Module, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        return hidden_states * 0.5


class Twice:
    """A processor that attends twice, in a way of its own."""

    def __call__(self, attn: nn.Module, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        inner = AttnProcessor2_0()
        half = encoder_hidden_states.shape[1] // 2
        return inner(attn, hidden_states, encoder_hidden_states[:, :half]) + inner(
            attn, hidden_states, encoder_hidden_states[:, half:]
        )


@pytest.mark.parametrize(("processor", "count"), [(Blind(), 0), (Twice(), 2)])
def test_a_processor_whose_attention_is_not_known_is_refused(unet: UNet2DConditionModel, processor: object, count: int) -> None:
    attention_of(unet, MIDDLE).set_processor(processor)
    before, run = traces(unet), Run()
    text = f"{count} attentions were seen in a call of layer '{MIDDLE}', expected 1: its processor {type(processor).__name__}"
    with pytest.raises(RecordingError, match=text) as caught:
        recorded(unet, run)
    assert "`layers`" in str(caught.value)
    assert traces(unet) == before
    out, maps = recorded(unet, run, layers=("down*", "up*"))  # as the error proposes
    assert torch.equal(out, run(unet))
    assert MIDDLE not in [x.name for x in maps.layers]


def test_fused_projections_are_recorded(unet: UNet2DConditionModel) -> None:
    with Seen(unet) as seen:
        Run()(unet)
    unet.fuse_qkv_projections()
    before, plain = traces(unet), Run()(unet)
    out, maps = recorded(unet, Run())
    assert torch.equal(out, plain)
    assert traces(unet) == before
    assert_states(maps, seen, Run())
    unet.unfuse_qkv_projections()
    recorded(unet, Run())


# -------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("processor", [AttnProcessor, AttnProcessor2_0])
@pytest.mark.parametrize(("mode", "images"), MODES)
def test_masked_keys_are_honoured(unet: UNet2DConditionModel, processor: type, mode: str, images: int) -> None:
    unet.set_attn_processor(processor())
    run = Run(mode, images, times=TIMES[:1])
    rows = images * (2 if mode == "batch" else 1)
    allowed = normal(5, rows, LAYOUT.key_count) > -0.3
    allowed[:, 0] = True
    kwargs = {"encoder_attention_mask": allowed}
    plain = run(unet, **kwargs)
    assert not torch.equal(plain, run(unet))
    with Seen(unet) as seen:
        out, maps = recorded(unet, run, kwargs)
    assert torch.equal(out, plain)
    bias = (1 - allowed.float()) * -10000.0
    # the model adds -10000 in fp32, which leaves the logits of forbidden keys three figures
    assert_states(maps, seen, run, bias if mode == "batch" else bias.repeat(2, 1), relative=2e-3)
    for branch in maps.branches:
        forbidden = ~(allowed if mode != "batch" else allowed.chunk(2)[branches_of(mode).index(branch)])
        for i, reference in enumerate(LAYOUT.references):
            where = forbidden[:, None, None, None, reference.start : reference.stop]
            pairs = maps.pairwise(MIDDLE, branch, i)
            assert float((pairs * where).max()) == 0.0
            assert float((pairs * ~where).max()) > 0
