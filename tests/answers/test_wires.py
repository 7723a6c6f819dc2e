"""What looks wrongly connected is said, and what is right is not."""

from __future__ import annotations

import pytest
import torch
from answers_case import GARMENT, GENERATED, REFERENCE, SIZE, home, looking_at, printed, region, worn
from PIL import Image
from torch import Tensor

from i2am.answers import answer
from i2am.answers.wires import overlap
from i2am.geometry.layout import Layout, TokenGrid
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder

INPAINT = torch.zeros(SIZE)
INPAINT[24:120, 12:84] = 1
OBJECT = region((20, 30, 100, 130))
SQUARE = Image.new("RGB", (GARMENT[1], GARMENT[0]))


def recorded(mask: Tensor | None) -> AttributionMaps:
    layout, keys = Layout.of(TokenGrid(*REFERENCE, picture=GARMENT)), torch.eye(REFERENCE[0] * REFERENCE[1])[None, None]
    recorder = Recorder(lambda _: layout, steps=1, groups=1, pairwise="mean", generated_size=SIZE, inpaint_mask=mask)
    recorder.observe("up.0", GENERATED, 0, "cond", looking_at(home())[None, None], keys, None, scale=1.0)
    recorder.end_step(0)
    return recorder.finish()


def verdicts(maps: AttributionMaps, generated: Image.Image, reference: Image.Image | None, **masks: Tensor) -> list[str]:
    said = answer(maps, generated, [reference], **masks).said
    found = [one.verdict for one in said if one.topic == "wires"]
    assert [one.topic for one in said][: len(found)] == ["wires"] * len(found)
    assert all(one.text.startswith("Check the wires: ") and one.rule for one in said[: len(found)])
    return found


@pytest.mark.parametrize("kept", [None, INPAINT], ids=["no mask recorded", "recorded"])
def test_right_wires_are_left_alone(kept: Tensor | None) -> None:
    maps = recorded(kept)
    assert verdicts(maps, worn(printed("F")), printed("F")) == []
    assert verdicts(maps, worn(printed("F")), printed("F"), inpaint_mask=INPAINT, reference_mask=OBJECT) == []


def test_the_reference_in_place_of_the_generated_picture() -> None:
    maps = recorded(None)
    assert verdicts(maps, printed("F"), printed("F")) == ["image"]
    assert verdicts(maps, printed("F").resize((56, 80)), printed("F")) == ["image"]
    assert verdicts(maps, printed("U"), printed("F")) == []


def test_masks_that_are_swapped_the_same_or_another() -> None:
    square = torch.nn.functional.interpolate(OBJECT[None, None], SIZE)[0, 0]
    shown = (recorded(INPAINT), worn(printed("F")), printed("F"))
    assert verdicts(*shown, inpaint_mask=INPAINT, reference_mask=INPAINT) == ["reference_mask"]
    assert verdicts(*shown, reference_mask=INPAINT) == ["reference_mask"]
    away = torch.zeros(SIZE)
    away[:20] = 1
    assert verdicts(*shown, inpaint_mask=away, reference_mask=INPAINT) == ["swapped"]
    assert verdicts(*shown, inpaint_mask=away, reference_mask=square) == ["inpaint_mask"]
    squashed = torch.nn.functional.interpolate(INPAINT[None, None], (128, 128))[0, 0]
    assert verdicts(*shown, inpaint_mask=squashed, reference_mask=square) == []
    assert verdicts(recorded(None), *shown[1:], inpaint_mask=INPAINT, reference_mask=INPAINT) == ["reference_mask"]


def test_overlap_is_intersection_over_union() -> None:
    one, other = torch.zeros(4, 4), torch.zeros(4, 4)
    one[:2], other[1:3] = 1, 1
    assert overlap(one, other) == pytest.approx(1 / 3)
    assert overlap(one, torch.zeros(4, 4)) == overlap(torch.ones(4, 4), torch.ones(4, 9)) == 0
