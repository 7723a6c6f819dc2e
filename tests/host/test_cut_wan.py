"""Cuts in Wan 2.1: the run is that of attention over the remaining keys in float64, and nothing at all where none is left."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import comfy.clip_vision
import pytest
import torch
from host_tests.cut_case import At, Lib, Truth
from host_tests.joint_case import FULL
from host_tests.maps_case import library
from host_tests.test_wan import EACH, FRAMES, GRID, Spy, conditioning, hidden, model, sample
from torch import Tensor

WORDS = 7
PLACED = GRID[0] * GRID[1]


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return Lib(pack)


def layer_of(options: Mapping[str, Any]) -> str | None:
    return f"double.{options['block_index']}" if "block_index" in options else None


def half(rows: int, columns: int) -> Tensor:
    """The left half of a picture."""
    return torch.cat([torch.ones(rows, columns // 2), torch.zeros(rows, columns - columns // 2)], 1)


PATCHES = [1 + r * 16 + c for r in range(16) for c in range(8)]
"""Keys of the left half of the encoder's patches."""
QUERIES = [f * PLACED + r * 3 + c for f in range(FRAMES) for r in range(3) for c in (0,)]
"""Queries in the left half of every frame: the latent is 6 cells wide, a token 2, and half of the second one is no more."""
CASES: dict[str, tuple[dict[str, Any], list[int], list[int] | None]] = {
    "all of it": ({}, [*range(EACH)], None),
    "directly": ({"route": "generated"}, [*range(EACH)], None),
    "a region of it": ({"region": half(224, 224)}, PATCHES, None),
    "in a region of the video": ({"route": "generated", "where": half(40, 48)}, [*range(EACH)], QUERIES),
    "one region in the other": (
        {"route": "generated", "where": half(40, 48), "region": half(100, 200)}, PATCHES, QUERIES,
    ),
    "the text": ({"what": "text"}, [*range(WORDS)], None),
    "words of it": ({"what": "text", "tokens": (1, 4)}, [1, 4], None),
}  # fmt: skip


def truth_of(keys: list[int], rows: list[int] | None, total: int = EACH, **limits: Any) -> Truth:
    """What hides these keys in the attentions of so many keys, where ``limits`` allow it."""

    def hide(at: At) -> Tensor | None:
        if at.keys != total or any(getattr(at, n) not in allowed for n, allowed in limits.items() if n != "heads"):
            return None
        gone = torch.zeros(at.heads, at.queries, at.keys, dtype=torch.bool)
        heads = torch.tensor(limits.get("heads", [*range(at.heads)]))
        which = torch.arange(at.queries) if rows is None else torch.tensor(rows)
        gone[heads[:, None, None], which[:, None], torch.tensor(keys)] = True
        return gone

    return Truth(hide, layer_of, is_cross=lambda _q, k, _given: k.shape[1] == total)


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() < 2e-4 * b.abs().max())


@pytest.mark.parametrize("case", CASES)
def test_the_run_is_that_of_the_remaining_keys(lib: Any, case: str) -> None:
    given, keys, rows = CASES[case]
    positive, base = conditioning(hidden()), model()
    cut = sample(lib.cut(base, **given), positive, batch=2)
    want = truth_of(keys, rows, WORDS if given.get("what") == "text" else EACH)
    assert close(cut, sample(want.attach(base), positive, batch=2))
    assert {at.layer for at in want.seen} == {"double.0", "double.1"}
    assert not close(cut, sample(base, positive, batch=2))


def test_of_two_pictures_the_other_is_left(lib: Any) -> None:
    base, positive = model(2), conditioning(hidden(2))
    for which in (0, 1):
        keys = [*range(EACH * which, EACH * (which + 1))]
        got = sample(lib.cut(base, reference=which), positive)
        assert close(got, sample(truth_of(keys, None, 2 * EACH).attach(base), positive))
        part = [EACH * which + key for key in PATCHES]
        got = sample(lib.cut(base, reference=which, region=half(32, 32)), positive)
        assert close(got, sample(truth_of(part, None, 2 * EACH).attach(base), positive))
    both = sample(lib.cut(base, what="all references"), positive)
    assert close(both, sample(truth_of([*range(2 * EACH)], None, 2 * EACH).attach(base), positive))
    one, two = (lib.cut(base, reference=which) for which in (0, 1))
    assert torch.equal(both, sample(lib.cut(one, reference=1), positive)), "two cuts act as one"
    assert not close(sample(one, positive), sample(two, positive))


def test_a_cut_picture_might_be_any_other(lib: Any) -> None:
    """To the last bit: nothing of its tokens reaches the video, whatever they are."""
    whole = lib.cut(model())
    assert torch.equal(*(sample(whole, conditioning(hidden(seed=seed))) for seed in (4, 8)))
    region = lib.cut(model(), region=half(224, 224))
    changed = hidden()
    changed[0, PATCHES] += 1
    assert torch.equal(*(sample(region, conditioning(seen)) for seen in (hidden(), changed)))
    assert not torch.equal(*(sample(region, conditioning(hidden(seed=seed))) for seed in (4, 8)))


LIMITS = {
    "steps": ({"steps": (1, 2)}, {"step": [1]}),
    "layers": ({"layers": ("*.1",)}, {"layer": ["double.1"]}),
    "heads": ({"heads": (0,)}, {"heads": [0]}),
    "cond": ({"branches": ("cond",)}, {"branch": ["cond"]}),
    "uncond": ({"branches": ("uncond",)}, {"branch": ["uncond"]}),
    "both": ({}, {}),
}


@pytest.mark.parametrize("words", [WORDS, 11], ids=["in one call", "in two calls"])
@pytest.mark.parametrize("limit", LIMITS)
def test_steps_layers_heads_and_branches(lib: Any, limit: str, words: int) -> None:
    given, limits = LIMITS[limit]
    base, positive, negative = model(), conditioning(hidden()), conditioning(hidden(), seed=20, words=words)
    cut = sample(lib.cut(base, **given), positive, negative, batch=2, steps=3)
    truth = truth_of([*range(EACH)], None, **limits)
    assert close(cut, sample(truth.attach(base), positive, negative, batch=2, steps=3))
    assert not close(cut, sample(base, positive, negative, batch=2, steps=3))


def test_nothing_cut_changes_no_bit(lib: Any) -> None:
    base, positive = model(), conditioning(hidden())
    plain = sample(base, positive)
    assert torch.equal(sample(lib.cut(base, what="nothing"), positive), plain)
    lib.cut(base)
    assert torch.equal(sample(base, positive), plain)
    spy, unspied = Spy(), Spy()
    late = sample(lib.cut(spy.attach(base), steps=(1, 2)), positive)
    sample(unspied.attach(base), positive)
    blocks = 2 * 3
    assert all(torch.equal(x[1], y[1]) and torch.equal(x[2], y[2]) for x, y in zip(spy.calls[:blocks], unspied.calls))
    assert not torch.equal(late, plain)
    assert len(unspied.calls) - len(spy.calls) == 2, "an attention without a key is not computed"
    with pytest.raises(lib.errors.RecordingError, match=r"nothing was cut.*never evaluated uncond.*cfg"):
        sample(lib.cut(base, branches=("uncond",)), positive)


@pytest.mark.parametrize("first", ["record", "cut"])
@pytest.mark.parametrize("case", [case for case in CASES if "what" not in CASES[case][0]])
def test_the_recorded_maps_are_those_of_the_cut_run(lib: Any, case: str, first: str) -> None:
    """In float64, frame by frame; what is cut gets exactly nothing."""
    given, keys, rows = CASES[case]
    base, positive = model(), conditioning(hidden())
    options = lib.record.Options(**FULL, pairwise="heads", groups=50)
    if first == "record":
        recorded, recording = lib.record.attach(base, options)
        used = lib.cut(recorded, **given)
    else:
        used, recording = lib.record.attach(lib.cut(base, **given), options)
    latent = sample(used, positive, batch=2)
    assert torch.equal(latent, sample(lib.cut(base, **given), positive, batch=2))
    maps, truth = recording.maps_of(latent), truth_of(keys, rows)
    sample(truth.attach(base), positive, batch=2)
    gone = torch.zeros(FRAMES * PLACED, EACH, dtype=torch.bool)
    gone[torch.tensor([*range(FRAMES * PLACED)] if rows is None else rows)[:, None], torch.tensor(keys)] = True
    by_frame = gone.unflatten(0, (FRAMES, PLACED)).repeat(2, 1, 1)[:, None].expand(-1, 2, -1, -1)
    for layer in maps.layers:
        got = maps.pairwise(layer.name, "cond", 0)
        for step in range(2):
            assert not got[:, step][by_frame].any(), "exactly nothing"
            weights = truth.weights[step, layer.name].unflatten(2, (FRAMES, PLACED)).transpose(1, 2).flatten(0, 1)
            assert torch.allclose(got[:, step].double(), weights, atol=3e-6)
    assert any(note.startswith("an intervention: Cut: ") for note in maps.notes)


@pytest.mark.parametrize("crop", ["none", "center"])
def test_regions_lie_on_the_square_that_the_encoder_saw(pack: ModuleType, crop: str) -> None:
    """The host's own preparation of a picture tells which patches a painted region reaches."""
    picture = torch.zeros(1, 120, 200, 3)
    picture[:, 30:87, 50:110] = 1
    plain = {"size": 224, "mean": [0.0] * 3, "std": [1.0] * 3}
    seen = comfy.clip_vision.clip_preprocess(picture, **plain, crop=crop == "center")[0, 0]
    patches = (seen.unflatten(0, (16, 14)).unflatten(2, (16, 14)).mean((1, 3)) > 0.5).flatten().nonzero()[:, 0]
    painted = picture[0, :, :, 0]
    grid = library(pack, "hosts.comfy.wan").layout_of_tokens(EACH).references[0].grid
    cells = library(pack, "interventions.removal").cells_in
    assert cells(painted if crop == "none" else painted[:, 40:160], grid, "it").tolist() == patches.tolist()
    assert len(patches) == 8 * (5 if crop == "none" else 8) - 1, "of one corner less than half is painted"


def test_what_cannot_be_cut_is_refused(lib: Any) -> None:
    for route in ("text", "references"):
        with pytest.raises(lib.errors.LayoutError, match=f"route is '{route}', but this MODEL is Wan.*'all' or 'generated'"):
            lib.cut(model(), route=route)
    for given, says in (
        ({"reference": 1}, "reference number 1 is to be cut, but the run has 1"),
        ({"region": torch.ones(1, 1).expand(16, 16) * (torch.arange(256).view(16, 16) == 0) * 0.4}, "less than half of each"),
        ({"heads": (5,)}, "head 5 is to be cut, but the layer has 2"),
        ({"what": "text", "tokens": (9,)}, "token 9 of the text is to be cut, but the text has 7"),
        ({"route": "generated", "where": half(48, 96)}, "the region is 96 x 48 pixels, but the generated picture is 48 x 40"),
    ):
        with pytest.raises(lib.errors.LayoutError, match=says):
            sample(lib.cut(model(), **given), conditioning(hidden()))
    with pytest.raises(lib.errors.LayoutError, match="cond conditioning has no CLIP_VISION_OUTPUT"):
        sample(lib.cut(model()), conditioning(None))


def test_what_was_cut_is_said(lib: Any) -> None:
    _, said = lib.intervene.intervene(model(), lib.intervene.CutOptions(lib.plan.Cut()))
    assert "adds nothing" in said
    assert "start image" in said
    assert "no cut" in said
