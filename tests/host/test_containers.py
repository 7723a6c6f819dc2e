"""Newer hosts hand attention its tensors in containers, and keep kernels that a checkpoint prefers: both stay as they are."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import tiny
from host_tests.containers import OVERRIDE, Counted, Newer, Preferred, coarse, holders, plain, spoiling, wrapped
from torch import Tensor

LAYERS = ["input.1.1.0", "input.3.1.0", "middle.0.1.0", "output.0.1.0", "output.1.1.0", "output.2.1.0", "output.3.1.0"]
PREFER = ("input_blocks.1.1.transformer_blocks.0.attn1", "middle_block.1.transformer_blocks.0.attn2", "output_blocks.2.")


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Newer:
    made = Newer(monkeypatch)
    made.install(wrapped(plain))
    return made


@dataclass
class Host:
    """A model, and how to record it."""

    attach: Callable[[Any], Any]
    seed: int = 3700  # of a network that no other test uses

    def model(self) -> Any:
        return tiny.model(self.seed)

    def prefer(self, function: Callable[..., Any] | None) -> None:
        """Put a kernel beside some attentions of the network, and none beside the others."""
        for name, attention in holders(self.model().model.diffusion_model):
            attention.comfy_attention = Preferred(function if any(part in name for part in PREFER) else None)


@pytest.fixture
def recorded(pack: ModuleType) -> Host:
    host = importlib.import_module(f"{pack.__name__}.i2am.hosts.comfy.record")
    layout = importlib.import_module(f"{pack.__name__}.i2am.geometry.layout")
    options = host.Options(layout=layout.Layout.of(layout.TokenGrid(3, 4)), pairwise="heads", groups=2)
    made = Host(lambda model: host.attach(model, options))
    made.prefer(None)
    return made


def sample(model: Any) -> Tensor:
    return tiny.sample(model, tiny.positive(), tiny.negative(), steps=2)


def check(newer: Newer, host: Host, patched: Callable[[Any], Any] = lambda model: model, *counted: Counted) -> Any:
    """Record before and after another pack's patch: the same latent, the same calls, and the maps of what was attended."""
    latent = sample(patched(host.model()))
    once = [counter.calls for counter in counted]
    for before in (True, False):
        if before:
            model, recording = host.attach(patched(host.model()))
        else:
            model, recording = host.attach(host.model())
            model = patched(model)
        calls = [counter.calls for counter in counted]
        newer.seen.clear()
        assert torch.equal(sample(model), latent)
        assert [counter.calls - n for counter, n in zip(counted, calls, strict=True)] == once
        maps = recording.maps_of(latent)
        assert [layer.name for layer in maps.layers] == LAYERS
        assert len(newer.seen) == 2 * len(LAYERS)
        for i, (q, k) in enumerate(newer.seen):
            step, layer = divmod(i, len(LAYERS))
            q, k = (t.double().unflatten(2, (4, -1)).transpose(1, 2) for t in (q, k))
            weights = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1)
            assert torch.allclose(maps.pairwise(LAYERS[layer])[:, step].double(), weights[1:], atol=2e-6)  # uncond is first
    return latent, once


def test_containers_are_seen_and_left(newer: Newer, recorded: Host) -> None:
    check(newer, recorded)


@pytest.mark.parametrize("spoils", [False, True])
def test_the_hosts_own_kernel_of_containers_still_runs(newer: Newer, recorded: Host, spoils: bool) -> None:
    counter = Counted(spoiling(coarse) if spoils else coarse)
    usual = sample(recorded.model())
    if spoils:
        newer.install(wrapped(plain, counter))
    else:
        newer.install(wrapped(counter))
    latent, once = check(newer, recorded, lambda model: model, counter)
    assert not torch.equal(latent, usual)
    assert once == [2 * 2 * len(LAYERS)]  # steps, self- and cross-attention


@pytest.mark.parametrize("spoils", [False, True])
def test_a_preferred_kernel_still_runs(newer: Newer, recorded: Host, spoils: bool) -> None:
    counter = Counted(spoiling(coarse) if spoils else coarse)
    usual = sample(recorded.model())
    recorded.prefer(wrapped(plain, counter) if spoils else wrapped(counter))
    latent, once = check(newer, recorded, lambda model: model, counter)
    assert not torch.equal(latent, usual)
    assert once == [2 * 4]  # steps, attentions
    recorded.prefer(None)
    assert torch.equal(sample(recorded.model()), usual)


def override_of(counter: Counted, with_containers: bool) -> Callable[..., Any]:
    """As the host's own node for a kernel assigns it, or as other packs do."""

    def override(_function: Any, *args: Any, **kwargs: Any) -> Any:
        return counter(*args, **kwargs)

    if with_containers:
        override.container_function = spoiling(counter)  # type: ignore[attr-defined]
    return override


@pytest.mark.parametrize("with_containers", [False, True])
def test_another_packs_override_runs_as_without_us(newer: Newer, recorded: Host, with_containers: bool) -> None:
    """Where there is one, the host itself leaves preferred kernels out."""
    other, preferred = Counted(coarse), Counted(plain)
    recorded.prefer(wrapped(preferred))
    override = override_of(other, with_containers)

    def patched(model: Any) -> Any:
        model = model.clone()
        model.model_options["transformer_options"][OVERRIDE] = override
        return model

    _, once = check(newer, recorded, patched, other, preferred)
    assert once == [2 * 2 * len(LAYERS), 0]


def test_a_replaced_self_attention_has_no_preferred_kernel(newer: Newer, recorded: Host) -> None:
    """It may call the host's attention itself, with the options that it was given."""
    import comfy.ldm.modules.attention as host

    preferred = Counted(coarse)
    recorded.prefer(wrapped(preferred))

    def replace(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        return host.optimized_attention(q, k, v, options["n_heads"], transformer_options=options)

    def patched(model: Any) -> Any:
        model = model.clone()
        model.set_model_attn1_replace(replace, "input", 1)
        return model

    _, once = check(newer, recorded, patched, preferred)
    assert once == [2 * 3]


def test_kernels_are_looked_up_once_and_read_at_each_call(newer: Newer, recorded: Host, pack: ModuleType) -> None:
    kernels = importlib.import_module(f"{pack.__name__}.i2am.hosts.comfy.kernels")
    network = recorded.model().model.diffusion_model
    found = kernels.Kernels.of(network)
    place = {"block": ("middle", 0), "block_index": 0}
    found.expect("attn2", place)
    assert found.take() is None
    for name, attention in holders(network):
        if name.startswith("middle_block") and name.endswith("attn2"):
            attention.comfy_attention.function = plain
    found.expect("attn2", place)
    assert found.take() is plain
    assert found.take() is None  # for one call
    found.expect("attn2", {"block": ("beside", 0), "block_index": 0})
    assert found.take() is None
    found.expect("attn2", {})
    assert found.take() is None
