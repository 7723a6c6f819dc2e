"""USO: a style picture's tokens before the text, which a patch of the MODEL adds in every evaluation."""

from __future__ import annotations

from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy_extras.nodes_model_patch as extra
import pytest
import torch
from host_tests import joint_case, tiny_joint
from host_tests.cut_case import Lib as CutLib
from host_tests.graph_bench import library
from host_tests.joint_spy import JointSpy
from host_tests.test_cut_joint import close, truth_of
from host_tests.test_joint_redux import given as with_redux
from torch import Tensor

WORDS, SIZE, AHEAD = 7, (5, 6), 12
UXO = {"reference_latents_method": "uxo"}
MADE = 9
"""Generated tokens."""


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return joint_case.Lib(pack)


@pytest.fixture(scope="module")
def cuts(pack: ModuleType) -> Any:
    return CutLib(pack)


@cache
def projector(tokens: int = 4) -> Any:
    """The host's own, with random weights: so many tokens of each of three layers of the vision encoder."""
    network = extra.SigLIPMultiFeatProjModel(9, tokens, 6, tiny_joint.FLUX["hidden_size"], operations=torch.nn)
    source = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=source) / weight.shape[-1] ** 0.5)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=torch.device("cpu"))


def vision(seed: int) -> Any:
    """What CLIP Vision Encode gives of a random picture."""
    every = torch.randn(1, 27, 9, 6, generator=torch.Generator().manual_seed(seed))
    return SimpleNamespace(all_hidden_states=every, penultimate_hidden_states=every[:, -2])


def styled(model: Any, *seeds: int, tokens: int = 4) -> Any:
    """As the host's Apply USO Style Reference leaves it."""
    for seed in seeds:
        (model,) = extra.USOStyleReference().apply_patch(model, projector(tokens), vision(seed))
    return model


def record(lib: Any, model: Any, positive: Any, negative: Any = None, **how: Any) -> tuple[Any, list[Any]]:
    """The maps of a run that is, to the last bit, the one that is not recorded, and what a spy saw of it."""
    branches = ("cond",) if negative is None else ("cond", "uncond")
    options = lib.record.Options(**joint_case.FULL, pairwise="heads", groups=50, branches=branches)
    how = {"size": SIZE, **how}
    plain = tiny_joint.sample("kontext", model, positive, negative, **how)
    spy = JointSpy()
    recorded, recording = lib.record.attach(spy.attach(model), options)
    latent = tiny_joint.sample("kontext", recorded, positive, negative, **how)
    assert torch.equal(latent, plain)
    return recording.maps_of(latent), spy.calls


def check(maps: Any, calls: list[Any], start: int, kept: list[list[int]], branch: str = "cond") -> None:
    """The maps are those of the attention that the model computed in float64; tokens without places have their mass alone."""
    assert len(maps.references) == len(kept)
    for i, call in enumerate(calls):
        step = i // len(maps.layers)
        for r, keys in enumerate(kept):
            want = call.weights()[:, :, start : start + MADE, keys]
            got = maps.marginal("mass", call.layer, branch, r)[:, step].double()
            assert torch.allclose(got, want.sum(-1), atol=3e-6), (call.layer, r)
            if maps.references[r].grid.placed:
                got = maps.pairwise(call.layer, branch, r)[:, step].double()
                assert torch.allclose(got, want, atol=3e-6), (call.layer, r)


def span(start: int, count: int) -> list[int]:
    return list(range(start, start + count))


@pytest.mark.parametrize("latents", [(), ((4, 4),), ((4, 4), (5, 7))], ids=str)
def test_the_maps_are_of_the_attention_that_the_model_computed(lib: Any, latents: Any) -> None:
    """A style picture, alone and with subjects as reference latents."""
    positive = tiny_joint.conditioning("kontext", *latents, **UXO)
    maps, calls = record(lib, styled(tiny_joint.model("kontext"), 3), positive)
    start, kept = AHEAD + WORDS, [span(0, AHEAD)]
    end = start + MADE
    for size in latents:
        rows, columns = tiny_joint.FAMILIES["kontext"].tokens(size)
        kept.append(span(end, rows * columns))
        end += rows * columns
    check(maps, calls, start, kept)
    first = maps.references[0]
    assert (first.grid.rows, first.grid.columns, first.grid.leading) == (0, 0, AHEAD)
    assert first.name == ("reference 1" if latents else "reference")
    assert sorted(maps.thumbnails) == [f"reference {i}" for i in range(2, 2 + len(latents))]
    assert not any("another node" in note for note in maps.notes)
    assert ("cond", WORDS) in maps.layers[0].words


def test_what_is_style_moves_exactly_its_keys(lib: Any) -> None:
    def first(seed: int) -> Tensor:
        spy = JointSpy()
        model = spy.attach(styled(tiny_joint.model("kontext"), seed))
        tiny_joint.sample("kontext", model, tiny_joint.conditioning("kontext", (4, 4), **UXO), size=SIZE, steps=1)
        return spy.calls[0].k[0].transpose(0, 1).flatten(1)

    moved = (first(3) - first(4)).abs().amax(1) > 0
    assert moved.nonzero()[:, 0].tolist() == span(0, AHEAD)


def test_several_style_pictures_and_both_branches(lib: Any) -> None:
    """The one that was added last comes first; both branches of guidance see them (in two calls: the host fails at one)."""
    model = styled(styled(tiny_joint.model("kontext"), 3), 4, tokens=2)
    positive, negative = tiny_joint.conditioning("kontext"), tiny_joint.conditioning("kontext", seed=30, tokens=WORDS + 4)
    maps, calls = record(lib, model, positive, negative)
    for branch, words in (("cond", WORDS), ("uncond", WORDS + 4)):
        start = 6 + AHEAD + words
        own = [call for call in calls if call.k.shape[2] == start + MADE]
        assert len(own) == 2 * 4
        check(maps, own, start, [span(0, 6), span(6, AHEAD)], branch)
    assert [(r.name, r.grid.leading) for r in maps.references] == [("reference 1", 6), ("reference 2", AHEAD)]


def test_with_redux(lib: Any, pack: ModuleType) -> None:
    positive = with_redux(library(pack, "models.redux"), 3, latents=((4, 4),))
    maps, calls = record(lib, styled(tiny_joint.model("kontext"), 3), positive)
    start = AHEAD + WORDS + 9
    check(maps, calls, start, [span(0, AHEAD), span(AHEAD + WORDS, 9), span(start + MADE, 4)])


@pytest.mark.parametrize("route", ["all", "generated"])
def test_a_cut(lib: Any, cuts: Any, route: str) -> None:
    positive, base = tiny_joint.conditioning("kontext", (4, 4), **UXO), styled(tiny_joint.model("kontext"), 3)
    cut = cuts.cut(base, route=route, reference=0)
    want = truth_of(span(0, AHEAD), None if route == "all" else span(AHEAD + WORDS, MADE))
    latent = tiny_joint.sample("kontext", cut, positive, size=SIZE)
    assert close(latent, tiny_joint.sample("kontext", want.attach(base), positive, size=SIZE))
    assert not close(latent, tiny_joint.sample("kontext", base, positive, size=SIZE))
    recorded, recording = lib.record.attach(cut, lib.record.Options(**joint_case.FULL))
    maps = recording.maps_of(tiny_joint.sample("kontext", recorded, positive, size=SIZE))
    assert all(bool((maps.marginal("mass", layer.name) == 0).all()) for layer in maps.layers)


@pytest.mark.parametrize("where", ["before", "behind", "over"])
def test_with_tokens_of_unknown_place_it_is_refused(lib: Any, where: str) -> None:
    """Another patch that adds words, or that turns the text's tokens around behind USO's."""

    def longer(tokens: dict[str, Any]) -> dict[str, Any]:
        more = {key: torch.cat([tokens[key][:, :3], tokens[key]], 1) for key in ("txt", "txt_ids")}
        return {**tokens, **more}

    def turned(tokens: dict[str, Any]) -> dict[str, Any]:
        return {**tokens, "txt": tokens["txt"].flip(1)}

    model = tiny_joint.model("kontext").clone()
    if where == "before":
        model.set_model_post_input_patch(longer)
    model = styled(model, 3).clone()
    if where != "before":
        model.set_model_post_input_patch(longer if where == "behind" else turned)
    recorded, _ = lib.record.attach(model, lib.record.Options())
    says = "changes the text's tokens" if where == "over" else "adds 3 tokens to the text"
    with pytest.raises(
        lib.errors.LayoutError, match=rf"the text holds a picture's tokens \(of Redux or USO\), and another node {says}"
    ):
        tiny_joint.sample("kontext", recorded, tiny_joint.conditioning("kontext"), size=SIZE)
