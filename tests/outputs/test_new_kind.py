"""A kind of map that only this test adds, by one row and its arithmetic: recorded, aggregated, filed, and shown on the page."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from report_case import PICTURES, record
from torch import Tensor
from viewer_case import Question, ask, in_browser, same

from i2am.errors import MapsFileError, UnavailableError
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.levels.choice import Choice
from i2am.levels.marginal import llam, ulam
from i2am.maps import kinds
from i2am.maps.kinds import Kind, Shown, shown_as
from i2am.maps.value import AttributionMaps
from i2am.outputs.viewer_data import viewer_data
from i2am.recording import arithmetic
from i2am.recording.planning import cost_of
from i2am.recording.recorder import Recorder

SIDE = "largest look"
ROW = Kind(
    "largest",
    along="queries",
    optional=True,
    shown=(Shown(SIDE, "generated", "The most that a patch spends on one place.", scaled=False, unit="share", notes=("new",)),),
)
ON_REFERENCE = Kind(
    "seen_from_afar",
    along="tokens",
    optional=True,
    shown=(Shown("half of G2R", "reference", "Half of what was used.", resize="bilinear"),),
)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in (ROW, ON_REFERENCE):
        monkeypatch.setitem(kinds.KINDS, row.name, row)
    monkeypatch.setitem(arithmetic.FURTHER, "largest", lambda call: call.peak_value)
    monkeypatch.setitem(arithmetic.FURTHER, "seen_from_afar", lambda call: call.g2r / 2)


def one_layer() -> tuple[AttributionMaps, Tensor]:
    """A recording of two steps, 2 x 3 queries on 2 x 2 reference tokens of five keys, and the new map worked out by hand."""
    random = torch.Generator().manual_seed(3)
    recorder = Recorder(Layout((Reference(TokenGrid(2, 2), 0),), keys=5), steps=2, generated_size=(16, 24))
    largest = []
    for step in range(2):
        q, k = torch.randn(1, 2, 6, 4, generator=random), torch.randn(1, 2, 5, 4, generator=random)
        recorder.observe("only", (2, 3), step, "cond", q, k, None, scale=0.5)
        recorder.end_step(step)
        attention = (q.double() @ k.double().transpose(2, 3) * 0.5).softmax(-1)
        largest.append(attention[..., :4].amax(-1).mean((0, 1)))
    return recorder.finish(), torch.stack(largest).mean(0).view(2, 3)


@pytest.mark.usefixtures("added")
def test_it_is_recorded_and_aggregated() -> None:
    maps, expected = one_layer()
    heat = ulam(maps, SIDE)
    torch.testing.assert_close(heat.values[0].double(), expected, rtol=1e-5, atol=1e-7)
    assert (heat.side, heat.picture, heat.notes) == (SIDE, "generated", ("new",))
    assert len(llam(maps, SIDE).labels) == 1


@pytest.mark.usefixtures("added")
def test_its_room_is_counted_in_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = one_layer()[0].layers[0]
    with_it = cost_of(layer, masked=False).marginal
    for name in ("largest", "seen_from_afar"):
        monkeypatch.delitem(kinds.KINDS, name)
    assert with_it - cost_of(layer, masked=False).marginal == 6 + 4  # queries, reference tokens


@pytest.mark.usefixtures("added")
def test_it_goes_through_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, expected = one_layer()
    path = maps.save(tmp_path / "run.safetensors")
    torch.testing.assert_close(ulam(AttributionMaps.load(path), SIDE).values[0].double(), expected, rtol=1e-5, atol=1e-7)
    for name in ("largest", "seen_from_afar"):  # as a version that does not know the kind reads it
        monkeypatch.delitem(kinds.KINDS, name)
    with pytest.raises(MapsFileError, match="largest"):
        AttributionMaps.load(path)


def test_a_recording_without_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = one_layer()[0].save(tmp_path / "run.safetensors")
    monkeypatch.setitem(kinds.KINDS, ROW.name, ROW)
    with pytest.raises(UnavailableError, match="no largest look: record again"):
        ulam(AttributionMaps.load(path), SIDE)


@pytest.mark.usefixtures("added")
def test_the_page_gets_it_as_data() -> None:
    data = viewer_data(record(), *PICTURES)
    row = next(kind for kind in data["kinds"] if kind["side"] == SIDE)
    assert row == {
        "side": SIDE,
        "title": SIDE,
        "picture": "generated",
        "asked": "",
        "sentence": "The most that a patch spends on one place.",
        "unit": "share",
        "scaled": False,
        "resize": "bicubic",
        "rank": 9,
    }
    assert {entry["layer"] for entry in data["marginals"] if entry["side"] == SIDE} == {0, 1, 2}


@in_browser
@pytest.mark.usefixtures("added")
def test_the_page_offers_it_and_shows_what_the_library_does(tmp_path: Path) -> None:
    maps = record()
    asked: list[Question] = [
        (side, None, state)
        for side in (SIDE, "half of G2R", "R2G")
        for state in ({}, {"group": 1}, {"layer": 1}, {"reference": 1})
    ]
    got = ask(maps, asked, tmp_path)
    same(maps, asked, got)
    assert got["did"]["sides"] == [shown_as(side)[1].named for side in ("R2G", "R2G-balanced", "mass", SIDE)]
    assert ulam(maps, "half of G2R", Choice(reference=1)).picture == "reference"
