"""The sheet of references in one sequence with text and picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edit_run import SHAPES, edit_run
from filled_maps import example
from PIL import Image
from report_case import data_of

from i2am.errors import I2AMError
from i2am.levels import sinks as sinks_module
from i2am.levels.choice import Choice
from i2am.levels.marginal import tlam
from i2am.levels.share import in_percent, mean_shares, routes, share
from i2am.levels.sinks import Sink, Sinks, shares_without, sinks, told
from i2am.maps.kinds import ONE_HOP
from i2am.outputs import first_look as first_look_module
from i2am.outputs import joint_look as module
from i2am.outputs import route_bars
from i2am.outputs.first_look import first_look
from i2am.outputs.joint_look import has_shares
from i2am.outputs.report import report_of_run
from i2am.outputs.route_bars import Routed
from i2am.pictures.bars import Bar

SHOWN = Image.new("RGB", (192, 256), (120, 140, 160))
PICTURES = [Image.new("RGB", (c * 16, r * 16), (160, 140, 120)) for r, c in SHAPES]


class Drawn:
    """What was drawn on a sheet: its labels, headings, and the shares of its bars."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.labels: list[str] = []
        self.heads: list[str] = []
        self.bars: list[dict[str, float]] = []
        self.stacked: list[dict[str, float]] = []
        self.notes: list[str] = []
        for name, of in (("in_a_row", self._row), ("in_a_column", self._column), ("framed", self._framed)):
            monkeypatch.setattr(module, name, self._seen(getattr(module, name), of))
        self.routed: list[Routed] = []
        real = Routed.bars
        monkeypatch.setattr(Routed, "bars", lambda own, *given: (self.routed.append(own), real(own, *given))[1])
        for name, kept in (("share_bars", self.bars), ("stacked_bar", self.stacked)):
            monkeypatch.setattr(
                module, name, self._seen(getattr(module, name), lambda shares, *_, kept=kept: kept.append(shares))
            )

    def _seen(self, own: Any, note: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            note(*args)
            return own(*args, **kwargs)

        return call

    def _row(self, items: Any, *_: Any) -> None:
        self.labels += [label for _, label in items]

    def _column(self, _rows: Any, _text: int, heads: Any) -> None:
        self.heads += heads

    def _framed(self, _body: Any, title: str, notes: Any, *_: Any) -> None:
        self.notes += [title, *notes]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    return Drawn(monkeypatch)


@pytest.mark.parametrize("count", [2, 3])
def test_it_shows_the_shares_that_the_library_gives(drawn: Drawn, count: int) -> None:
    maps = edit_run(SHAPES[:count], images=2, steps=3)
    look = first_look(maps, [SHOWN], [PICTURES[0]], further=[[one] for one in PICTURES[1:count]])
    assert len(look.sheets) == 2
    assert look.sheets[0].size == look.sheets[1].size
    assert not np.array_equal(*map(np.asarray, look.sheets))
    for image in range(2):
        expected = mean_shares(share(maps, Choice(image=image)))
        routed = drawn.routed[image]
        assert routed.shares == mean_shares(routes(maps, Choice(image=image)))
        assert sum(routed.percents.values()) == 100
        for i in range(count):
            name = f"reference {i + 1}"
            direct, through = (routed.percents[f"{name} {way}"] for way in ("directly", "via text"))
            assert f"{name}: {direct}% directly, {through}% via text\n" in drawn.labels
        over_time = drawn.stacked[3 * image : 3 * image + 3]
        for name, whole in expected.items():
            assert np.mean([group[name] for group in over_time]) == pytest.approx(whole, abs=1e-5)
    assert any(head.startswith("Over time") for head in drawn.heads)
    titles = {f"Image {i} · over the whole run: all steps, heads and layers (ULAM)" for i in range(2)}
    assert titles <= set(drawn.notes)
    assert ONE_HOP in drawn.notes
    assert "layers without the route via text are left out: single.3" in drawn.notes  # which only asks for the picture
    assert not any("direct attention alone" in note for note in drawn.notes)


def test_without_the_route_via_text_the_shares_are_direct_and_said_to_be(drawn: Drawn) -> None:
    maps = edit_run(SHAPES[:2], steps=2, via_text=False)
    first_look(maps, [SHOWN])
    expected = mean_shares(share(maps))
    assert drawn.bars == [expected]
    assert drawn.routed == []
    percents = in_percent(expected)
    assert f"reference 2: {percents['reference 2']}%\nno picture of it was given" in drawn.labels
    assert any("direct attention alone" in note for note in drawn.notes)


def test_bars_say_the_routes_and_the_sinks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Bar] = []
    monkeypatch.setattr(route_bars, "bars_of", lambda bars, *_: (seen.extend(bars), SHOWN)[1])
    shares = {"shirt directly": 0.25, "shirt via text": 0.1, "the text itself": 0.4, "generated": 0.25}
    routed = Routed(("shirt",), shares, Sinks((Sink("text", None, 3, 0.33, 0.1, (0.03,), ("a", "b")),)))
    routed.bars(300, 16)
    shirt, text, own = seen
    assert (shirt.name, shirt.percent, shirt.words) == ("shirt", 35, "25% directly, 10% via text")
    assert [share for share, _ in shirt.parts] == [0.25, 0.1]
    assert (text.percent, text.words) == (40, "of which sinks take 30%")
    assert [share for share, _ in text.parts] == pytest.approx([0.3, 0.1])
    assert (own.name, own.percent, own.words) == ("generated", 25, "")
    assert routed.notes == ("sinks take 33 % of the attention: token 3 of the text, in 2 layers",)
    assert len({colour for bar in seen for _, colour in bar.parts}) == 5


def test_sinks_are_left_out_only_with_a_note(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, kept = edit_run(SHAPES[:2], steps=2), []
    monkeypatch.setattr(
        module, "drawn", lambda picture, heat, height, own=module.drawn: (kept.append(heat), own(picture, heat, height))[1]
    )
    for name, low in (("LEAST", 0.0), ("FAR", 1.5), ("STEADY", 9.0)):
        monkeypatch.setattr(sinks_module, name, low)
    found = sinks(maps)
    assert {sink.reference for sink in found.found} == {None, 0, 1}  # with so low a bar all have some
    first_look(maps, [SHOWN], [PICTURES[0]])
    whole, of_all = kept[:], drawn.routed[-1].shares
    of_bars = sinks(maps, Choice(layers=("double.*", "single.[0-2]")))  # the last block has no route, and is in no bar
    assert told(of_bars) in drawn.notes
    assert drawn.routed[-1].sinks == of_bars
    kept.clear()
    first_look(maps, [SHOWN], [PICTURES[0]], without_sinks=True)
    shares, note = shares_without(maps)
    assert drawn.routed[-1].shares == shares != of_all
    assert note in drawn.notes
    assert "the shares over time have the sinks in them" in drawn.notes
    for index, (before, after) in enumerate(zip(whole, kept, strict=True)):
        own = [sink for sink in found.found if sink.reference == index]
        assert int((after.values != before.values).sum()) == len(own)


def test_a_unet_has_no_sinks_to_leave_out_and_a_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    real = first_look_module.framed
    monkeypatch.setattr(
        first_look_module, "framed", lambda body, title, said, *more: (notes.extend(said), real(body, title, said, *more))[1]
    )
    first_look(example(), [Image.new("RGB", example().generated_size[::-1])], without_sinks=True)
    assert "no sinks are left out: they are looked for in joint attention alone" in notes


def test_without_what_tells_sinks_nothing_is_left_out_and_a_note_says_so(drawn: Drawn) -> None:
    first_look(edit_run(SHAPES[:2], steps=2, via_text=False), [SHOWN], without_sinks=True)
    assert any(note.startswith("no sinks are left out of the shares: the route via text") for note in drawn.notes)


def test_pictures_that_are_not_given_are_those_that_were_kept(drawn: Drawn) -> None:
    kept = {"reference": torch.full((8, 6, 3), 200, dtype=torch.uint8)}
    maps = edit_run(SHAPES[:2], steps=1).with_thumbnails(kept)
    first_look(maps, [SHOWN])
    assert [label.partition("\n")[2] for label in drawn.labels[-2:]] == ["", "no picture of it was given"]
    assert not any(head.startswith("Over time") for head in drawn.heads)  # a single step


def test_the_objects_mask_adds_where_it_went(drawn: Drawn) -> None:
    maps = edit_run(SHAPES[:2], steps=2)
    mask = torch.zeros(1, SHAPES[1][0] * 8, SHAPES[1][1] * 8)
    mask[:, 16:40, 16:64] = 1
    inside = torch.zeros(1, 128, 96)
    inside[:, 32:96, 24:72] = 1
    look = first_look(maps, [SHOWN], None, inside, mask, Choice(reference=1))
    assert any(label.startswith("where the object went (mirror), reference 2\n") for label in drawn.labels)
    assert [s.scores["r"].score is not None for s in look.scores] == [True]


def test_six_references_and_a_wide_picture_stay_within_the_sheet(drawn: Drawn) -> None:
    maps = edit_run([(4, 4)] * 6, steps=2, size=(5, 13))
    sheet = first_look(maps, [Image.new("RGB", (416, 160), "grey")]).sheets[0]
    assert sheet.width <= module.WIDE + 4 * module.PRINT
    assert len([label for label in drawn.labels if label.startswith("reference ")]) == 6


def test_a_quarter_of_the_patches_is_enough(drawn: Drawn) -> None:
    """As recordings keep them by default."""
    maps = edit_run(SHAPES[:2], steps=2, stride=2, cells=8)
    first_look(maps, [SHOWN])
    assert [one.shares for one in drawn.routed] == [mean_shares(routes(maps))]
    assert any("one of each 2 × 2 generated patches was recorded" in note for note in drawn.notes)


def test_wrong_pictures_are_refused() -> None:
    maps = edit_run(SHAPES[:2], steps=1)
    with pytest.raises(I2AMError, match="picture of reference 3 was given, but the run had 2 reference"):
        first_look(maps, [SHOWN], None, further=[None, [PICTURES[2]]])
    with pytest.raises(I2AMError, match="picture of reference 2 is 256 x 512 pixels, but the recorded reference 2 is 104 x 72"):
        first_look(maps, [SHOWN], [PICTURES[0]], further=[[Image.new("RGB", (256, 512))]])
    with pytest.raises(I2AMError, match="picture is 256 x 128 pixels, but the recorded generated image is 96 x 128"):
        first_look(maps, [Image.new("RGB", (256, 128))])


def test_one_reference_has_its_maps_its_shares_and_when(drawn: Drawn) -> None:
    """No picture of which reference, as it would be of one colour."""
    maps = edit_run(SHAPES[1:2], images=2, steps=3)
    assert has_shares(maps, Choice())
    look = first_look(maps, [SHOWN], [PICTURES[1]])
    assert [sheet.width for sheet in look.sheets] == [look.sheets[0].width] * 2
    for image in range(2):
        expected = mean_shares(share(maps, Choice(image=image)))
        assert list(expected) == ["reference 1", "text", "generated"]
        assert drawn.routed[image].shares == mean_shares(routes(maps, Choice(image=image)))
        over_time = drawn.stacked[3 * image : 3 * image + 3]
        for name, whole in expected.items():
            assert np.mean([group[name] for group in over_time]) == pytest.approx(whole, abs=1e-5)
    heads = [label.partition("\n")[0] for label in drawn.labels]
    once = ["generated", "where it went, patch against patch (R2G)", "where it went, by votes (R2G-balanced)"]
    assert heads[:6] == [*once, "reference 1", "what was used (G2R)", ""]
    assert not any("which reference" in text for text in (*drawn.labels, *drawn.heads))
    assert any(head.startswith("Over time, from noise to picture: how much of the reference") for head in drawn.heads)


def test_over_time_one_references_share_is_drawn_on_one_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real = module.overlays

    def call(pictures: Any, heat: Any, look: Any, **given: Any) -> Any:
        seen.append((heat, look))
        return real(pictures, heat, look, **given)

    monkeypatch.setattr(module, "overlays", call)
    maps = edit_run(SHAPES[:1], steps=3)
    first_look(maps, [SHOWN])
    ((heat, look),) = seen
    assert look.scale == "shared"
    torch.testing.assert_close(heat.values, tlam(maps, "mass", groups=3).values)


def test_one_reference_of_a_single_step_and_with_masks(drawn: Drawn) -> None:
    maps = edit_run(SHAPES[:1], steps=1)
    mask, inside = torch.zeros(1, SHAPES[0][0] * 8, SHAPES[0][1] * 8), torch.zeros(1, 128, 96)
    mask[:, 16:40, 16:64], inside[:, 32:96, 24:72] = 1, 1
    look = first_look(maps, [SHOWN], [PICTURES[0]], inside, mask)
    assert [label.partition("\n")[0] for label in drawn.labels][:2] == ["generated", "where the object went (mirror)"]
    assert drawn.heads[-1] == "Details"
    assert not any(head.startswith("Over time") for head in drawn.heads)
    assert look.scores[0].scores["g"].score is not None
    assert look.sheets[0].width <= module.WIDE + 4 * module.PRINT


@pytest.mark.parametrize("shape", [(2, 40), (40, 2)])
def test_one_reference_of_any_shape_stays_within_the_sheet(shape: tuple[int, int]) -> None:
    sheet = first_look(edit_run([shape], steps=2, size=(5, 13)), [Image.new("RGB", (416, 160), "grey")]).sheets[0]
    assert sheet.width <= module.WIDE + 4 * module.PRINT


def test_a_unet_keeps_its_sheet(drawn: Drawn) -> None:
    maps = example()
    assert not has_shares(maps, Choice())
    first_look(maps, [Image.new("RGB", maps.generated_size[::-1])])
    assert drawn.bars == []


@pytest.mark.parametrize("count", [1, 2])
def test_the_report_shows_the_shares_and_when(drawn: Drawn, count: int, tmp_path: Path) -> None:
    maps = edit_run(SHAPES[:count], images=2, steps=3)
    path = report_of_run(tmp_path / "report.html", maps, [SHOWN], image=1)
    data = data_of(path)
    names = [one["name"] for one in data["pictures"]]
    what = "how much of the reference, on one scale" if count == 1 else "which reference"
    assert names[0] == "what attention went to"
    assert [name.partition(" · ")[0] for name in names[1:]] == ["step 0", "step 1", "step 2"]
    assert all(name.endswith(f": {what}, and the shares") for name in names[1:])
    expected = mean_shares(share(maps, Choice(image=1)))
    assert [one.shares for one in drawn.routed] == [mean_shares(routes(maps, Choice(image=1)))]
    assert [list(shares) for shares in drawn.stacked] == [list(expected)] * 3
    assert np.mean([shares["text"] for shares in drawn.stacked]) == pytest.approx(expected["text"], abs=1e-5)


def test_the_report_of_a_unet_has_no_shares(tmp_path: Path) -> None:
    maps = example()
    picture = Image.new("RGB", maps.generated_size[::-1])
    assert module.joint_pictures(maps, picture, Choice()) == {}
    assert "what attention went to" not in report_of_run(tmp_path / "r.html", maps, [picture]).read_text(encoding="utf-8")
