"""MiniMax H3: text, references, sound and video in one packed sequence, and each frame of the latent is an image."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import joint_case, record_graph, tiny_joint, tiny_minimax
from host_tests.cut_case import Lib as CutLib
from host_tests.graph import Graphs
from host_tests.joint_spy import JointSpy
from host_tests.test_cut_joint import truth_of
from host_tests.tiny_minimax import FRAMES, GRID, LAYERS, SIZE, SOUND, Places, audio, conditioning, keyframe, picture, video
from server import PromptServer

VIDEO = FRAMES * GRID[0] * GRID[1]
TAGS = (1, 0, 0, 0, 1, 1, 1)


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return joint_case.Lib(pack)


@pytest.fixture(scope="module")
def cuts(pack: ModuleType) -> Any:
    return CutLib(pack)


def one() -> tuple[Any, Places, list[tuple[int, int]]]:
    places = Places().then("text", 7).then("reference", 6).then("sound", 2 * SOUND).then("generated", VIDEO)
    return conditioning(picture(4, 6)), places, [(2, 3)]


def several() -> tuple[Any, Places, list[tuple[int, int]]]:
    """Two pictures, two videos, the second with its sound, a sound, and vision tokens in the text."""
    refs = picture(4, 6), picture(2, 8, seed=8), video(3, 4, 2), video(2, 2, 4, sound=3, seed=9), audio(2)
    places = Places().then("text", 1).then("vision tokens", 3).then("text", 3)
    places = places.then("reference 1", 6).then("reference 2", 4).then("reference 3", 6)
    places = places.then("sound of references", 6).then("reference 4", 4).then("sound of references", 4)
    grids = [(2, 3), (1, 4), (6, 1), (2, 2)]
    return conditioning(*refs, tags=TAGS), places.then("sound", 2 * SOUND).then("generated", VIDEO), grids


def keyframes() -> tuple[Any, Places, list[tuple[int, int]]]:
    """The first frame with sound, the last one, and a picture beside them."""
    places = Places().then("text", 7).then("reference 1", 9).then("sound of references", 4).then("reference 2", 9)
    places = places.then("reference 3", 6).then("sound", 2 * SOUND).then("generated", VIDEO)
    frames = [keyframe(0, sound=2), keyframe(4, seed=8)]
    return conditioning(picture(4, 6), minimax_keyframes=frames), places, [GRID, GRID, (2, 3)]


def uneven() -> tuple[Any, Places, list[tuple[int, int]]]:
    """The negative to `one`: a longer text."""
    places = Places().then("text", 11).then("reference", 6).then("sound", 2 * SOUND).then("generated", VIDEO)
    return conditioning(picture(4, 6, seed=30), words=11, seed=20), places, [(2, 3)]


def check(maps: Any, calls: list[Any], branch: str, places: Places, grids: list[tuple[int, int]]) -> None:
    """Maps of all pairs, shares and G2R are those of a softmax in float64, frame by frame."""
    assert [(r.grid.rows, r.grid.columns) for r in maps.references] == grids
    assert len(calls) == 2 * len(LAYERS)
    names = [name for name in places.spans if name.startswith("reference")]
    for i, call in enumerate(calls):
        step = i // len(LAYERS)
        weights = call.weights()
        assert call.layer == LAYERS[i % len(LAYERS)]
        assert weights.shape[-2:] == (places.at, places.at)
        by_frame = weights[0, :, places.spans["generated"]].unflatten(1, (FRAMES, -1)).transpose(0, 1)  # frames, heads, N, S
        for r, name in enumerate(names):
            want = by_frame[..., places.spans[name]]
            got = maps.pairwise(call.layer, branch, r)[:, step].double()
            assert torch.allclose(got, want, atol=3e-6), (call.layer, branch, name)
            mass = maps.marginal("mass", call.layer, branch, r)[:, step].double()
            assert torch.allclose(mass, want.sum(-1), atol=3e-6)
            g2r = maps.marginal("g2r", call.layer, branch, r)[:, step].double()
            assert torch.allclose(g2r, want.mean(2), atol=3e-6)
        info = next(layer for layer in maps.layers if layer.name == call.layer)
        rest = maps.marginal("rest", call.layer, branch)[:, step].double()
        for p, name in enumerate(info.rest):
            share = by_frame[..., places.spans[name]].sum(-1)
            assert torch.allclose(rest[:, ..., p, :], share if rest.ndim == 4 else share.mean(1), atol=3e-6), name


@pytest.mark.parametrize("case", [one, several, keyframes], ids=lambda case: case.__name__)
@tiny_minimax.NEEDS
def test_the_maps_are_of_the_attention_that_the_model_computed(lib: Any, case: Any) -> None:
    """In float64, of a latent of odd size; video and sound are those of the unrecorded run to the last bit."""
    positive, places, grids = case()
    plain = tiny_minimax.sample(tiny_minimax.model(), positive)
    spy = JointSpy()
    options = lib.record.Options(**joint_case.FULL, pairwise="heads", groups=50)
    recorded, recording = lib.record.attach(spy.attach(tiny_minimax.model()), options)
    latent = tiny_minimax.sample(recorded, positive)
    assert tiny_minimax.same(latent, plain)
    maps = recording.maps_of(latent)
    assert (maps.images, maps.recorded, maps.generated_size) == (FRAMES, (0, 1), (16 * SIZE[0], 16 * SIZE[1]))
    assert [(x.name, x.grid.rows, x.grid.columns) for x in maps.layers] == [(name, *GRID) for name in LAYERS]
    assert maps.layers[0].grid.rect == pytest.approx((0, 0, 1, 6 / 5))
    assert set(maps.layers[0].rest) == {name for name in places.spans if not name.startswith("reference")}
    assert len(maps.thumbnails) == len(grids)
    assert any(note.startswith("Each image of these maps is a frame of the latent") for note in maps.notes)
    check(maps, spy.calls, "cond", places, grids)


@tiny_minimax.NEEDS
def test_both_branches(lib: Any) -> None:
    """The host evaluates them one by one, with texts of two lengths."""
    (positive, places, grids), (negative, longer, _) = one(), uneven()
    spy = JointSpy()
    options = lib.record.Options(**joint_case.FULL, pairwise="heads", groups=50, branches=("cond", "uncond"))
    recorded, recording = lib.record.attach(spy.attach(tiny_minimax.model()), options)
    latent = tiny_minimax.sample(recorded, positive, negative)
    assert tiny_minimax.same(latent, tiny_minimax.sample(tiny_minimax.model(), positive, negative))
    maps = recording.maps_of(latent)
    for branch, own in (("cond", places), ("uncond", longer)):
        check(maps, [call for call in spy.calls if call.k.shape[2] == own.at], branch, own, grids)


@tiny_minimax.NEEDS
def test_a_negative_without_references(lib: Any) -> None:
    """It has nothing to record; the latent is found by its video alone too, as nodes that take the streams apart give it."""
    positive, _, _ = one()
    recorded, recording = lib.record.attach(tiny_minimax.model(), lib.record.Options())
    latent = tiny_minimax.sample(recorded, positive, conditioning(seed=20))
    maps = recording.maps_of(latent.unbind()[0])
    assert maps.branches == ("cond",)
    with pytest.raises(lib.errors.RecordingError, match="no recorded run gave this latent"):
        recording.maps_of(latent.unbind()[0] + 1)


@pytest.mark.parametrize("which", range(4))
@tiny_minimax.NEEDS
def test_a_cell_moves_exactly_its_key(which: int) -> None:
    """Of each reference in turn: a changed cell of its latent moves the key that the layout names, and no other."""
    positive, places, grids = several()
    changed, _, _ = several()
    block = changed[0][1]["minimax_refs"][which]
    frames = block["latent"].shape[2]
    frame, row, column = frames - 1, block["latent_h"] - 1, 1
    block["latent"][:, :, frame, row, column] += 3
    rows, columns = grids[which]
    token = (frame * rows // frames + row // 2) * columns + column // 2
    moved = (tiny_minimax.first_keys(changed) - tiny_minimax.first_keys(positive)).abs().amax(1) > 0
    assert moved.nonzero()[:, 0].tolist() == [places.spans[f"reference {which + 1}"][token]]


def close(one: Any, other: Any) -> bool:
    return all(torch.allclose(a, b, atol=2e-5) for a, b in zip(one.unbind(), other.unbind(), strict=True))


@pytest.mark.parametrize(
    ("cut", "gone", "blind"),
    [
        ({"reference": 1}, "reference 2", None),
        ({"reference": 3, "route": "generated"}, "reference 4", "generated"),
        ({"what": "text", "route": "generated"}, "text", "generated"),
    ],
    ids=["all", "directly", "text"],
)
@tiny_minimax.NEEDS
def test_a_cut(lib: Any, cuts: Any, cut: dict[str, Any], gone: str, blind: str | None) -> None:
    """The run is that of attention in float64 to the keys that are left; a recording above it shows none of them."""
    positive, places, _ = several()
    used = cuts.cut(tiny_minimax.model(), **cut)
    want = truth_of(places.spans[gone], None if blind is None else places.spans[blind])
    latent = tiny_minimax.sample(used, positive)
    assert close(latent, tiny_minimax.sample(want.attach(tiny_minimax.model()), positive))
    assert not close(latent, tiny_minimax.sample(tiny_minimax.model(), positive))
    recorded, recording = lib.record.attach(used, lib.record.Options(**joint_case.FULL))
    again = tiny_minimax.sample(recorded, positive)
    assert tiny_minimax.same(again, latent)
    maps = recording.maps_of(again)
    for layer in maps.layers:
        if gone == "text":
            rest = maps.marginal("rest", layer.name)
            assert bool((rest[..., layer.rest.index("text"), :] == 0).all())
        else:
            assert bool((maps.marginal("mass", layer.name, reference=cut["reference"]) == 0).all())


@tiny_minimax.NEEDS
def test_in_a_graph(lib: Any, pack: ModuleType) -> None:
    """With the latent of video and sound between the nodes, and fewer queries than there are."""
    positive, _, _ = several()
    given = {"model": tiny_minimax.model(), "positive": positive, "negative": positive, "latent": tiny_minimax.latent()}
    prompt = record_graph.graph(reference_tokens="auto")
    prompt["sampler"]["inputs"]["cfg"] = 1.0
    outcome = Graphs(PromptServer.instance)(prompt, give=given, watch=record_graph.WATCH)
    maps, latent = outcome["maps"], outcome["latent"]["samples"]
    assert len(latent.unbind()) == 2
    assert (maps.images, len(maps.references)) == (FRAMES, 4)
    assert any(note.startswith("one of each 2 × 2 generated patches was recorded, 4 of 9") for note in maps.notes)
    given["positive"] = given["negative"] = conditioning()
    error = Graphs(PromptServer.instance)(prompt, give=given, watch=record_graph.WATCH, expect_error=True).error
    assert error is not None
    assert "take the conditioning of MiniMax H3 Reference to Video" in error.message


@tiny_minimax.NEEDS
def test_a_noise_mask(lib: Any) -> None:
    """Of the video, frame by frame: G2R under the mask is that of the repainted tokens."""
    from comfy.nested_tensor import NestedTensor

    positive, places, _ = one()
    start = tiny_minimax.latent()
    mask = torch.zeros(1, 1, FRAMES, *SIZE)
    mask[:, :, 0, :, :2], mask[:, :, 1, :, 4:] = 1, 1
    start["noise_mask"] = NestedTensor((mask, torch.ones(1, 1, 2, SOUND)))
    spy = JointSpy()
    recorded, recording = lib.record.attach(spy.attach(tiny_minimax.model()), lib.record.Options(**joint_case.FULL))
    latent = tiny_minimax.sample(recorded, positive, start=start)
    assert tiny_minimax.same(latent, tiny_minimax.sample(tiny_minimax.model(), positive, start=start))
    maps = recording.maps_of(latent)
    weights = spy.calls[0].weights()[0, :, places.spans["generated"]].unflatten(1, (FRAMES, -1)).transpose(0, 1)
    columns = weights.unflatten(2, GRID)[..., places.spans["reference"]]
    got = maps.marginal("g2r_masked", LAYERS[0])[:, 0].double()
    inside = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)[:, None]  # half of the last row lies beyond the picture
    want = torch.stack([(columns[frame, :, :, column] * inside).sum(1) for frame, column in ((0, 0), (1, 2))])
    assert torch.allclose(got, want, atol=3e-6)


@tiny_minimax.NEEDS
def test_what_cannot_be_is_refused(lib: Any, cuts: Any) -> None:
    cases = [
        (conditioning(), {}, "cond conditioning has no reference latent.*of MiniMax H3 Reference to Video with a picture"),
        (conditioning(audio(2)), {}, "cond conditioning has no reference latent"),
        (conditioning(picture(5, 6)), {}, "only multiples of 2 rows and columns; encode pictures of multiples of 32 pixels"),
    ]
    for positive, options, says in cases:
        recorded, _ = lib.record.attach(tiny_minimax.model(), lib.record.Options(**options))
        with pytest.raises(lib.errors.LayoutError, match=says):
            tiny_minimax.sample(recorded, positive)
    with pytest.raises(lib.errors.RecordingError, match="no layer of this MODEL matches 'double"):
        lib.record.attach(tiny_minimax.model(), lib.record.Options(layers=("double.*",)))
    used = cuts.cut(tiny_minimax.model(), route="generated", where=torch.ones(80, 96))
    with pytest.raises(lib.errors.LayoutError, match="makes a video of 2 latent frames, of which no region can be cut"):
        tiny_minimax.sample(used, one()[0])
    used = cuts.cut(tiny_minimax.model(), reference=1)
    with pytest.raises(lib.errors.LayoutError, match="reference"):
        tiny_minimax.sample(used, one()[0])


@pytest.mark.where(not tiny_minimax.HERE)
def test_a_host_without_it_records_others(lib: Any) -> None:
    run = joint_case.run(lib, "kontext", tiny_joint.conditioning("kontext", (4, 6)), steps=1)
    assert (run.maps.images, run.maps.frames) == (1, 1)
    assert [(r.grid.rows, r.grid.columns) for r in run.maps.references] == [(2, 3)]
