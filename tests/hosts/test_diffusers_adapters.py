"""IP-Adapters in diffusers, loaded through the pipeline's own functions: each attends with a softmax of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0
from pipelines import LAYOUT, STEPS, Truth, assert_true, normal, pipeline, recorded, recording_of, run
from planted import CONTEXT, LAYERS, attention_of
from torch import Tensor, nn

from i2am.errors import RecordingError
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam

EMBED = 6
ALL = {step: step for step in range(STEPS)}


def weights(unet: Any, seed: int = 0, full: bool = False) -> dict[str, Any]:
    """A small IP-Adapter's state dict, as its authors store it: 4 tokens, or one for each of the encoder's (full)."""

    def random(*shape: int) -> Tensor:
        return 0.5 * normal(seed, *shape)

    norm = {"norm.weight": torch.ones(CONTEXT), "norm.bias": torch.zeros(CONTEXT)}
    projection = {"proj.weight": random(4 * CONTEXT, EMBED), "proj.bias": random(4 * CONTEXT), **norm}
    if full:
        projection = {
            "proj.0.weight": random(EMBED, EMBED),
            "proj.0.bias": random(EMBED),
            "proj.2.weight": random(CONTEXT, EMBED),
            "proj.2.bias": random(CONTEXT),
            "proj.3.weight": torch.ones(CONTEXT),
            "proj.3.bias": torch.zeros(CONTEXT),
        }
    layers = {}
    # numbered in the order of the U-Net's processors, of which the odd ones are cross-attention
    for i, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            width = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
            layers |= {f"{i}.to_{part}_ip.weight": normal(seed + i, width, CONTEXT) for part in "kv"}
    return {"image_proj": projection, "ip_adapter": layers}


def adapted(*seeds: int, full: bool = False) -> Any:
    pipe = pipeline()
    states = [weights(pipe.unet, seed, full) for seed in seeds or (0,)]
    pipe.load_ip_adapter(states, subfolder="", weight_name=[""] * len(states), image_encoder_folder=None)
    return pipe


def pictures(*shapes: tuple[int, ...]) -> dict[str, Any]:
    """Embeddings for each adapter: (uncond and cond, pictures, ...)."""
    shapes = shapes or ((1, EMBED),)
    return {"ip_adapter_image_embeds": [torch.cat([torch.zeros(1, *s), normal(9 + i, 1, *s)]) for i, s in enumerate(shapes)]}


def test_an_adapters_own_attention_is_recorded_without_a_layout() -> None:
    pipe = adapted()
    plain = run(pipe, **pictures())
    with Truth(pipe.unet) as truth:
        out, maps = recorded(pipe, layout=None, **pictures())
    assert torch.equal(out, plain)
    assert [(r.name, r.softmax, r.grid.tokens, r.grid.placed) for r in maps.references] == [("IP-Adapter", 1, 4, 0)]
    assert_true(maps, truth, ALL, softmax=1)


@pytest.mark.parametrize("old", [False, True])
def test_an_adapter_beside_the_layers_own_softmax(old: bool) -> None:
    """Also with the processor that writes its attention out."""
    pipe = adapted()
    if old:
        for name, found in pipe.unet.attn_processors.items():
            if isinstance(found, IPAdapterAttnProcessor2_0):
                attention = pipe.unet.get_submodule(name.removesuffix(".processor"))
                plain = IPAdapterAttnProcessor(attention.to_k.out_features, CONTEXT, found.num_tokens, found.scale)
                plain.load_state_dict(found.state_dict())
                attention.set_processor(plain)
    layout = Layout((*LAYOUT.references, Reference(TokenGrid(2, 2), 0, "picture", 1)), keys=LAYOUT.key_count)
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, layout, **pictures())
        alone = recorded(pipe, LAYOUT, **pictures())[1]
    assert_true(maps, truth, ALL, reference=0)
    assert_true(maps, truth, ALL, reference=1, softmax=1)
    assert_true(alone, truth, ALL)
    assert float(ulam(maps, "R2G", Choice(reference=1)).values.std()) > 0


def test_several_adapters_of_which_one_is_off() -> None:
    pipe = adapted(0, 20, 40)
    pipe.set_ip_adapter_scale([1.0, 0.0, 0.6])
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, None, **pictures(*[(1, EMBED)] * 3))
    assert [r.name for r in maps.references] == ["IP-Adapter 1", "IP-Adapter 2", "IP-Adapter 3"]
    assert maps.active == ((0, 1, 2, 3), (), (0, 1, 2, 3))
    assert_true(maps, truth, ALL, reference=0, softmax=1)
    assert_true(maps, truth, ALL, reference=2, softmax=2)  # the second that is computed


def test_several_pictures_of_one_adapter_share_its_softmax() -> None:
    pipe = adapted()
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, None, **pictures((3, EMBED)))
    names = ["IP-Adapter, picture 1", "IP-Adapter, picture 2", "IP-Adapter, picture 3"]
    assert [(r.name, r.start, r.softmax) for r in maps.references] == [(n, 4 * i, 1) for i, n in enumerate(names)]
    for i in range(3):
        assert_true(maps, truth, ALL, reference=i, softmax=1)


@pytest.mark.parametrize(("tokens", "grid"), [(10, (3, 3, 1)), (257, (16, 16, 1)), (7, (0, 0, 7))])
def test_tokens_that_are_projected_one_by_one_keep_their_places(tokens: int, grid: tuple[int, int, int]) -> None:
    pipe = adapted(full=True)
    with Truth(pipe.unet) as truth:
        _, maps = recorded(pipe, None, steps=2, **pictures((1, tokens, EMBED)))
    found = maps.references[0].grid
    assert (found.rows, found.columns, found.leading) == grid
    assert_true(maps, truth, {0: 0, 1: 1}, softmax=1)


def test_a_layout_is_asked_for_where_there_is_no_adapter() -> None:
    with pytest.raises(RecordingError, match="give the `layout`"):
        recorded(pipeline(), None)


def test_adapters_that_are_limited_by_masks_are_refused() -> None:
    pipe = adapted()
    masks = {"cross_attention_kwargs": {"ip_adapter_masks": [torch.ones(1, 1, 96, 80)]}}
    with pytest.raises(RecordingError, match=rf"{LAYERS[0]}.*ip_adapter_masks"):
        recorded(pipe, None, **pictures(), **masks)


# ------------------------------------------------------------------------------------------------- changed while recorded


def test_a_scale_that_is_set_to_0_inside_changes_the_picture_as_it_should() -> None:
    pipe = adapted()
    on = run(pipe, **pictures())
    recording = recording_of(pipe)
    with recording:
        pipe.set_ip_adapter_scale(0)
        out = run(pipe, **pictures())
    assert torch.equal(out, run(pipe, **pictures()))
    assert not torch.equal(out, on)
    assert recording.maps.recorded == (0, 1, 2, 3)
    with pytest.raises(RecordingError, match="no layer attended to the IP-Adapter's picture, which happens at scale 0"):
        recorded(pipe, None, **pictures())


def cut_off(step: int) -> Any:
    """diffusers' own callback, without its dependency on the pipeline's progress."""

    def callback(pipe: Any, index: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if index == step:
            pipe.set_ip_adapter_scale(0.0)
        return tensors

    return callback


def test_a_scale_that_is_cut_off_after_step_1() -> None:
    def cut(pipe: Any) -> dict[str, Any]:
        pipe.set_ip_adapter_scale(1.0)
        return {"callback_on_step_end": cut_off(1), **pictures()}

    pipe = adapted()
    whole, plain = run(pipe, **pictures()), run(pipe, **cut(pipe))
    assert not torch.equal(whole, plain)
    layout = Layout((*LAYOUT.references, Reference(TokenGrid(2, 2), 0, "picture", 1)), keys=LAYOUT.key_count)
    with Truth(pipe.unet) as truth:
        out, maps = recorded(pipe, layout, **cut(pipe))
    assert torch.equal(out, plain)
    assert maps.active == ((0, 1, 2, 3), (0, 1))
    assert_true(maps, truth, ALL)
    assert_true(maps, truth, {0: 0, 1: 1}, reference=1, softmax=1)


def test_an_adapter_that_is_unloaded_inside() -> None:
    pipe = adapted()
    recording = recording_of(pipe)
    with Truth(pipe.unet) as truth, recording:
        pipe.unload_ip_adapter()
        out = run(pipe)
    assert not any(hasattr(p, "to_k_ip") for p in pipe.unet.attn_processors.values())
    assert torch.equal(out, run(pipe))
    assert torch.equal(out, run(pipeline()))
    assert_true(recording.maps, truth, ALL)


def test_an_adapter_that_is_loaded_inside() -> None:
    pipe = pipeline()
    recording = recording_of(pipe, None)
    with recording:
        pipe.load_ip_adapter(weights(pipe.unet), subfolder="", weight_name="", image_encoder_folder=None)
        out = run(pipe, **pictures())
    expected = adapted()
    assert torch.equal(out, run(expected, **pictures()))
    alone = recorded(expected, None, **pictures())[1]
    assert all(torch.equal(t, recording.maps._tensors[k]) for k, t in alone._tensors.items())


def test_a_pipeline_that_is_moved_to_another_precision_inside() -> None:
    pipe = adapted()
    recording = recording_of(pipe, None)
    names = [name for name, _ in pipe.unet.named_parameters()]
    with recording:
        pipe.to(torch.float64)
        assert [name for name, _ in pipe.unet.named_parameters()] == names
        assert isinstance(attention_of(pipe.unet, LAYERS[0]).processor, nn.Module)
        out = run(pipe, **{k: [t.double() for t in v] for k, v in pictures().items()})
    assert out.dtype == torch.float64
    assert {p.dtype for p in pipe.unet.parameters()} == {torch.float64}
    assert recording.maps.active == ((0, 1, 2, 3),)
