"""Networks that cannot be watched, and runs that change their layers: refused by name, or kept as far as they are complete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import AttnProcessor2_0
from pipelines import STEPS, Truth, assert_true, pipeline, recorded, recording_of, run
from planted import GRIDS, LAYERS, MIDDLE, attention_of
from torch import Tensor, nn
from torch.nn import functional as F

from i2am.errors import LayoutError, RecordingError

ALL = {step: step for step in range(STEPS)}

# ----------------------------------------------------------------------------------------------------- before the run


def compile_whole(pipe: Any) -> None:
    pipe.unet = torch.compile(pipe.unet)


def compile_in_place(pipe: Any) -> None:
    pipe.unet.compile()


def compile_forward(pipe: Any) -> None:
    pipe.unet.forward = torch.compile(pipe.unet.forward)


def compile_block(pipe: Any) -> None:
    pipe.unet.mid_block = torch.compile(pipe.unet.mid_block)


def compile_blocks(pipe: Any) -> None:
    pipe.unet.mid_block.attentions[0].transformer_blocks[0].compile()


def parallel(pipe: Any) -> None:
    pipe.unet = nn.DataParallel(pipe.unet)


WRAPPED: list[tuple[Callable[[Any], None], str]] = [
    (compile_whole, r"compiled.*pipeline\.unet\._orig_mod"),
    (compile_in_place, "this network is compiled"),
    (compile_forward, "this network is compiled"),
    (compile_block, "'mid_block' of this network is compiled"),
    (compile_blocks, "'mid_block.attentions.0.transformer_blocks.0' of this network is compiled"),
    (parallel, r"DataParallel.*pipeline\.unet\.module"),
]


@pytest.mark.parametrize(("wrap", "text"), WRAPPED)
@pytest.mark.parametrize("when", ["before", "between"])
def test_a_network_that_cannot_be_watched_is_refused_before_the_run(wrap: Callable[[Any], None], text: str, when: str) -> None:
    pipe = pipeline()
    recording = recording_of(pipe) if when == "between" else None
    wrap(pipe)
    with pytest.raises(RecordingError, match=text), recording or recording_of(pipe):
        raise AssertionError("the run began")
    if wrap is not compile_forward:
        inner = getattr(pipe.unet, "_orig_mod", getattr(pipe.unet, "module", pipe.unet))
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in inner.modules())


@pytest.mark.parametrize(("wrap", "text"), [WRAPPED[1], WRAPPED[4]])
def test_a_network_that_is_compiled_inside_is_refused_at_its_first_evaluation(wrap: Callable[[Any], None], text: str) -> None:
    def compile_and_run(pipe: Any) -> None:
        wrap(pipe)
        run(pipe)

    pipe = pipeline()
    with pytest.raises(RecordingError, match=text), recording_of(pipe):
        compile_and_run(pipe)
    torch._dynamo.reset()


def test_what_the_messages_advise_works() -> None:
    for wrap, back in ((compile_whole, "_orig_mod"), (parallel, "module")):
        pipe = pipeline()
        wrap(pipe)
        pipe.unet = getattr(pipe.unet, back)
        assert recorded(pipe)[1].recorded == (0, 1, 2, 3)


# ------------------------------------------------------------------------------------------------------ foreign kernels


class Kernel(AttnProcessor2_0):
    """Attends with a kernel that is no torch function of attention, as xformers' processor does."""

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (attn.head_to_batch_dim(t) for t in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)))
        out = (q @ k.transpose(1, 2) * attn.scale).softmax(-1) @ v
        return attn.to_out[0](attn.batch_to_head_dim(out))


class Scores(AttnProcessor2_0):
    """Changes its scores between product and softmax, where nobody sees it."""

    change: Callable[[Tensor], Tensor] = staticmethod(lambda scores: scores + 1)

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (attn.head_to_batch_dim(t) for t in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)))
        empty = torch.empty(len(q), q.shape[1], k.shape[1])
        scores = torch.baddbmm(empty, q, k.transpose(1, 2), beta=0, alpha=attn.scale)
        return attn.to_out[0](attn.batch_to_head_dim(torch.bmm(self.change(scores), v)))


def added(scores: Tensor) -> Tensor:
    return (scores + torch.arange(scores.shape[-1])).softmax(-1)


def in_place(scores: Tensor) -> Tensor:
    scores += torch.arange(scores.shape[-1])
    return scores.softmax(-1)


def linear(scores: Tensor) -> Tensor:
    return scores


def over_queries(scores: Tensor) -> Tensor:
    return scores.softmax(1)


def reweighted(scores: Tensor) -> Tensor:
    return scores.softmax(-1) * 0.5


@pytest.mark.parametrize("change", [added, in_place, linear, over_queries, reweighted])
def test_attention_that_is_written_out_in_another_way_is_not_taken_for_a_softmax_of_its_scores(change: Any) -> None:
    pipe, processor = pipeline(), Scores()
    processor.change = change
    pipe.unet.set_attn_processor(processor)
    with pytest.raises(RecordingError, match=f"0 attentions were seen in a call of layer '{LAYERS[0]}'.*Scores"):
        recorded(pipe)


def test_a_kernel_that_cannot_be_watched_is_refused_by_name() -> None:
    pipe = pipeline()
    attention_of(pipe.unet, MIDDLE).set_processor(Kernel())
    plain = run(pipe)
    text = f"0 attentions were seen in a call of layer '{MIDDLE}', expected 1: its processor Kernel uses a kernel.*xformers"
    with pytest.raises(RecordingError, match=text):
        recorded(pipe)
    with Truth(pipe.unet) as truth:
        out, maps = recorded(pipe, options={"layers": ("up*", "down*")})
    assert torch.equal(out, plain)
    assert [x.name for x in maps.layers] == [x for x in LAYERS if x != MIDDLE]
    assert_true(maps, truth, ALL)
    pipe.unet.set_attn_processor(AttnProcessor2_0())
    assert [x.name for x in recorded(pipe)[1].layers] == list(LAYERS)


def test_a_replaced_attention_function_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As sage attention is switched on: it takes the place of torch's own function."""

    def sage(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor:
        return (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1) @ v

    monkeypatch.setattr(F, "scaled_dot_product_attention", sage)
    with pytest.raises(RecordingError, match=f"0 attentions were seen in a call of layer '{LAYERS[0]}'"):
        recorded(pipeline())


class Flat(AttnProcessor2_0):
    """Calls torch's attention with heads among the rows; ``spoil``: with rows of its own."""

    def __init__(self, spoil: bool = False) -> None:
        super().__init__()
        self.spoil = spoil

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (attn.head_to_batch_dim(t) for t in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)))
        if self.spoil:
            out = F.scaled_dot_product_attention(*(torch.cat([t, t])[:, None].expand(-1, 2, -1, -1) for t in (q, k, v)))
            return attn.to_out[0](attn.batch_to_head_dim(out[: len(q), 0]))
        return attn.to_out[0](attn.batch_to_head_dim(F.scaled_dot_product_attention(q, k, v)))


def test_heads_among_the_rows_are_told_from_rows() -> None:
    pipe = pipeline()
    pipe.unet.set_attn_processor(Flat())
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe)
    assert_true(maps, truth, ALL)
    pipe.unet.set_attn_processor(Flat(spoil=True))
    with pytest.raises(RecordingError, match=r"attends from queries of the shape \(8, 2, 120, 16\), expected a batch of 2"):
        recorded(pipe)


# ----------------------------------------------------------------------------------------- tokens and blocks that are missing


class MergingBlock(BasicTransformerBlock):
    """Merges cross-attention's queries before and unmerges its output, as tomesd's ``merge_crossattn`` does at ratio 0.75."""

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        hidden = hidden_states + self.attn1(self.norm1(hidden_states))
        count = hidden.shape[1]
        kept = torch.linspace(0, count - 1, count // 4).round().long()
        nearest = (torch.arange(count)[:, None] - kept).abs().argmin(1)
        attended = self.attn2(self.norm2(hidden)[:, kept], encoder_hidden_states=encoder_hidden_states)
        hidden = hidden + attended[:, nearest]
        return hidden + self.ff(self.norm3(hidden))


def test_merged_tokens_are_not_taken_for_a_smaller_picture() -> None:
    """A quarter of 16 x 16 tokens is as many as 8 x 8."""
    pipe = pipeline()
    pipe.unet.get_submodule(LAYERS[0]).__class__ = MergingBlock
    size = {"height": 128, "width": 128}
    with pytest.raises(LayoutError, match=f"layer '{LAYERS[0]}' has 64 queries on a 16 x 16 grid.*merge_crossattn"):
        recorded(pipe, **size)
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, options={"layers": ("mid*", "up*", "down_blocks.1*")}, **size)
    assert_true(maps, truth, ALL)


def skip_blocks(unet: Any, *blocks: str) -> None:
    """Compute blocks in every other step alone, as DeepCache does, and give what they gave before in the others."""
    evaluation = [-1]
    unet.register_forward_pre_hook(lambda *_: evaluation.append(evaluation[-1] + 1))
    for block in blocks:
        module, kept = unet.get_submodule(block), []

        def forward(*args: Any, inner: Any = module.forward, kept: list[Any] = kept, **kwargs: Any) -> Any:
            if evaluation[-1] % 2 == 0:
                kept[:] = [inner(*args, **kwargs)]
            return kept[0]

        module.forward = forward


def test_layers_of_skipped_blocks_are_left_out_and_the_run_is_kept() -> None:
    pipe = pipeline()
    skip_blocks(pipe.unet, "mid_block", "up_blocks.0")
    with Truth(pipe.unet) as truth:
        out, maps = recorded(pipe)
    other = pipeline()
    skip_blocks(other.unet, "mid_block", "up_blocks.0")
    assert torch.equal(out, run(other))
    left = [x for x in LAYERS if x.startswith("down")]
    assert [x.name for x in maps.layers] == left
    assert maps.recorded == (0, 1, 2, 3)
    assert maps.notes == (
        f"layers that were not computed in all steps were left out (something skips blocks, as DeepCache does): "
        f"{', '.join(x for x in LAYERS if x not in left)}",
    )
    assert_true(maps, truth, ALL)


def test_a_layer_that_shrinks_meanwhile_is_refused_with_what_to_do() -> None:
    """As Deep Shrink does: a block sees a smaller picture in the first steps."""
    pipe, evaluations = pipeline(), [0]

    def shrink(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        evaluations[0] += 1
        return (F.interpolate(args[0], scale_factor=0.5), *args[1:]) if evaluations[0] <= 2 else args

    def grow(_module: nn.Module, _args: Any, out: Tensor) -> Tensor:
        return F.interpolate(out, size=GRIDS[MIDDLE])

    pipe.unet.mid_block.register_forward_pre_hook(shrink)
    pipe.unet.mid_block.register_forward_hook(grow)
    text = f"layer '{MIDDLE}' changed.*from 3 x 2 tokens.*6 x 5.*switch off what resizes it.*Deep Shrink.*leave the layer out"
    with pytest.raises(RecordingError, match=text):
        recorded(pipe)
    evaluations[0] = 0
    assert len(recorded(pipe, options={"layers": ("up*", "down*")})[1].layers) == len(LAYERS) - 1
