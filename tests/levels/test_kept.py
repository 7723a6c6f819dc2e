"""Masks that a recording keeps: they are used where none is given, and said."""

from __future__ import annotations

from pathlib import Path

import torch
from levels_run import Run, run
from PIL import Image

from i2am.levels.kept import kept_reference_mask, masks_taken
from i2am.maps.facts import REFERENCE_MASK
from i2am.maps.value import AttributionMaps
from i2am.outputs.first_look import first_look
from i2am.outputs.report import report_of_run
from i2am.scores.run import score_image

INSIDE, OBJECT = torch.zeros(24, 16), torch.zeros(30, 50)
INSIDE[4:18, 2:11] = 1
OBJECT[5:25, 10:40] = 1
SHOWN, GARMENT = Image.new("RGB", (64, 96), (30, 160, 60)), Image.new("RGB", (100, 60), (180, 40, 40))


def keeping() -> AttributionMaps:
    picture = (OBJECT * 255).to(torch.uint8)[..., None].expand(-1, -1, 3)
    return Run(inpaint_mask=INSIDE).maps.with_thumbnails({REFERENCE_MASK: picture})


def test_the_objects_mask_comes_back_as_it_was(tmp_path: Path) -> None:
    keeping().save(tmp_path / "maps.safetensors")
    for maps in (keeping(), AttributionMaps.load(tmp_path / "maps.safetensors")):
        found = kept_reference_mask(maps)
        assert found is not None
        assert torch.equal(found, OBJECT)
        assert kept_reference_mask(maps, 1) is None
    assert kept_reference_mask(run().maps) is None


def test_what_is_taken_is_said() -> None:
    assert masks_taken(run().maps, None, None) == ""
    taken = "the inpainting mask is that of I²AM Record; the reference mask is that of I²AM Try-On Conditioning"
    assert masks_taken(keeping(), None, None) == taken
    assert masks_taken(keeping(), INSIDE, OBJECT) == ""


def test_a_look_without_masks_is_that_with_the_same_masks_given() -> None:
    kept = first_look(keeping(), [SHOWN], [GARMENT])
    given = first_look(Run(inpaint_mask=INSIDE).maps, [SHOWN], [GARMENT], None, OBJECT)
    assert [one.sentences for one in kept.answers] == [one.sentences for one in given.answers]
    for one, other in zip(kept.scores, given.scores, strict=True):
        assert one.scores["r"].score == other.scores["r"].score is not None


def test_scores_and_report_take_them_too(tmp_path: Path) -> None:
    found = score_image(keeping(), None, None)
    expected = score_image(Run(inpaint_mask=INSIDE).maps, None, OBJECT)
    assert found.scores["r"].score == expected.scores["r"].score
    assert found.scores["r"].notes[0] == "against the reference mask that was kept"
    page = report_of_run(tmp_path / "report.html", keeping(), [SHOWN]).read_text(encoding="utf-8")
    assert "of where the object went lies inside of the inpainting mask" in page


def test_a_report_of_masks_that_cannot_be_scored_is_written_without_scores(tmp_path: Path) -> None:
    maps = Run(inpaint_mask=torch.ones(24, 16)).maps
    assert report_of_run(tmp_path / "report.html", maps, [SHOWN]).is_file()
