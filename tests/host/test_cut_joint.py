"""Cuts in the host's own joint models: the run is that of attention over the remaining keys in float64, and nothing else."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import comfy.model_management
import pytest
import torch
from host_tests import tiny_joint
from host_tests.cut_case import At, Lib, Truth
from host_tests.joint_case import FULL
from host_tests.joint_spy import JointSpy
from torch import Tensor

SIZES = ((4, 4), (5, 7))
TEXT = 7


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return Lib(pack)


layer_of = tiny_joint.block_of


def spans(name: str, text: int = TEXT) -> list[slice]:
    """Text, generated, reference 0, reference 1."""
    found = tiny_joint.arranged(name, text, tiny_joint.FAMILIES[name].sizes)
    return [found.words, found.generated, *found.references]


def half(size: tuple[int, int]) -> Tensor:
    """The left half of a picture of this shape."""
    return torch.cat([torch.ones(2 * size[0], size[1]), torch.zeros(2 * size[0], size[1])], 1)


def left(name: str, span: slice, size: tuple[int, int]) -> list[int]:
    """The tokens of a picture more than half of which lie in its left half."""
    rows, columns = tiny_joint.FAMILIES[name].tokens(size)
    patch = tiny_joint.FAMILIES[name].patch
    inside = [c for c in range(columns) if min(size[1] / 2, (c + 1) * patch) - c * patch > patch / 2]
    return [span.start + r * columns + c for r in range(rows) for c in inside]


def positions(*found: slice) -> list[int]:
    return [i for span in found for i in range(span.start, span.stop)]


def cases(name: str) -> dict[str, tuple[dict[str, Any], list[int], list[int] | None]]:
    """By name: the cut, the keys that go, and the queries that lose them (None: all)."""
    text, generated, one, two = spans(name)
    return {
        "a reference": ({"reference": 1}, positions(two), None),
        "all references": ({"what": "all references"}, positions(one, two), None),
        "a region of it": ({"region": half(SIZES[0])}, left(name, one, SIZES[0]), None),
        "an odd one": ({"reference": 1, "region": half(SIZES[1])}, left(name, two, SIZES[1]), None),
        "directly": ({"route": "generated"}, positions(one), positions(generated)),
        "by way of the text": ({"reference": 1, "route": "text"}, positions(two), positions(text)),
        "by way of the other": ({"route": "references"}, positions(one), positions(two)),
        "a region of the picture": (
            {"route": "generated", "where": half(tiny_joint.SIZE)},
            positions(one),
            left(name, generated, tiny_joint.SIZE),
        ),
        "the text": ({"what": "text", "route": "generated"}, positions(text), positions(generated)),
        "words": ({"what": "text", "tokens": (1, 4)}, [1, 4], None),
    }


def truth_of(keys: list[int], rows: list[int] | None, **limits: Any) -> Truth:
    def hide(at: At) -> Tensor | None:
        if any(getattr(at, name) not in allowed for name, allowed in limits.items() if name != "heads"):
            return None
        hidden = torch.zeros(at.heads, at.queries, at.keys, dtype=torch.bool)
        heads = torch.tensor(limits.get("heads", [*range(at.heads)]))
        which = torch.arange(at.queries) if rows is None else torch.tensor(rows)
        hidden[heads[:, None, None], which[:, None], torch.tensor(keys)] = True
        return hidden

    return Truth(hide, layer_of)


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() < 2e-4 * b.abs().max())


@pytest.mark.parametrize("case", cases("kontext"))
@pytest.mark.parametrize("name", ["kontext", "qwen", "omnigen2"])
def test_the_run_is_that_of_the_remaining_keys(lib: Any, name: str, case: str) -> None:
    given, keys, rows = cases(name)[case]
    positive, base = tiny_joint.conditioning(name, *SIZES), tiny_joint.model(name)
    cut = tiny_joint.sample(name, lib.cut(base, **given), positive, batch=2)
    want = tiny_joint.sample(name, truth_of(keys, rows).attach(base), positive, batch=2)
    assert close(cut, want)
    assert not close(cut, tiny_joint.sample(name, base, positive, batch=2))


@pytest.mark.parametrize("name", tiny_joint.TAKING)
def test_in_every_family(lib: Any, name: str) -> None:
    """Also where heads share keys, and where the text is filled up."""
    positive, base = tiny_joint.conditioning(name, *tiny_joint.FAMILIES[name].sizes), tiny_joint.model(name)
    _, generated, one, _ = spans(name)
    cut = tiny_joint.sample(name, lib.cut(base, route="generated", heads=(1,)), positive)
    want = truth_of(positions(one), positions(generated), heads=[1])
    assert close(cut, tiny_joint.sample(name, want.attach(base), positive))
    assert {at.layer for at in want.seen} == set(tiny_joint.FAMILIES[name].layers)
    whole = tiny_joint.sample(name, lib.cut(base), positive)
    assert close(whole, tiny_joint.sample(name, truth_of(positions(one), None).attach(base), positive))


@pytest.mark.parametrize(
    "name", [x for x in tiny_joint.TAKING if not tiny_joint.FAMILIES[x].last | tiny_joint.FAMILIES[x].fill]
)
def test_the_last_reference_cut_is_as_good_as_left_out(lib: Any, name: str) -> None:
    """The places of those before it do not depend on it, so that the effect of this cut is known."""
    first, second = (tiny_joint.latent(name, size, seed) for seed, size in enumerate(SIZES))
    base, both = tiny_joint.model(name), tiny_joint.conditioning(name, first, second)
    without = tiny_joint.sample(name, base, tiny_joint.conditioning(name, first))
    assert close(tiny_joint.sample(name, lib.cut(base, reference=1), both), without)
    assert not close(tiny_joint.sample(name, base, both), without)


LIMITS = {
    "steps": ({"steps": (1, 2)}, {"step": [1]}),
    "layers": ({"layers": ("double.*", "single.1")}, {"layer": ["double.0", "double.1", "single.1"]}),
    "heads": ({"heads": (0,)}, {"heads": [0]}),
    "cond": ({"branches": ("cond",)}, {"branch": ["cond"]}),
    "uncond": ({"branches": ("uncond",)}, {"branch": ["uncond"]}),
    "both": ({}, {}),
}


@pytest.mark.parametrize("words", [TEXT, 11], ids=["in one call", "in two calls"])
@pytest.mark.parametrize("limit", LIMITS)
def test_steps_layers_heads_and_branches(lib: Any, limit: str, words: int) -> None:
    given, limits = LIMITS[limit]
    positive = tiny_joint.conditioning("kontext", *SIZES)
    negative = tiny_joint.conditioning("kontext", *SIZES, tokens=words, seed=30)
    base = tiny_joint.model("kontext")
    keys = {words_: positions(spans("kontext", words_)[2]) for words_ in (TEXT, words)}
    total = {spans("kontext", words_)[3].stop: k for words_, k in keys.items()}

    def hide(at: At) -> Tensor | None:
        return truth_of(total[at.keys], None, **limits).hide(at)

    cut = tiny_joint.sample("kontext", lib.cut(base, **given), positive, negative, batch=2, steps=3)
    truth = Truth(hide, layer_of)
    assert close(cut, tiny_joint.sample("kontext", truth.attach(base), positive, negative, batch=2, steps=3))
    assert not close(cut, tiny_joint.sample("kontext", base, positive, negative, batch=2, steps=3))


def test_a_cut_reference_might_be_any_other(lib: Any) -> None:
    """To the last bit: nothing of it reaches the picture. Directly cut, it still comes by way of the text."""
    a, b, other = (tiny_joint.latent("kontext", (4, 4), seed) for seed in (1, 2, 3))
    pair = [tiny_joint.conditioning("kontext", a, last) for last in (b, other)]
    base = tiny_joint.model("kontext")
    whole, direct = (lib.cut(base, reference=1, **given) for given in ({}, {"route": "generated"}))
    assert torch.equal(*(tiny_joint.sample("kontext", whole, each) for each in pair))
    assert not torch.equal(*(tiny_joint.sample("kontext", direct, each) for each in pair))
    one, two = (lib.cut(direct, reference=1, route=route) for route in ("text", "references"))
    both = lib.cut(one, reference=1, route="references")
    assert not torch.equal(*(tiny_joint.sample("kontext", one, each) for each in pair))
    assert not torch.equal(*(tiny_joint.sample("kontext", two, each) for each in pair))
    assert torch.equal(*(tiny_joint.sample("kontext", both, each) for each in pair))


@pytest.mark.parametrize("name", ["kontext", "qwen"])
def test_nothing_cut_changes_no_bit(lib: Any, name: str) -> None:
    positive, base = tiny_joint.conditioning(name, *SIZES), tiny_joint.model(name)
    plain = tiny_joint.sample(name, base, positive)
    assert torch.equal(tiny_joint.sample(name, lib.cut(base, what="nothing"), positive), plain)
    with pytest.raises(lib.errors.RecordingError, match=r"nothing was cut.*never evaluated uncond.*cfg"):
        tiny_joint.sample(name, lib.cut(base, branches=("uncond",)), positive)
    lib.cut(base)
    assert torch.equal(tiny_joint.sample(name, base, positive), plain)
    late = tiny_joint.sample(name, lib.cut(base, steps=(1, 2)), positive)
    spy, unspied = JointSpy(), JointSpy()
    tiny_joint.sample(name, lib.cut(spy.attach(base), steps=(1, 2)), positive)
    tiny_joint.sample(name, unspied.attach(base), positive)
    layers = len(tiny_joint.FAMILIES[name].layers)
    assert all(torch.equal(x.q, y.q) and torch.equal(x.k, y.k) for x, y in zip(spy.calls[:layers], unspied.calls[:layers]))
    assert not torch.equal(late, plain)


def test_all_lose_it_in_one_call_with_fewer_keys(lib: Any) -> None:
    """Cheaper than the uncut run; by route it is two calls."""
    positive, base = tiny_joint.conditioning("kontext", *SIZES), tiny_joint.model("kontext")
    _, generated, one, two = spans("kontext")
    counts = {}
    for route in ("all", "generated"):
        spy = JointSpy()
        tiny_joint.sample("kontext", lib.cut(spy.attach(base), route=route), positive, steps=1)
        counts[route] = {(x.q.shape[2], x.k.shape[2]) for x in spy.calls if x.layer == "double.0"}
    n, fewer = generated.stop - generated.start, two.stop - (one.stop - one.start)
    assert counts == {"all": {(two.stop, fewer)}, "generated": {(n, fewer), (two.stop - n, two.stop)}}


@pytest.mark.parametrize("first", ["record", "cut"])
@pytest.mark.parametrize("case", ["a reference", "directly", "a region of the picture", "an odd one", "words"])
@pytest.mark.parametrize("name", ["kontext", "omnigen2"])
def test_the_recorded_maps_are_those_of_the_cut_run(lib: Any, name: str, case: str, first: str) -> None:
    """In float64, before and after Record; what is cut gets exactly nothing."""
    given, keys, rows = cases(name)[case]
    positive, base = tiny_joint.conditioning(name, *SIZES), tiny_joint.model(name)
    options = lib.record.Options(**FULL, pairwise="heads", groups=50)
    if first == "record":
        recorded, recording = lib.record.attach(base, options)
        used = lib.cut(recorded, **given)
    else:
        used, recording = lib.record.attach(lib.cut(base, **given), options)
    latent = tiny_joint.sample(name, used, positive)
    assert torch.equal(latent, tiny_joint.sample(name, lib.cut(base, **given), positive))
    maps, truth = recording.maps_of(latent), truth_of(keys, rows)
    tiny_joint.sample(name, truth.attach(base), positive)
    generated, references = spans(name)[1], spans(name)[2:]
    cut_rows = range(generated.start, generated.stop) if rows is None else rows
    gone = torch.zeros(generated.stop - generated.start, tiny_joint.arranged(name, TEXT, SIZES).keys, dtype=torch.bool)
    inside = [row - generated.start for row in cut_rows if generated.start <= row < generated.stop]
    gone[torch.tensor(inside)[:, None], torch.tensor(keys)] = True
    for layer in maps.layers:
        for r, span in enumerate(references):
            got = maps.pairwise(layer.name, "cond", r)
            assert not got[..., gone[:, span]].any(), "exactly nothing"
            assert bool((got[..., ~gone[:, span]] > 0).all())
            want = truth.weights[0, layer.name][:, :, generated, span]
            assert torch.allclose(got[:, 0].double(), want, atol=3e-6)
    assert any(note.startswith("an intervention: Cut: ") for note in maps.notes)


@pytest.mark.parametrize("first", ["record", "cut"])
@pytest.mark.parametrize("route", ["text", "generated"])
@pytest.mark.parametrize("name", ["kontext", "qwen", "omnigen2"])
def test_a_route_that_is_cut_is_0_and_the_others_are_not(lib: Any, name: str, route: str, first: str) -> None:
    positive, base = tiny_joint.conditioning(name, *SIZES), tiny_joint.model(name)
    options = lib.record.Options(**FULL)
    if first == "record":
        recorded, recording = lib.record.attach(base, options)
        used = lib.cut(recorded, reference=1, route=route)
    else:
        used, recording = lib.record.attach(lib.cut(base, reference=1, route=route), options)
    maps = recording.maps_of(tiny_joint.sample(name, used, positive))
    for layer in maps.layers:
        assert layer.words == (("cond", TEXT),)
        for reference in (0, 1):
            for way, kind in (("generated", "mass"), ("text", "via_text")):
                values = maps.marginal(kind, layer.name, "cond", reference)
                is_cut = reference == 1 and way == route
                assert bool((values == 0).all()) == is_cut
                assert bool((values > 0).all()) != is_cut


@pytest.mark.parametrize("sampler", ["heun", "euler_ancestral"])
def test_other_samplers(lib: Any, sampler: str) -> None:
    positive, base = tiny_joint.conditioning("kontext", *SIZES), tiny_joint.model("kontext")
    keys = positions(spans("kontext")[2])
    cut = tiny_joint.sample("kontext", lib.cut(base), positive, sampler=sampler, steps=3)
    assert close(cut, tiny_joint.sample("kontext", truth_of(keys, None).attach(base), positive, sampler=sampler, steps=3))


def test_an_interrupt_leaves_the_model_clean(lib: Any) -> None:
    positive, base = tiny_joint.conditioning("kontext", *SIZES), tiny_joint.model("kontext")
    plain, cut = tiny_joint.sample("kontext", base, positive), lib.cut(base)
    whole = tiny_joint.sample("kontext", cut, positive)

    def interrupt(*_: Any) -> None:
        raise comfy.model_management.InterruptProcessingException

    broken = lib.cut(base)
    broken.model_options["sampler_post_cfg_function"] = [interrupt]
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        tiny_joint.sample("kontext", broken, positive)
    assert torch.equal(tiny_joint.sample("kontext", base, positive), plain)
    assert torch.equal(tiny_joint.sample("kontext", cut, positive), whole)


BAD = [
    ({"reference": 2}, {}, r"reference number 2 is to be cut, but the run has 2: number 0 is reference 1, 1 is reference 2"),
    ({"heads": (2,)}, {}, "head 2 is to be cut, but the layer has 2"),
    ({"what": "text", "tokens": (7,)}, {}, "token 7 of the text is to be cut, but the text has 7 tokens"),
    ({"steps": (1, 5)}, {}, r"steps 1:5 are to be cut, but this sampler's run has 2.*at most 1:2"),
    ({"region": torch.ones(4, 40)}, {}, r"the region is 40 x 4 pixels, but reference 1 is 32 x 32; paint it on that picture"),
    ({}, {"references": ()}, "no reference latent"),
]


@pytest.mark.parametrize(("given", "graph", "says"), BAD)
def test_what_is_not_there_is_refused(lib: Any, given: dict[str, Any], graph: dict[str, Any], says: str) -> None:
    base = tiny_joint.model("kontext")
    with pytest.raises(lib.errors.I2AMError, match=says):
        tiny_joint.sample(
            "kontext", lib.cut(base, **given), tiny_joint.conditioning("kontext", *graph.get("references", SIZES))
        )
    with pytest.raises(lib.errors.RecordingError, match=r"no layer of this MODEL matches 'output\.\*'"):
        lib.cut(base, layers=("output.*",))
