"""The first look: one sheet an image, the scores that the masks allow, and pictures that must fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from joint_run import JointRun, flux_like
from levels_run import Run, run
from PIL import Image

from i2am.answers import Region, answer
from i2am.errors import I2AMError
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.levels.choice import Choice
from i2am.outputs import first_look as module
from i2am.outputs import look_details
from i2am.outputs.first_look import first_look
from i2am.outputs.look_details import LABEL, scores_picture
from i2am.outputs.sheet_parts import CAPTIONS, PRINT, TALL, WIDE, height_for
from i2am.pictures.lettering import line_height
from i2am.pictures.sheet import framed, headed, in_a_row, sheet
from i2am.scores.imacs import Score, map_on_generated
from i2am.scores.run import score_image

INSIDE = torch.zeros(1, 24, 16)
INSIDE[:, 4:18, 2:11] = 1
OBJECT = torch.zeros(1, 30, 50)
OBJECT[:, 5:25, 10:40] = 1
SHOWN = Image.new("RGB", (64, 96), (30, 160, 60))
GARMENT = Image.new("RGB", (100, 60), (180, 40, 40))


def test_a_sheet_an_image_and_the_scores_of_the_masks() -> None:
    maps = run().maps
    look = first_look(maps, [SHOWN], [GARMENT], INSIDE, OBJECT)
    assert len(look.sheets) == maps.images == 2
    assert look.sheets[0].size == look.sheets[1].size
    assert look.sheets[0].height > TALL
    assert [s.scores for s in look.scores] == [score_image(maps, INSIDE, OBJECT, Choice(image=i)).scores for i in range(2)]
    assert not np.array_equal(np.asarray(look.sheets[0]), np.asarray(look.sheets[1]))


def test_without_masks_there_are_maps_and_no_scores() -> None:
    look = first_look(run().maps, [SHOWN])
    assert look.scores == []
    assert len(look.sheets) == 2


@dataclass
class Drawn:
    """What was drawn on sheets: the labels' first lines, row by row of pictures, the lines of scores, and all notes."""

    first: list[list[str]]
    details: list[list[str]]
    scores: list[list[tuple[str, Score]]]
    notes: list[str]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    out = Drawn([], [], [], [])

    def row(rows: list[list[str]]) -> Any:
        def spy(items: Any, *args: Any, **given: Any) -> Image.Image:
            rows.append([label.partition("\n")[0] for _, label in items])
            return in_a_row(items, *args, **given)

        return spy

    def spy_frame(body: Image.Image, title: str, notes: Sequence[str], text: int) -> Image.Image:
        out.notes.extend(notes)
        return framed(body, title, notes, text)

    real = look_details.scores_picture

    def spy_scores(lines: Any, *args: Any) -> Image.Image:
        out.scores.append(list(lines))
        return real(lines, *args)

    monkeypatch.setattr(module, "in_a_row", row(out.first))
    monkeypatch.setattr(look_details, "in_a_row", row(out.details))
    monkeypatch.setattr(look_details, "scores_picture", spy_scores)
    monkeypatch.setattr(module, "framed", spy_frame)
    return out


MIRROR = "where the object went (mirror)"
COMPARED = ["where it went, patch against patch (R2G)", "where it went, by votes (R2G-balanced)"]


def test_the_objects_mask_leads_with_where_it_went(drawn: Drawn) -> None:
    first_look(run().maps, [SHOWN], [GARMENT], INSIDE, OBJECT)
    first_look(run().maps, [SHOWN], [GARMENT], INSIDE)
    with_mask, without = drawn.first[0], drawn.first[2]
    assert with_mask == ["generated", MIRROR, "reference", "what was used (G2R)"]
    assert without == ["generated", *COMPARED, "reference", "what was used (G2R)"]
    assert drawn.details[0] == [*COMPARED, ""]
    assert drawn.details[2] == [""]  # the scores alone
    assert not any(line.startswith("no mirror") for line in drawn.notes)
    score = map_on_generated(run().maps, INSIDE, OBJECT, side="mirror").score()
    assert score.score is not None
    told = [lines for lines in drawn.scores if lines[0][0] == "IMACS_g of the mirror"]
    assert len(told) == 2  # one per image of the batch, and none without the object's mask
    assert told[0][0][1] == score
    assert [name for name, _ in told[0][1:]] == ["IMACS_g of R2G", "IMACS_r of G2R"]
    first_look(Run(heads=None).maps, [SHOWN], [GARMENT], INSIDE, OBJECT)
    assert drawn.first[-1] == without
    assert any(line.startswith("no mirror: none of the chosen layers has pairwise maps") for line in drawn.notes)


def test_every_map_has_a_caption_of_its_own_that_says_how_to_read_it() -> None:
    readings = [reading for _, reading in CAPTIONS.values()]
    assert len(set(readings)) == len(CAPTIONS)
    assert "Dark: looked at less, not left out" in CAPTIONS["G2R"][1]
    for word in look_details.COLUMNS[2:]:
        assert any(word in line for line in look_details.MEANING), word


def test_wide_and_tall_pictures_stay_within_the_sheet() -> None:
    maps = run().maps
    wide = first_look(maps, [SHOWN], [GARMENT], INSIDE, OBJECT).sheets[0]
    assert wide.width <= WIDE + 4 * PRINT + 2 * LABEL
    assert height_for([20.0] * 4) * 80 <= WIDE


def test_a_table_of_scores_says_why_one_is_missing() -> None:
    some, none = Score(0.25, 0.5, 0.1, auc=0.75, shifted=-0.5, random=-0.6), Score(None, None, None, notes=("no mask",))
    both, alone = scores_picture([("a", some), ("b", none)]), scores_picture([("a", some)])
    assert both.height > alone.height + line_height(PRINT)
    assert np.asarray(alone).min() < 100


def test_a_mask_given_at_recording_is_enough() -> None:
    maps = Run(inpaint_mask=INSIDE[0]).maps
    assert first_look(maps, [SHOWN]).scores[0].scores["g"].score is not None


def test_a_single_token_reference_shows_what_it_has() -> None:
    one = Layout((Reference(TokenGrid(1, 1), 0, "shirt"),), keys=1)
    several = Run(layout=dict.fromkeys(("input.4.1", "middle.1", "output.5.1", "output.9.1"), one)).maps
    alone, usual = first_look(several, [SHOWN]), first_look(run().maps, [SHOWN])
    assert alone.sheets[0].width < usual.sheets[0].width  # no map on the reference, none that is balanced


def test_the_sheet_says_why_masks_gave_no_scores(drawn: Drawn) -> None:
    said = drawn.notes
    first_look(run().maps, [SHOWN])
    assert said[0] == "Connect the masks to score the maps (IMACS)."
    first_look(run().maps, [SHOWN], None, INSIDE, OBJECT)
    assert drawn.scores[0][0][1].score is not None
    said.clear()
    one = Layout((Reference(TokenGrid(1, 1), 0, "shirt"),), keys=1)
    several = Run(layout=dict.fromkeys(("input.4.1", "middle.1", "output.5.1", "output.9.1"), one)).maps
    assert first_look(several, [SHOWN], None, None, OBJECT).scores == []
    assert said[0].startswith("no IMACS: ")
    assert not any("Connect the masks" in line for line in said)
    assert any(line.startswith("no mirror, R2G-balanced, G2R: the chosen layers attend to a single token") for line in said)


def test_pictures_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(I2AMError, match="3 pictures were given, but the run had 2"):
        first_look(run().maps, [SHOWN] * 3)
    with pytest.raises(I2AMError, match="shape"):
        first_look(run().maps, [SHOWN.rotate(90, expand=True)])


def test_a_choice_that_does_not_exist_is_refused() -> None:
    with pytest.raises(I2AMError, match="reference 7 does not exist"):
        first_look(run().maps, [SHOWN], choice=Choice(reference=7))
    with pytest.raises(I2AMError, match="branch 'other' was not recorded"):
        first_look(run().maps, [SHOWN], choice=Choice(branch="other"))


def test_a_reference_mask_alone_shows_where_its_object_went(drawn: Drawn) -> None:
    """Even one that covers the whole reference, which no score could be made of."""
    for mask in (OBJECT, torch.ones(1, 30, 50), Image.new("L", (100, 60), 255)):
        drawn.first.clear()
        drawn.notes.clear()
        assert first_look(run().maps, [SHOWN], [GARMENT], reference_mask=mask).scores == []
        assert drawn.first[0][:2] == ["generated", MIRROR]
        assert drawn.notes[0] == "no IMACS: both scores need the inpainting mask too; connect it."
    with pytest.raises(I2AMError, match="reference mask holds 3 masks"):
        first_look(run().maps, [SHOWN], reference_mask=torch.ones(3, 30, 50))


def test_bare_pictures_and_what_are_none() -> None:
    maps = JointRun({"cond": flux_like(3)}, images=1).record()
    shirt, shoes = Image.new("RGB", (64, 80)), Image.new("RGB", (48, 32))
    bare, listed = first_look(maps, SHOWN, shirt, further=[shoes]), first_look(maps, [SHOWN], [shirt], further=[[shoes]])
    assert np.array_equal(np.asarray(bare.sheets[0]), np.asarray(listed.sheets[0]))
    with pytest.raises(
        I2AMError, match=r"pictures of the first reference.*got 2; give those of the others .*further=\[\[second\]"
    ):
        first_look(maps, [SHOWN], [shirt, shoes])
    with pytest.raises(I2AMError, match="generated picture is a Pillow picture, got a ndarray"):
        first_look(maps, np.zeros((96, 64, 3), np.uint8))  # type: ignore[arg-type]


def test_the_sheet_opens_with_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[list[str], list[str]]] = []

    def spy(body: Image.Image, lines: list[str], further: list[str], text: int) -> Image.Image:
        told.append((lines, further))
        return headed(body, lines, further, text)

    monkeypatch.setattr("i2am.outputs.first_look.headed", spy)
    maps = run().maps
    logo = Region("logo", OBJECT[0])
    look = first_look(maps, [SHOWN], [GARMENT], INSIDE, OBJECT, regions=[logo])
    for image, (lines, further) in enumerate(told):
        masks = {"inpaint_mask": INSIDE[0], "reference_mask": OBJECT[0]}
        found = answer(maps, SHOWN, [GARMENT, None], Choice(image=image), **masks, regions=[logo])
        assert lines + further == found.sentences == look.answers[image].sentences
        assert lines[0].startswith("logo: ")
        assert f"Image {image}\n{found.text()}" in look.text


def test_a_heading_moves_the_sheets_cells_down_with_it() -> None:
    body = sheet([(SHOWN, "one"), (GARMENT, "two")])
    below = headed(body, ["a line"], [], 20)
    down = below.height - body.height
    assert down > 20
    assert below.info["cells"] == tuple((a, b + down, c, d + down) for a, b, c, d in body.info["cells"])
    assert np.array_equal(np.asarray(below)[down:], np.asarray(body))
    assert headed(body, [], [], 20) is body
