"""Runs of joint-attention transformers that cannot be recorded: each is told what was seen, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import pytest
import torch
from diffusers.hooks import FirstBlockCacheConfig, PyramidAttentionBroadcastConfig
from diffusers.models.transformers import transformer_flux, transformer_qwenimage21
from joint_models import CASES, Case, Inputs, count, ids, normal
from joint_pipelines import PIPES, small_references
from torch import Tensor, nn

from i2am.errors import LayoutError, RecordingError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.hosts.diffusers.families.family import Family
from i2am.hosts.diffusers.families.flux import Flux
from i2am.hosts.diffusers.families.flux2 import Flux2
from i2am.hosts.diffusers.families.flux3 import Flux3
from i2am.hosts.diffusers.families.position_ids import pictures_of
from i2am.hosts.diffusers.families.qwen_image import QwenImage
from i2am.hosts.diffusers.families.qwen_image21 import QwenImage21
from i2am.hosts.diffusers.record import record
from i2am.maps.value import AttributionMaps


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def recorded(case: Case, model: Any, inputs: Inputs, **options: Any) -> AttributionMaps:
    recording = record(model, steps=len(inputs.times), **options)
    try:
        with recording:
            case.run(model, inputs)
    finally:
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    return recording.maps


# ------------------------------------------------------------------------------------------------------ before the run


def wrapped(change: Callable[[Any], None]) -> Any:
    pipeline = PIPES["Flux2Pipeline"].build()
    change(pipeline)
    return pipeline


def compile_whole(pipeline: Any) -> None:
    pipeline.transformer = torch.compile(pipeline.transformer)


def compile_block(pipeline: Any) -> None:
    pipeline.transformer.transformer_blocks[0].compile()


def parallel(pipeline: Any) -> None:
    pipeline.transformer = nn.DataParallel(pipeline.transformer)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (compile_whole, r"compiled.*pipeline\.transformer\._orig_mod"),
        (compile_block, "'transformer_blocks.0' of this network is compiled"),
        (parallel, r"DataParallel.*pipeline\.transformer\.module"),
    ],
)
def test_a_transformer_that_cannot_be_watched(change: Callable[[Any], None], text: str) -> None:
    with pytest.raises(RecordingError, match=text):
        record(wrapped(change))


def test_a_bare_transformer_that_is_compiled_is_told_so_by_its_own_name() -> None:
    with pytest.raises(RecordingError, match=r"pipeline\.transformer\._orig_mod"):
        record(torch.compile(CASES["Krea-2"].model()))


class Fused(nn.Module):
    """A block of another maker, with a kernel of its own for all that it does."""

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        return encoder_hidden_states, hidden_states


def test_blocks_of_another_maker() -> None:
    case = CASES["FLUX.1"]
    model = case.model()
    text = r"'transformer_blocks\.0', Fused, has none; record diffusers' own FluxTransformer2DModel .*Nunchaku"
    fused = case.model()
    fused.transformer_blocks[0] = Fused()
    with pytest.raises(RecordingError, match=text):
        recorded(case, fused, case.inputs())
    for block in (*model.transformer_blocks, *model.single_transformer_blocks):
        block.forward = Fused().forward
    with pytest.raises(RecordingError, match="the attention of none of its blocks: something computes it elsewhere"):
        recorded(case, model, case.inputs())


def test_a_transformer_of_no_known_family_is_named() -> None:
    model = diffusers.SD3Transformer2DModel(
        sample_size=4, num_layers=1, num_attention_heads=1, attention_head_dim=8, caption_projection_dim=8,
        joint_attention_dim=8, pooled_projection_dim=8,
    )  # fmt: skip
    text = r"expected a diffusers UNet2DConditionModel or .*\(FLUX\.1 Kontext, .*Z-Image with.*\).*, got SD3Transformer2DModel"
    with pytest.raises(RecordingError, match=text):
        record(model)
    pipeline = type("Pipe", (), {"transformer": model})()
    with pytest.raises(RecordingError, match="got Pipe with a SD3Transformer2DModel"):
        record(pipeline)


# ----------------------------------------------------------------------------------------------- what the run is given


@pytest.mark.parametrize("name", CASES)
def test_a_run_without_a_reference(name: str) -> None:
    case = CASES[name]
    with pytest.raises(RecordingError, match=r"called without a reference.*give the pipeline its `image`"):
        recorded(case, case.model(), case.inputs(references=()))


def test_a_layout_where_the_model_says_its_own() -> None:
    case = CASES["FLUX.1"]
    with pytest.raises(RecordingError, match="leave `layout` out"):
        recorded(case, case.model(), case.inputs(), layout=Layout.of(TokenGrid(5, 3)))


def test_another_number_of_images() -> None:
    case = CASES["FLUX.1"]
    with pytest.raises(RecordingError, match=r"called with 2 rows, expected 1 \(images\) a call; set `images`"):
        recorded(case, case.model(), case.inputs(images=2))


def test_a_branch_that_the_run_does_not_have() -> None:
    case = CASES["FLUX.1"]
    with pytest.raises(RecordingError, match="branch 'uncond' was never evaluated"):
        recorded(case, case.model(), case.inputs(), keep=("cond", "uncond"))


def test_both_branches_in_one_call_where_the_caller_says_so() -> None:
    case = CASES["FLUX.1"]
    model, inputs = case.model(), case.inputs(images=2)
    both = ("uncond", "cond")
    maps = recorded(case, model, inputs, branches=both, keep=both, pairwise="heads")
    apart = recorded(case, model, inputs, images=2, pairwise="heads")
    layer = case.layers[0]
    for i, branch in enumerate(both):
        assert torch.equal(maps.pairwise(layer, branch), apart.pairwise(layer)[i : i + 1])


def test_pictures_that_are_all_generated() -> None:
    """What is taken for a reference changes from step to step."""
    case = CASES["FLUX.1"]
    model, text = case.model(), r"references changed from step to step.*generates several at once"
    with pytest.raises(LayoutError, match=text), record(model, steps=2):
        case.run(Drifting(model), case.inputs())


class Drifting:
    """Calls a model with all its tokens changed by the time."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, **given: Any) -> Any:
        return self.model(**{**given, "hidden_states": given["hidden_states"] + given["timestep"][:, None, None]})


def test_kept_keys_of_a_step_that_was_not_recorded() -> None:
    case = CASES["FLUX.2 with kept keys"]
    model, inputs = case.model(), case.inputs()
    x, memory = normal(0, 1, count(inputs.generated), case.channels), {}
    references = [normal(1, 1, count(grid), case.channels) for grid in inputs.references]

    def step(time: float) -> None:
        case.velocity(model, inputs, x, references, normal(2, 1, 5, *case.text), torch.tensor([time]), memory)

    step(0.9)
    text = "23 reference tokens of an earlier step, but those seen so far make 0; enter the recording before"
    with torch.inference_mode(), pytest.raises(LayoutError, match=text), record(model, steps=2):
        step(0.6)


# ---------------------------------------------------------------------------------------------------------------- kernels


class Hand(transformer_flux.FluxAttnProcessor):
    """Attends with products written out, as kernels of one's own do."""

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Any = None, *_: Any, **__: Any) -> Any:
        q, k, v, *_others = transformer_flux._get_projections(attn, hidden_states, encoder_hidden_states)
        out = (q @ k.transpose(1, 2)).softmax(-1) @ v
        return (out, encoder_hidden_states) if encoder_hidden_states is not None else out


def test_a_kernel_that_cannot_be_watched_is_named() -> None:
    case = CASES["FLUX.1"]
    model = case.model()
    model.single_transformer_blocks[0].attn.set_processor(Hand())
    text = r"no attention was seen in a call of layer 'single_transformer_blocks\.0': its processor Hand uses a kernel"
    with pytest.raises(RecordingError, match=text):
        recorded(case, model, case.inputs())
    maps = recorded(case, model, case.inputs(), layers="transformer_blocks.*")
    assert [layer.name for layer in maps.layers] == ["transformer_blocks.0"]


def test_what_is_set_already_is_not_advised() -> None:
    """A processor of one's own on the native backend, diffusers' own on another, and both."""
    case = CASES["FLUX.1"]
    model = case.model()
    model.single_transformer_blocks[0].attn.set_processor(Hand())
    with pytest.raises(RecordingError, match="own processor, set_processor\\(FluxAttnProcessor\\(\\)\\), or leave") as own:
        recorded(case, model, case.inputs())
    assert "set_attention_backend" not in str(own.value)
    model.single_transformer_blocks[0].attn.set_processor(transformer_flux.FluxAttnProcessor())
    assert recorded(case, model, case.inputs()).recorded == (0, 1)  # what it advises works
    model.set_attention_backend("flex")
    with pytest.raises(RecordingError, match=r'; call transformer\.set_attention_backend\("native"\), or leave') as backend:
        recorded(case, model, case.inputs())
    assert "processor," not in str(backend.value)
    model.set_attention_backend("native")  # of the whole process
    other = CASES["Qwen-Image-Edit"]
    qwen = other.model()
    qwen.transformer_blocks[0].attn.set_processor(HandOfQwen())
    with pytest.raises(RecordingError, match="; give that attention diffusers' own processor, or leave"):
        recorded(other, qwen, other.inputs())


class HandOfQwen:
    """Attends to nothing that is seen."""

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        return hidden_states, encoder_hidden_states


def test_a_backend_that_cannot_be_watched_is_named() -> None:
    case = CASES["FLUX.1"]
    model = case.model()
    model.set_attention_backend("flex")
    with pytest.raises(RecordingError, match=r"FluxAttnProcessor uses a kernel .*\(attention backend 'flex'\).*\"native\""):
        recorded(case, model, case.inputs())
    model.set_attention_backend("native")
    assert recorded(case, model, case.inputs()).recorded == (0, 1)


def test_qwens_processor_of_one_masked_call_is_named() -> None:
    case = CASES["Qwen-Image 2.1"]
    model = case.model()
    model.set_attn_processor(transformer_qwenimage21.QwenImage21FlexAttnProcessor())
    with pytest.raises(RecordingError, match="its processor QwenImage21FlexAttnProcessor uses a kernel"):
        recorded(case, model, case.inputs())


class Textless(transformer_flux.FluxAttnProcessor):
    """Attends to pictures alone, as no model of this family does."""

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Any = None, *_: Any, **__: Any) -> Any:
        q, k, v, *_others = transformer_flux._get_projections(attn, hidden_states, encoder_hidden_states)
        out = nn.functional.scaled_dot_product_attention(*(t.unflatten(2, (attn.heads, -1)).transpose(1, 2) for t in (q, k, v)))
        out = out.transpose(1, 2).flatten(2)
        return (out, encoder_hidden_states) if encoder_hidden_states is not None else out


def test_a_call_with_other_tokens_than_the_arguments_say() -> None:
    case = CASES["FLUX.1"]
    model = case.model()
    model.transformer_blocks[0].attn.set_processor(Textless())
    text = r"layer 'transformer_blocks\.0' attends with queries x keys 38 x 38 over 1 rows, expected 43 x 43 once"
    with pytest.raises(LayoutError, match=text):
        recorded(case, model, case.inputs())


# ----------------------------------------------------------------------------------------------------------------- caches


def test_blocks_that_a_cache_skips_are_left_out_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    small_references(monkeypatch)
    pipe = PIPES["QwenImageEditPlusPipeline"]
    pipeline = pipe.build()
    pipeline.transformer.enable_cache(FirstBlockCacheConfig(threshold=100.0))
    plain = pipe.run(pipeline)
    pipeline.transformer._reset_stateful_cache()
    recording = record(pipeline)
    with recording:
        out = pipe.run(pipeline)
    assert torch.equal(out, plain)
    assert [layer.name for layer in recording.maps.layers] == ["transformer_blocks.0"]
    assert any("transformer_blocks.1" in note for note in recording.maps.notes)


def test_attention_that_a_cache_skips_is_refused() -> None:
    pipe = PIPES["Flux2Pipeline"]
    pipeline = pipe.build()
    now = {"current_timestep_callback": lambda: 500}
    pipeline.transformer.enable_cache(PyramidAttentionBroadcastConfig(spatial_attention_block_skip_range=2, **now))
    with pytest.raises(RecordingError, match=r"a cache skips it; call transformer\.disable_cache\(\)"), record(pipeline):
        pipe.run(pipeline)


# -------------------------------------------------------------------------------------------------------------- arguments

PICTURES = {"img_ids": ids(4, (0, (2, 2)), (1, (2, 2))), "hidden_states": torch.zeros(1, 8, 4)}
TEXT = {"encoder_hidden_states": torch.zeros(1, 3, 4)}
SLOTS = [False, True, True, False, True]


@pytest.mark.parametrize(
    ("family", "given", "text"),
    [
        (Flux(), {"img_ids": torch.zeros(4, 2)}, r"img_ids is of the shape \(4, 2\), expected \(tokens, 3 or more\)"),
        (Flux(), {"img_ids": torch.zeros(0, 3)}, r"img_ids is of the shape \(0, 3\)"),
        (Flux2(), {"kv_cache_mode": "extract", "num_ref_tokens": 2}, "img_ids hold 2 pictures behind num_ref_tokens"),
        (Flux3(), {}, "img_ids hold 2 pictures, expected the generated one; give references apart"),
        (QwenImage(), {"img_shapes": [[(1, 2, 2), (2, 2, 2)]]}, r"\(2, 2, 2\)\], expected \(1, rows, columns\)"),
        (QwenImage(), {"additional_t_cond": 1}, "generates several layers at once"),
        (QwenImage21(), {"img_shapes": [[(1, 2, 4), (1, 2, 2)]], "img_mask": torch.tensor([[True, False, True, True]])},
         r"img_mask has 12 image tokens, in which those of 'reference' \(2 x 4 of img_shapes\) do not follow each other"),
        (QwenImage21(), {"img_shapes": [[(1, 2, 2), (1, 2, 2)]], "img_mask": torch.tensor([[True, False, True, False]])},
         "img_mask has 8 image tokens, img_shapes have 8, the generated picture's at the end"),
        (QwenImage21(), {"img_shapes": [[(1, 2, 4), (1, 2, 2)]], "img_mask": torch.tensor([[True, True]])},
         "img_mask has 8 image tokens, in which those of 'generated'"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_say_what_the_tokens_are(family: Family, given: dict[str, Any], text: str) -> None:
    with pytest.raises(LayoutError, match=text):
        family.read({**PICTURES, **TEXT, **given}, None)


def test_an_ip_adapters_pictures_are_noted() -> None:
    given = {**PICTURES, **TEXT, "joint_attention_kwargs": {"ip_adapter_image_embeds": [torch.zeros(1, 1, 4)]}}
    assert "softmax of their own" in Flux().read(given, 16).notes[0]


def test_pictures_with_the_same_index_are_told_apart_by_their_places() -> None:
    beside, below = ids(3, (1, (2, 3))), ids(3, (1, (3, 2)))
    beside[:, 2] += 4
    below[:, 1] += 4
    assert pictures_of(torch.cat([ids(3, (0, (4, 4))), beside, below]), "img_ids") == [(4, 4), (2, 3), (3, 2)]
