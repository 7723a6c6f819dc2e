"""Recording beside the host's own model patches: nothing changes, and what they evaluate again is not recorded."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import comfy.samplers
import pytest
import torch
from host_tests import tiny

import nodes

LAYOUT = (3, 4)
PATCHES: dict[str, dict[str, Any]] = {
    "FreeU_V2": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
    "HyperTile": {"tile_size": 64, "swap_size": 2, "max_depth": 0, "scale_depth": False},
    "TomePatchModel": {"ratio": 0.3},
    "SelfAttentionGuidance": {"scale": 0.5, "blur_sigma": 2.0},
    "PerturbedAttentionGuidance": {"scale": 3.0},
    "RescaleCFG": {"multiplier": 0.7},
}


def patched(name: str, model: Any) -> Any:
    """The model after one of the host's own nodes, old style or new."""
    node = nodes.NODE_CLASS_MAPPINGS[name]
    run = getattr(node, "execute", None)
    if run is not None:
        made = run(model=model, **PATCHES[name])
        return getattr(made, "result", made)[0]
    return getattr(node(), node.FUNCTION)(model=model, **PATCHES[name])[0]


@pytest.fixture(scope="module")
def attach(pack: ModuleType) -> Any:
    host = importlib.import_module(f"{pack.__name__}.i2am.hosts.comfy.record")
    layout = importlib.import_module(f"{pack.__name__}.i2am.geometry.layout")
    options = host.Options(layout=layout.Layout.of(layout.TokenGrid(*LAYOUT)))
    return lambda model: host.attach(model, options)


def sample(model: Any) -> torch.Tensor:
    torch.manual_seed(0)  # token merging draws from the global generator
    return tiny.sample(model, tiny.positive(), tiny.negative(), steps=3)


@pytest.mark.parametrize("name", list(PATCHES))
def test_the_hosts_own_patches_before_and_after(name: str, attach: Any) -> None:
    plain = sample(patched(name, tiny.model()))
    assert not torch.equal(plain, sample(tiny.model())), f"{name} does nothing here, so this test could not fail"
    before, first = attach(patched(name, tiny.model()))
    assert torch.equal(plain, sample(before))
    after, second = attach(tiny.model())
    assert torch.equal(plain, sample(patched(name, after)))
    a, b = first.maps_of(plain), second.maps_of(plain)
    assert a.recorded == b.recorded == (0, 1, 2)
    for layer in a.layers:
        assert torch.equal(a.pairwise(layer.name), b.pairwise(layer.name))


@pytest.mark.parametrize("name", ["SelfAttentionGuidance", "PerturbedAttentionGuidance"])
def test_a_second_evaluation_in_a_step_is_not_recorded(name: str, attach: Any) -> None:
    """In the first step the picture is still the same, so the maps must be those of the model without the patch."""
    model, recording = attach(tiny.model())
    usual = recording.maps_of(sample(model))
    model, recording = attach(patched(name, tiny.model()))
    guided = recording.maps_of(sample(model))
    for layer in usual.layers:
        assert torch.equal(usual.marginal("g2r", layer.name)[:, 0], guided.marginal("g2r", layer.name)[:, 0])
        assert not torch.equal(usual.marginal("g2r", layer.name)[:, 2], guided.marginal("g2r", layer.name)[:, 2])


@pytest.mark.where("DualModelGuider" in nodes.NODE_CLASS_MAPPINGS)
def test_a_guider_of_two_models_is_recorded_for_the_one_that_sees_the_reference(attach: Any) -> None:
    from comfy_extras.nodes_custom_sampler import Guider_DualModel

    def made(guider: Any) -> torch.Tensor:
        guider.set_conds(tiny.positive(), tiny.negative())
        guider.set_cfg(5.0)
        noise = torch.randn(1, 4, 16, 12, generator=torch.Generator().manual_seed(1))
        sigmas = torch.tensor([10.0, 3.0, 1.0, 0.0])
        with torch.inference_mode():
            return guider.sample(noise, torch.zeros_like(noise), comfy.samplers.sampler_object("euler"), sigmas)

    model, recording = attach(tiny.model())
    latent = made(Guider_DualModel(model, tiny.model(seed=3)))
    assert torch.equal(latent, made(Guider_DualModel(tiny.model(), tiny.model(seed=3))))
    alone, usual = attach(tiny.model())
    two, one = recording.maps_of(latent), usual.maps_of(made(comfy.samplers.CFGGuider(alone)))
    assert (two.recorded, two.branches) == ((0, 1, 2), ("cond",))
    for layer in two.layers:
        a, b = (m.marginal("g2r", layer.name) for m in (two, one))
        assert torch.allclose(a[:, 0], b[:, 0], atol=1e-6)  # the same noise
        assert not torch.allclose(a[:, 2], b[:, 2], atol=1e-4)  # another model's guidance


def test_patched_weights_are_recorded_as_they_act(attach: Any) -> None:
    """As a LoRA does it: the model's weights are patched while it runs."""
    key = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"

    def lora(model: Any) -> Any:
        model = model.clone()
        weight = model.model.state_dict()[key]
        model.add_patches({key: (torch.randn(weight.shape, generator=torch.Generator().manual_seed(5)),)}, 1.0)
        return model

    base = tiny.model()  # clones of one patcher, so that the host takes the patches off again
    plain = sample(lora(base))
    model, recording = attach(lora(base))
    assert torch.equal(plain, sample(model))
    after, _ = attach(base)
    assert torch.equal(plain, sample(lora(after)))
    bare, other = attach(base)
    without = other.maps_of(sample(bare))
    layer = without.layers[0].name
    assert not torch.equal(recording.maps_of(plain).pairwise(layer), without.pairwise(layer))
