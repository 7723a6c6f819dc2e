"""FLUX.1 Redux: a style model's tokens of a picture in the text, found by I²AM Mark Redux."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import joint_case, tiny_joint
from host_tests.cut_case import Lib as CutLib
from host_tests.graph import Graphs
from host_tests.graph_bench import library
from host_tests.joint_spy import JointSpy
from host_tests.record_graph import RECORD
from host_tests.test_cut_joint import close, truth_of
from host_tests.test_joint_canvas import fill, noised
from host_tests.test_joint_graph import node, plain_sampler
from host_tests.tiny_redux import TOKENS, style_model, styled, vision
from torch import Tensor

WORDS, SIZE = 7, (5, 6)


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return joint_case.Lib(pack)


@pytest.fixture(scope="module")
def cuts(pack: ModuleType) -> Any:
    return CutLib(pack)


@pytest.fixture(scope="module")
def redux(pack: ModuleType) -> Any:
    return library(pack, "models.redux")


def marked(redux: Any, conditioning: Any, seen: Any, **picture: Any) -> Any:
    """As I²AM Mark Redux leaves it."""
    with torch.no_grad():
        return redux.mark_style(conditioning, redux.style_of(style_model(), seen), **picture)


def given(redux: Any, *seeds: int, name: str = "kontext", latents: Any = (), words: int = WORDS, **how: Any) -> Any:
    """A conditioning with a picture of each seed."""
    found = tiny_joint.conditioning(name, *latents, tokens=words, seed=10 + words)
    for seed in seeds:
        found = styled(found, vision(seed), **how)
    for seed in seeds:
        found = marked(redux, found, vision(seed))
    return found


def record(lib: Any, name: str, positive: Any, negative: Any = None, parts: str = "", **how: Any) -> tuple[Any, list[Any]]:
    """The maps of a run that is, to the last bit, the one that is not recorded, and what a spy saw of it."""
    branches = ("cond",) if negative is None else ("cond", "uncond")
    options = lib.record.Options(
        **joint_case.FULL, pairwise="heads", groups=50, branches=branches, parts=lib.parts.parts_of(parts)
    )
    how = {"size": SIZE, **how}
    plain = tiny_joint.sample(name, tiny_joint.model(name), positive, negative, **how)
    spy = JointSpy()
    recorded, recording = lib.record.attach(spy.attach(tiny_joint.model(name)), options)
    latent = tiny_joint.sample(name, recorded, positive, negative, **how)
    assert torch.equal(latent, plain)
    return recording.maps_of(latent), spy.calls


def check(maps: Any, calls: list[Any], made: list[int], kept: list[list[int]], branch: str = "cond") -> None:
    """The maps are those of the attention that the model computed in float64, from what is made to each reference."""
    layers = len(maps.layers)
    assert len(maps.references) == len(kept)
    for i, call in enumerate(calls):
        for r, keys in enumerate(kept):
            got = maps.pairwise(call.layer, branch, r)[:, i // layers].double()
            want = call.weights()[:, :, torch.tensor(made)[:, None], torch.tensor(keys)]
            assert torch.allclose(got, want, atol=3e-6), (call.layer, r)


def span(start: int, count: int) -> list[int]:
    return list(range(start, start + count))


def canvas(start: int) -> tuple[list[int], list[int]]:
    """Tokens of a canvas of 3 x 6: what is made of its left half, and its right half."""
    return [start + 6 * r + c for r in (1, 2) for c in (0, 1, 2)], [start + 6 * r + c for r in (0, 1, 2) for c in (3, 4, 5)]


@pytest.mark.parametrize(("strength", "kind"), [(1.0, "multiply"), (0.3, "multiply"), (0.5, "attn_bias")])
def test_the_maps_are_of_the_attention_that_the_model_computed(lib: Any, redux: Any, strength: float, kind: str) -> None:
    """Two pictures, the strength of both kinds, on a latent of odd size; the shares add up to 1."""
    maps, calls = record(lib, "kontext", given(redux, 3, 4, strength=strength, kind=kind), batch=2)
    made = span(WORDS + 2 * TOKENS, 9)
    check(maps, calls, made, [span(WORDS, TOKENS), span(WORDS + TOKENS, TOKENS)])
    assert len(calls) == 2 * 4
    assert {call.mask is None for call in calls} == {kind == "multiply"}
    assert [(r.name, r.grid.rows, r.grid.columns) for r in maps.references] == [("reference 1", 3, 3), ("reference 2", 3, 3)]
    assert all(r.grid.rect is None for r in maps.references)
    assert ("cond", WORDS) in maps.layers[0].words
    for layer in maps.layers:
        heat = lib.share.share(maps, lib.choice.Choice(layers=layer.name))
        assert torch.allclose(heat.values.sum(0), torch.ones(()), atol=1e-5)
        through = maps.marginal("via_text", layer.name, "cond", 1).double()
        for i, call in enumerate(each for each in calls if each.layer == layer.name):
            weights = call.weights()
            reads = weights[:, :, :WORDS, WORDS + TOKENS : WORDS + 2 * TOKENS].sum(-1).mean(1)
            want = torch.einsum("bhnt,bt->bhn", weights[:, :, made, :WORDS], reads)
            assert torch.allclose(through[:, i], want, atol=3e-6)


def test_a_token_of_the_picture_moves_exactly_its_key(redux: Any) -> None:
    def first(seen: Any) -> Tensor:
        spy = JointSpy()
        positive = marked(redux, styled(tiny_joint.conditioning("kontext"), seen), seen)
        tiny_joint.sample("kontext", spy.attach(tiny_joint.model("kontext")), positive, size=SIZE, steps=1)
        return spy.calls[0].k[0].transpose(0, 1).flatten(1)

    changed = vision(3)
    changed.last_hidden_state[0, 5] += 1
    moved = (first(changed) - first(vision(3))).abs().amax(1) > 0
    assert moved.nonzero()[:, 0].tolist() == [WORDS + 5]


def test_several_pictures_in_one_clip_vision_output(lib: Any, redux: Any) -> None:
    seen = vision(5, pictures=2)
    positive = marked(redux, styled(tiny_joint.conditioning("kontext"), seen), seen)
    maps, calls = record(lib, "kontext", positive)
    check(maps, calls, span(WORDS + 2 * TOKENS, 9), [span(WORDS, TOKENS), span(WORDS + TOKENS, TOKENS)])


def test_beside_reference_latents(lib: Any, redux: Any) -> None:
    """The text's pictures come first, as their keys do."""
    maps, calls = record(lib, "kontext", given(redux, 3, latents=((4, 4), (5, 7))))
    start = WORDS + TOKENS
    check(maps, calls, span(start, 9), [span(WORDS, TOKENS), span(start + 9, 4), span(start + 13, 12)])
    assert [r.name for r in maps.references] == ["reference 1", "reference 2", "reference 3"]
    assert sorted(maps.thumbnails) == ["reference 2", "reference 3"]
    parted, calls = record(lib, "kontext", given(redux, 3, latents=((4, 4),)), parts="[[0, 0, 0.5, 1], [0.5, 0, 1, 1]]")
    check(parted, calls, span(start, 9), [span(WORDS, TOKENS), [start + 9, start + 11], [start + 10, start + 12]])


def test_fill(lib: Any, redux: Any) -> None:
    """Without and with another reference on its canvas."""
    seen = vision(3)
    positive = marked(redux, styled(fill(), seen), seen)
    maps, calls = record(lib, "fill", positive, size=(6, 12))
    check(maps, calls, span(WORDS + TOKENS, 18), [span(WORDS, TOKENS)])
    maps, calls = record(lib, "fill", positive, size=(6, 12), parts="[[0.5, 0, 1, 1]]")
    start = WORDS + TOKENS
    made, kept = canvas(start)
    check(maps, calls, made, [span(WORDS, TOKENS), kept])
    assert sorted(maps.thumbnails) == ["reference 2"]


def test_both_branches(lib: Any, redux: Any) -> None:
    """Texts of one length, of which the places of the pictures differ: each has its own maps."""
    positive, other = given(redux, 3), tiny_joint.conditioning("kontext", tokens=WORDS - 2, seed=30)
    negative = marked(redux, styled(other, vision(4)), vision(4))
    negative[0][0] = torch.cat([negative[0][0], torch.randn(1, 2, tiny_joint.WIDTH)], 1)  # as ConditioningConcat does
    maps, calls = record(lib, "kontext", positive, negative)
    made = span(WORDS + TOKENS, 9)
    for i, call in enumerate(calls):
        assert len(call.conditionings) == 2
        for branch, weights, start in zip(("uncond", "cond"), call.weights().chunk(2), (WORDS - 2, WORDS), strict=True):
            want = weights[:, :, torch.tensor(made)[:, None], torch.tensor(span(start, TOKENS))]
            assert torch.allclose(maps.pairwise(call.layer, branch, 0)[:, i // 4].double(), want, atol=3e-6)


def test_a_negative_that_is_not_marked_is_left_out(lib: Any, redux: Any) -> None:
    maps, _ = record(lib, "kontext", given(redux, 3), tiny_joint.conditioning("kontext", seed=3))
    assert maps.branches == ("cond",)


@pytest.mark.parametrize("route", ["all", "generated"])
def test_a_cut(lib: Any, cuts: Any, redux: Any, route: str) -> None:
    positive, base = given(redux, 3), tiny_joint.model("kontext")
    cut = cuts.cut(base, route=route)
    want = truth_of(span(WORDS, TOKENS), None if route == "all" else span(WORDS + TOKENS, 9))
    latent = tiny_joint.sample("kontext", cut, positive, size=SIZE)
    assert close(latent, tiny_joint.sample("kontext", want.attach(base), positive, size=SIZE))
    assert not close(latent, tiny_joint.sample("kontext", base, positive, size=SIZE))
    recorded, recording = lib.record.attach(cut, lib.record.Options(**joint_case.FULL))
    maps = recording.maps_of(tiny_joint.sample("kontext", recorded, positive, size=SIZE))
    assert all(bool((maps.marginal("mass", layer.name) == 0).all()) for layer in maps.layers)


@pytest.mark.parametrize(
    ("crop", "rect"), [("center", (0.25, 0, 0.25 + 0.5 * 42 / 44, 42 / 44)), ("none", (0, 0, 42 / 44, 42 / 44))]
)
def test_the_picture_says_where_its_tokens_lie(lib: Any, redux: Any, crop: str, rect: tuple[float, ...]) -> None:
    """Patches of 14 pixels do not cover the last 2 of 44."""
    picture = torch.rand(1, 40, 80, 3, generator=torch.Generator().manual_seed(1))
    positive = marked(redux, styled(tiny_joint.conditioning("kontext"), vision(3)), vision(3), pictures=picture, crop=crop)
    maps, _ = record(lib, "kontext", positive)
    assert maps.references[0].grid.picture == (40, 80)
    assert maps.references[0].grid.rect == pytest.approx(rect)
    assert torch.equal(maps.thumbnails["reference"], (picture[0] * 255).round().byte())
    assert "reference_pictures" not in maps.run.extra


@pytest.mark.parametrize("how", ["area", "bicubic", "nearest"])
def test_a_smaller_square_of_tokens(lib: Any, redux: Any, how: str) -> None:
    """As other packs' nodes for Redux make it, by a factor that does not divide the side; they weigh it too."""
    seen = vision(3, tokens=25)
    with torch.no_grad():
        square = style_model().get_cond(seen).transpose(1, 2).unflatten(2, (5, 5))
    small = torch.nn.functional.interpolate(square, size=(2, 2), mode=how).flatten(2).transpose(1, 2)
    ((text, about),) = tiny_joint.conditioning("kontext")
    maps, calls = record(lib, "kontext", marked(redux, [[torch.cat([text, 0.4 * small], 1), about]], seen))
    check(maps, calls, span(WORDS + 4, 9), [span(WORDS, 4)])
    assert (maps.references[0].grid.rows, maps.references[0].grid.columns) == (2, 2)


def test_tokens_without_places(lib: Any, redux: Any) -> None:
    """A number of them that is no square, nor one behind a class token."""
    seen = vision(3, tokens=7)
    maps, calls = record(lib, "kontext", marked(redux, styled(tiny_joint.conditioning("kontext"), seen), seen))
    assert (maps.references[0].grid.rows, maps.references[0].grid.leading) == (0, 7)
    mass = maps.marginal("mass", calls[0].layer, "cond", 0)[0, 0].double()
    assert torch.allclose(mass, calls[0].weights()[0][:, WORDS + 7 :, WORDS : WORDS + 7].sum(-1), atol=3e-6)


def test_what_cannot_be_is_refused(lib: Any, redux: Any) -> None:
    plain = tiny_joint.conditioning("kontext")
    ready = given(redux, 3)
    zeroed = [[torch.zeros_like(ready[0][0]), ready[0][1]]]
    for positive, name, says in (
        (styled(plain, vision(3)), "kontext", "or add I²AM Mark Redux behind Apply Style Model"),
        (zeroed, "kontext", "tokens 7 to 16 of the text were marked as a picture's, but the 16 tokens of the text are others"),
        ([[ready[0][0][:, :9], ready[0][1]]], "kontext", "but the 9 tokens of the text are others there now"),
        (marked(redux, styled(tiny_joint.conditioning("qwen"), vision(3)), vision(3)), "qwen", "use a FLUX.1 model, or leave"),
    ):
        recorded, _ = lib.record.attach(tiny_joint.model(name), lib.record.Options())
        with pytest.raises(lib.errors.LayoutError, match=says):
            tiny_joint.sample(name, recorded, positive, size=SIZE)
    for conditioning, seen, says in (
        (ready, vision(3), "this picture's tokens are marked already"),
        (plain, vision(3), "holds 7 tokens of 24 numbers, among which the 9 tokens of 24 numbers"),
        (styled(plain, vision(3)), vision(4), "holds 16 tokens of 24 numbers, among which"),
        (styled(plain, vision(3), strength=0.0), vision(3), "with a strength above 0"),
    ):
        with pytest.raises(lib.errors.LayoutError, match=says):
            marked(redux, conditioning, seen)


def test_parts_of_what_lies_in_the_text_are_refused(lib: Any, redux: Any) -> None:
    recorded, _ = lib.record.attach(
        tiny_joint.model("kontext"), lib.record.Options(parts=lib.parts.parts_of("[[0, 0, 0.5, 1]]"))
    )
    with pytest.raises(lib.errors.LayoutError, match=r"has 0 reference latents \(the pictures of FLUX.1 Redux or USO"):
        tiny_joint.sample("kontext", recorded, given(redux, 3), size=SIZE)


def test_a_mask_without_numbers_names_the_node_that_makes_it(lib: Any, redux: Any) -> None:
    """The host itself makes NaN of an attention bias of a strength of 0: the unrecorded picture is broken, too."""
    positive = given(redux, 3, strength=0.0, kind="attn_bias")
    assert not tiny_joint.sample("kontext", tiny_joint.model("kontext"), positive, size=SIZE).isfinite().all()
    recorded, _ = lib.record.attach(tiny_joint.model("kontext"), lib.record.Options())
    with pytest.raises(lib.errors.RecordingError, match=r"a call's mask hold NaN.*attn_bias with a strength of 0"):
        tiny_joint.sample("kontext", recorded, positive, size=SIZE)


def test_the_same_picture_twice(lib: Any, redux: Any) -> None:
    """Each of two marks takes the next of its places."""
    maps, calls = record(lib, "kontext", given(redux, 3, 3))
    check(maps, calls, span(WORDS + 2 * TOKENS, 9), [span(WORDS, TOKENS), span(WORDS + TOKENS, TOKENS)])


def test_a_canvas_of_a_noise_mask(lib: Any, redux: Any) -> None:
    maps, calls = record(lib, "kontext", given(redux, 3), parts="[[0.5, 0, 1, 1]]", size=(6, 12), latent=noised("kontext"))
    assert [r.name for r in maps.references] == ["reference 1", "reference 2"]
    made, kept = canvas(WORDS + TOKENS)
    check(maps, calls, made, [span(WORDS, TOKENS), kept])


def test_in_a_graph(run_graph: Graphs) -> None:
    """The host's own Apply Style Model twice, and one mark for each; the picture lies where CLIP Vision Encode saw it."""
    given = {
        "model": tiny_joint.model("kontext"),
        "prompt": tiny_joint.conditioning("kontext"),
        "style": style_model(),
        "first": vision(3),
        "second": vision(4),
        "picture": torch.rand(1, 40, 80, 3, generator=torch.Generator().manual_seed(1)),
        "latent": {"samples": torch.zeros(1, 16, *SIZE)},
    }

    def applied(kind: str, behind: str, seen: str, **more: Any) -> dict[str, Any]:
        tokens = {"style_model": ["give_style", 0], "clip_vision_output": [f"give_{seen}", 0]}
        return node(kind, conditioning=[behind, 0], **tokens, **more)

    how = {"strength": 0.7, "strength_type": "multiply"}
    graph = {
        "one": applied("StyleModelApply", "give_prompt", "first", **how),
        "two": applied("StyleModelApply", "one", "second", **how),
        "mark_two": applied("I2AM_MarkRedux", "two", "second", image=["give_picture", 0]),
        "mark_one": applied("I2AM_MarkRedux", "mark_two", "first"),
        "record": node("I2AM_Record", model=["give_model", 0], **{**RECORD, "reference_tokens": "auto", "queries": "all"}),
        **plain_sampler(["record", 0], 3),
        "collect": node("I2AM_Collect", latent=["sampler", 0], recording=["record", 1]),
    }
    graph["sampler"]["inputs"] |= {"positive": ["mark_one", 0], "negative": ["mark_one", 0]}
    maps = run_graph(graph, give=given, watch={"maps": ("collect", 1)})["maps"]
    assert [(r.name, r.grid.rows, r.grid.picture) for r in maps.references] == [
        ("reference 1", 3, None),
        ("reference 2", 3, (40, 80)),
    ]
    assert list(maps.thumbnails) == ["reference 2"]
