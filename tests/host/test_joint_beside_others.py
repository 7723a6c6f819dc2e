"""Joint-attention models beside caches, LoRA, casts and what other packs do to their tokens: right, noted or refused."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from host_tests import joint_case, tiny_joint
from torch import Tensor

import nodes

SIZES = ((4, 4), (5, 7))


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return joint_case.Lib(pack)


has_kept_keys = pytest.mark.where("FluxKVCache" in nodes.NODE_CLASS_MAPPINGS)


def through(node: str, model: Any, **inputs: Any) -> Any:
    """The MODEL that a node of the host gives."""
    made = nodes.NODE_CLASS_MAPPINGS[node].execute(model, **inputs)
    return made.args[0] if hasattr(made, "args") else made[0]


@has_kept_keys
def test_kept_keys_of_references(lib: Any) -> None:
    """With FluxKVCache the references have no queries from the second evaluation on."""
    model = through("FluxKVCache", tiny_joint.model("flux2", seed=2))  # its patches stay in the network
    run = joint_case.run(lib, "flux2", tiny_joint.conditioning("flux2", *SIZES), model=model)
    run.check()
    assert [call.q.shape[2] for call in run.calls[:: len(run.maps.layers)]] == [593, 542]
    assert any("FluxKVCache" in note for note in run.maps.notes)


@has_kept_keys
def test_kept_keys_of_references_where_branches_are_evaluated_apart(lib: Any) -> None:
    """Their texts differ in length, and both attend to the keys of whichever came first."""
    model = through("FluxKVCache", tiny_joint.model("qwen", seed=2))
    positive, negative = (tiny_joint.conditioning("qwen", *SIZES, tokens=tokens, seed=tokens) for tokens in (7, 9))
    run = joint_case.run(lib, "qwen", positive, negative, model=model, options={"branches": ("cond", "uncond")})
    run.check(branches=("cond", "uncond"))
    assert len({call.q.shape[2] for call in run.calls}) == 3  # one of them with the references' queries, once


@pytest.mark.parametrize("name", ["kontext", "qwen"])
def test_steps_that_a_cache_skips_are_not_recorded(lib: Any, name: str) -> None:
    easy = {"reuse_threshold": 3.0, "start_percent": 0.0, "end_percent": 1.0, "verbose": False}
    model = through("EasyCache", tiny_joint.model(name), **easy)
    run = joint_case.run(lib, name, tiny_joint.conditioning(name, *SIZES), model=model, steps=6)
    computed = len(run.calls) // len(run.maps.layers)
    assert 2 <= computed < 6
    assert len(run.maps.recorded) == computed
    run.check({step: i for i, step in enumerate(run.maps.recorded)})
    assert any(f"the maps are of {computed} of 6 steps" in note for note in run.maps.notes)


def reusing(model: Any) -> Any:
    """A pack's cache of blocks: from the second evaluation on, the last double block's result is that of the first one."""
    kept: list[dict[str, Tensor]] = []

    def replace(given: dict[str, Any], more: dict[str, Any]) -> dict[str, Tensor]:
        odd = len(kept) % 3 == 1
        kept.append(kept[0] if odd else {k: v.clone() for k, v in more["original_block"](given).items()})
        return {k: v.clone() for k, v in kept[-1].items()}

    model = model.clone()
    model.set_model_patch_replace(replace, "dit", "double_block", 1)
    return model, kept


def test_a_step_in_which_blocks_are_reused_is_not_mixed_with_others(lib: Any) -> None:
    model, kept = reusing(tiny_joint.model("kontext"))
    positive = tiny_joint.conditioning("kontext", *SIZES)
    plain = tiny_joint.sample("kontext", model, positive, steps=3)
    kept.clear()
    recorded, recording = lib.record.attach(model, lib.record.Options())
    assert torch.equal(tiny_joint.sample("kontext", recorded, positive, steps=3), plain)
    maps = recording.maps_of(plain)
    assert maps.recorded == (0, 2)
    assert [x.name for x in maps.layers] == list(tiny_joint.FAMILIES["kontext"].layers)
    assert any("the maps are of 2 of 3 steps" in note for note in maps.notes)


def test_blocks_that_are_never_seen_are_named(lib: Any) -> None:
    model = tiny_joint.model("qwen").clone()
    model.set_model_patch_replace(lambda given, _more: {"img": given["img"], "txt": given["txt"]}, "dit", "double_block", 1)
    run = joint_case.run(lib, "qwen", tiny_joint.conditioning("qwen", (4, 4)), model=model)
    assert [x.name for x in run.maps.layers] == ["double.0", "double.2"]
    assert any("1 of 3 blocks were not observed" in n and n.endswith("double.1") for n in run.maps.notes)


def test_blocks_that_share_a_name_are_refused(lib: Any) -> None:
    """As a cache does that runs all blocks in the place of the first one."""

    def twice(given: dict[str, Any], more: dict[str, Any]) -> dict[str, Tensor]:
        out: dict[str, Tensor] = more["original_block"](given)
        return more["original_block"]({**given, **out})

    model = tiny_joint.model("kontext").clone()
    model.set_model_patch_replace(twice, "dit", "double_block", 1)
    recorded, _ = lib.record.attach(model, lib.record.Options())
    with pytest.raises(lib.errors.LayoutError, match=r"'double\.1' attended twice in one evaluation.*switch it off"):
        tiny_joint.sample("kontext", recorded, tiny_joint.conditioning("kontext", (4, 4)))


def test_kernels_that_cannot_be_seen_are_refused_in_the_first_step(lib: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subclass of the host's network whose blocks attend without the host's function, as Nunchaku's."""
    import comfy.ldm.flux.math

    network = tiny_joint.model("kontext").model.diffusion_model

    def own(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    monkeypatch.setattr(comfy.ldm.flux.math, "optimized_attention", own)
    monkeypatch.setattr(network, "__class__", type("OwnFlux", (type(network),), {"__module__": "pack.fast"}))
    model, recording = lib.record.attach(tiny_joint.model("kontext"), lib.record.Options())
    with pytest.raises(lib.errors.RecordingError, match=r"none of the 4 blocks of this OwnFlux \(of pack\.fast\) was seen"):
        tiny_joint.sample("kontext", model, tiny_joint.conditioning("kontext", (4, 4)))
    with pytest.raises(lib.errors.RecordingError, match="did not end"):
        recording.maps_of(torch.zeros(1, 16, 6, 5))


def test_a_network_of_another_pack_is_said_to_be_one(lib: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_joint.model("kontext").model.diffusion_model
    monkeypatch.setattr(network, "__class__", type("OtherFlux", (type(network),), {"__module__": "pack.other"}))
    run = joint_case.run(lib, "kontext", tiny_joint.conditioning("kontext", (4, 4)))
    run.check()
    assert any("OtherFlux of another pack, derived from ComfyUI's Flux" in note for note in run.maps.notes)
    monkeypatch.setattr(network, "__class__", type("Fast", (type(network),), {"__module__": "ComfyUI-nunchaku.models"}))
    with pytest.raises(lib.errors.RecordingError, match=r"Fast \(of ComfyUI-nunchaku\.models\): it computes attention with"):
        lib.record.attach(tiny_joint.model("kontext"), lib.record.Options())


def adding(which: str) -> Any:
    """A model whose text, or picture, another pack makes three tokens longer, at the front."""
    model = tiny_joint.model("kontext").clone()

    def longer(given: dict[str, Any]) -> dict[str, Any]:
        more = {key: given[key][:, :3] for key in (which, f"{which}_ids")}
        return {**given, **{key: torch.cat([tokens, given[key]], 1) for key, tokens in more.items()}}

    model.set_model_post_input_patch(longer)
    return model


def test_tokens_that_another_pack_adds_to_the_text_are_text(lib: Any) -> None:
    """As the host's own node for USO does."""
    run = joint_case.run(lib, "kontext", tiny_joint.conditioning("kontext", *SIZES), model=adding("txt"))
    run.text["cond"] += 3
    run.check()
    assert any(note.startswith("another node adds 3 tokens to the text") for note in run.maps.notes)


def test_tokens_that_another_pack_adds_to_the_picture_are_refused(lib: Any) -> None:
    recorded, _ = lib.record.attach(adding("img"), lib.record.Options())
    with pytest.raises(lib.errors.LayoutError, match=r"'double\.0' was called with 23 queries and 23 keys.*make 20: text 7"):
        tiny_joint.sample("kontext", recorded, tiny_joint.conditioning("kontext", (4, 4)))


def test_with_a_lora(lib: Any) -> None:
    model = tiny_joint.model("kontext", seed=1)  # a network of this test alone: the LoRA stays in it
    positive = tiny_joint.conditioning("kontext", *SIZES)
    plain = tiny_joint.sample("kontext", model, positive)
    model = model.clone()
    key = "diffusion_model.double_blocks.0.img_attn.qkv.weight"
    shape = model.model.diffusion_model.double_blocks[0].img_attn.qkv.weight.shape
    model.add_patches({key: ("diff", (torch.randn(shape, generator=torch.Generator().manual_seed(1)),))}, 0.3)
    run = joint_case.run(lib, "kontext", positive, model=model)
    run.check()
    assert not torch.equal(run.latent, plain)
    assert run.maps.run.extra["patches"] == "diff 0.3 on 1 weights"


@pytest.mark.parametrize("name", ["kontext", "qwen"])
def test_weights_in_fp8_are_cast(lib: Any, name: str) -> None:
    """The host casts them to the type that it computes in."""
    model = tiny_joint.model(name, dtype=torch.float8_e4m3fn)
    weight = next(p for p in model.model.diffusion_model.parameters() if p.dim() == 2)
    assert weight.dtype == torch.float8_e4m3fn
    joint_case.run(lib, name, tiny_joint.conditioning(name, *SIZES), model=model).check()


def test_guidance_that_skips_layers_is_no_part_of_the_maps(lib: Any) -> None:
    """It evaluates cond once more in each step, with blocks left out."""
    skipping = {"double_layers": "1", "single_layers": "0", "scale": 3.0, "start_percent": 0.0, "end_percent": 1.0}
    model = through("SkipLayerGuidanceDiT", tiny_joint.model("kontext"), **skipping)
    positive, negative = (tiny_joint.conditioning("kontext", *SIZES, seed=seed) for seed in (10, 20))
    run = joint_case.run(lib, "kontext", positive, negative, model=model)
    blocks = len(run.maps.layers)
    assert len(run.calls) == 2 * (blocks + blocks - 2)
    run.calls[:] = [call for call in run.calls if len(call.conditionings) == 2]
    run.check()
    assert run.maps.notes == ()


def test_a_compiled_network(lib: Any) -> None:
    """As the host's node TorchCompileModel makes it, before and after I²AM Record, with a backend that needs no compiler."""
    model, positive = tiny_joint.model("qwen"), tiny_joint.conditioning("qwen", *SIZES)
    plain = tiny_joint.sample("qwen", model, positive)

    def compiled(model: Any) -> Any:
        model = model.clone()
        set_torch_compile_wrapper(model=model, backend="eager")
        return model

    before, first = lib.record.attach(compiled(model), lib.record.Options())
    after, second = lib.record.attach(model, lib.record.Options())
    for used, recording in ((before, first), (compiled(after), second)):
        assert torch.equal(tiny_joint.sample("qwen", used, positive), plain)
        assert "this MODEL is compiled" in " ".join(recording.maps_of(plain).notes)
