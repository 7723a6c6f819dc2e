"""Routes: each reference's share directly and via text, exact and adding up to 1; the same as maps of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import statement
import torch
from filled_maps import example
from joint_run import PICTURE, JointRun, flux_like
from text_route import PICTURE_ALONE, lacking, planted, stated
from torch import Tensor

from i2am.errors import UnavailableError
from i2am.geometry.layout import TokenGrid
from i2am.geometry.sequence import Sequence, generated, other, reference, text
from i2am.levels.choice import Choice
from i2am.levels.marginal import hlam, level_of, llam, tlam, ulam
from i2am.levels.share import DIRECT, has_routes, mean_shares, routes, routes_of
from i2am.maps.facts import Facts
from i2am.maps.value import AttributionMaps

TWO_TEXTS = Sequence.of(
    text(3, "prompt"), other(4, "filled up"), generated(PICTURE), text(2, "words seen"), reference(TokenGrid(3, 3), "shirt")
)


def by_layer(run: JointRun, layer: str) -> tuple[Tensor, Tensor, Tensor]:
    """The first image's direct and via text, (references, N), and via text on the first reference, by hand."""
    sequence = run.sequences["cond"]
    steps = []
    for step in range(run.steps):
        q, k = run.calls[layer, "cond", step]
        steps.append(stated(sequence, statement.logits(q, k, run.scale)))
    direct, via = (
        torch.stack([torch.stack([one[kind][i][0].mean(0) for one in steps]).mean(0) for i in range(len(sequence.references))])
        for kind in ("direct", "via")
    )
    return direct, via, torch.stack([one["on_reference"][0][0] for one in steps]).mean(0)


@pytest.mark.parametrize("sequence", [flux_like(7), TWO_TEXTS], ids=["two references", "two texts"])
def test_routes_are_exact_and_add_up_to_1(sequence: Sequence) -> None:
    run = JointRun({"cond": sequence})
    maps = run.record()
    names = [span.name for span in sequence.references]
    for layer in run.layers:
        heat = routes(maps, Choice(layers=layer))
        direct, via, _ = by_layer(run, layer)
        ways = [f"{name} {way}" for name in names for way in ("directly", "via text")]
        others = ["filled up", "generated"] if any(span.role == "other" for span in sequence.rest) else ["generated"]
        assert list(heat.labels) == [*ways, "the text itself", *others]
        for i in range(len(names)):
            for at, expected in ((2 * i, direct[i]), (2 * i + 1, via[i])):
                torch.testing.assert_close(heat.values[at].flatten().double(), expected, rtol=2e-5, atol=1e-7)
        torch.testing.assert_close(heat.values.sum(0), torch.ones(6, 4))
        assert DIRECT not in heat.notes
        assert any(note.startswith("one hop") for note in heat.notes)


def test_the_maps_of_one_reference_are_the_panels_of_routes() -> None:
    maps = JointRun({"cond": flux_like(7)}, steps=4).record()
    heat = routes(maps)
    for i, name in enumerate(("shirt", "shoes")):
        choice = Choice(reference=i)
        torch.testing.assert_close(heat.values[2 * i + 1], ulam(maps, "via text", choice).values[0])
        on_reference = ulam(maps, "G2R via text", choice)
        assert on_reference.picture == "reference"
        torch.testing.assert_close(on_reference.values.sum() + sum(on_reference.unplaced), heat.values[2 * i + 1].mean())
        assert routes_of(mean_shares(heat), name)[1] == pytest.approx(float(on_reference.values.sum()), rel=1e-5)
    over_time = level_of(maps, "TLAM", "routes", groups=2)
    assert over_time.labels[:2] == ("shirt directly · steps 0–1", "shirt via text · steps 0–1")
    torch.testing.assert_close(over_time.values[[1, 7]], tlam(maps, "via text", groups=2).values)
    torch.testing.assert_close(tlam(maps, "G2R via text", groups=2).values.mean(0), ulam(maps, "G2R via text").values[0])
    assert level_of(maps, "LLAM", "routes").labels[0] == "shirt directly · double.0"
    torch.testing.assert_close(llam(maps, "G2R via text").values.mean(0), ulam(maps, "G2R via text").values[0])


def test_the_map_on_the_reference_is_that_of_both_hops() -> None:
    run = JointRun({"cond": flux_like(7)})
    heat = ulam(run.record(), "G2R via text", Choice(layers="double.0"))
    torch.testing.assert_close(heat.values[0].flatten().double(), by_layer(run, "double.0")[2], rtol=2e-5, atol=1e-8)


def test_heads_of_the_first_hop_can_be_chosen_those_of_the_text_cannot() -> None:
    maps = JointRun({"cond": flux_like(7)}).record()
    heads = hlam(maps, "via text").values
    assert len(heads) == 3
    torch.testing.assert_close(heads.mean(0), ulam(maps, "via text").values[0])
    torch.testing.assert_close(routes(maps, Choice(heads=[1])).values[1], heads[1])
    for ask in (lambda: hlam(maps, "G2R via text"), lambda: ulam(maps, "G2R via text", Choice(heads=[1]))):
        with pytest.raises(UnavailableError, match="G2R via text is kept as its mean over heads"):
            ask()


def test_planted_ways_are_seen() -> None:
    through, direct = planted({"generated": "text", "text": "shirt"}), planted({"generated": "shirt", "text": "text"})
    assert routes_of(mean_shares(routes(through)), "shirt") == pytest.approx((0, 1), abs=1e-6)
    assert routes_of(mean_shares(routes(direct)), "shirt") == pytest.approx((1, 0), abs=1e-6)


def test_steps_that_were_kept_together_are_told() -> None:
    maps = JointRun({"cond": flux_like(7)}, steps=4).record()
    with pytest.raises(UnavailableError, match=r"maps by time group were kept \(0-2, 2-4"):
        ulam(maps, "G2R via text", Choice(steps=(0, 1)))
    assert ulam(maps, "via text", Choice(steps=(0, 1))).values.shape == (1, 6, 4)


@pytest.mark.parametrize("maps", [lacking([PICTURE_ALONE]), example()], ids=["text asks elsewhere", "no joint attention"])
def test_a_recording_without_the_route_says_why(maps: AttributionMaps) -> None:
    assert not has_routes(maps)
    with pytest.raises(UnavailableError, match="routes is unavailable"):
        routes(maps)
    for side in ("via text", "G2R via text"):
        with pytest.raises(UnavailableError, match=f"this recording has no {side}: the route via text was not recorded"):
            ulam(maps, side)


def test_layers_without_the_route_are_left_out_and_a_note_says_so() -> None:
    run = JointRun({"cond": flux_like(7)}, steps=1)
    maps = run.record()
    tensors = {key: t for key, t in maps._tensors.items() if not ("text" in key[0] and key[1] == "double.0")}
    layers = (replace(maps.layers[0], words=()), *maps.layers[1:])
    facts = {name: getattr(maps, name) for name in Facts.__dataclass_fields__}
    few = AttributionMaps(tensors, **facts | {"layers": layers})
    heat = ulam(few, "via text")
    torch.testing.assert_close(heat.values, ulam(maps, "via text", Choice(layers="single.1")).values)
    assert "layers with a single-token reference, or without this route, are left out" in heat.notes
    torch.testing.assert_close(routes(few).values, routes(maps, Choice(layers="single.1")).values)


def test_the_levels_that_are_not_refuse() -> None:
    maps = JointRun({"cond": flux_like(7)}).record()
    with pytest.raises(UnavailableError, match="routes exists as ULAM, TLAM and LLAM"):
        level_of(maps, "HLAM", "routes")
    with pytest.raises(UnavailableError, match=r"routes\(maps\) gives it"):
        ulam(maps, "routes")
