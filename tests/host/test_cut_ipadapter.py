"""Cuts of IPAdapter_plus: an adapter that is cut adds nothing, and of several pictures the others are left."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import adapters, tiny
from host_tests.cut_case import Lib
from torch import Tensor

LATENT = (1, 4, 24, 16)


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return Lib(pack)


def sample(model: Any) -> Tensor:
    return tiny.sample(model, tiny.positive(77), tiny.negative(77), latent=LATENT, steps=2)


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() < 2e-4 * b.abs().max())


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Chooses which of two pictures an adapter gets."""
    both = adapters.picture("plus", 5, 2)

    def choose(*which: int) -> None:
        monkeypatch.setattr(adapters, "picture", lambda _kind, _seed, _count=1: both[list(which)])

    return choose


@pytest.mark.parametrize("scaling", ["V only", "K+V", "K+mean(V) w/ C penalty"])
@pytest.mark.parametrize("applied_last", [False, True])
def test_a_cut_adapter_is_as_good_as_none(lib: Any, scaling: str, applied_last: bool) -> None:
    plain = tiny.model(shape="sd15")
    if applied_last:
        cut = adapters.apply(lib.cut(plain), embeds_scaling=scaling)
    else:
        cut = lib.cut(adapters.apply(plain, embeds_scaling=scaling))
    assert close(sample(cut), sample(plain))
    assert not close(sample(cut), sample(adapters.apply(plain, embeds_scaling=scaling)))


def test_of_two_pictures_the_other_is_left(lib: Any, pictures: Any) -> None:
    base = tiny.model(shape="sd15")
    pictures(0, 1)
    both = adapters.apply(base, "plus", pictures=2)
    for which in (0, 1):
        pictures(1 - which)
        other = adapters.apply(base, "plus")
        assert close(sample(lib.cut(both, reference=which)), sample(other))
    assert close(sample(lib.cut(both, what="all references")), sample(base))


def test_of_two_adapters_the_other_is_left(lib: Any) -> None:
    base = tiny.model(shape="sd15")
    one, two = adapters.apply(base, seed=5), adapters.apply(base, "plus", seed=6)
    both = adapters.apply(adapters.apply(base, seed=5), "plus", seed=6)
    assert close(sample(lib.cut(both, reference=1)), sample(one))
    assert close(sample(lib.cut(both, reference=0)), sample(two))


@pytest.mark.parametrize("first", ["record", "cut"])
def test_the_recorded_maps_are_those_of_the_cut_run(lib: Any, first: str) -> None:
    base = adapters.apply(tiny.model(shape="sd15"), "full", seed=5)
    options = lib.record.Options(pairwise="heads")
    heads = {"heads": (0, 2)}
    if first == "record":
        recorded, recording = lib.record.attach(base, options)
        used = lib.cut(recorded, **heads)
    else:
        used, recording = lib.record.attach(lib.cut(base, **heads), options)
    latent = sample(used)
    assert torch.equal(latent, sample(lib.cut(base, **heads)))
    maps = recording.maps_of(latent)
    assert [x.name for x in maps.layers] == adapters.LAYERS
    for layer in maps.layers:
        g2r = maps.marginal("g2r", layer.name)  # (images, bins, heads, tokens)
        assert not g2r[:, :, [0, 2]].any(), "exactly nothing"
        assert torch.allclose(g2r[:, :, [1, 3]].sum(-1), torch.ones(()), atol=1e-5)


def test_words_of_the_text_beside_an_adapter(lib: Any) -> None:
    """The pack replaces that attention, so the text can only be cut alike in all branches."""
    base = adapters.apply(tiny.model(shape="sd15"))
    words = {"what": "text", "tokens": (3, 4)}
    layers = ("output.4.1.0",)
    with pytest.raises(lib.errors.LayoutError, match=r"another pack replaces the attention.*set branch to both"):
        sample(lib.cut(base, layers=layers, **words))
    cut = sample(lib.cut(base, layers=layers, branches=("cond", "uncond"), **words))
    assert not close(cut, sample(base))
