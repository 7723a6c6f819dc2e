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
from i2am.levels.choice import Choice
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder

INPAINT = torch.zeros(SIZE)
INPAINT[24:120, 12:84] = 1
OBJECT = region((20, 30, 100, 130))
SQUARE = Image.new("RGB", (GARMENT[1], GARMENT[0]))


def recorded(mask: Tensor | None, nulls: tuple[str, ...] = ()) -> AttributionMaps:
    layout, keys = Layout.of(TokenGrid(*REFERENCE, picture=GARMENT)), torch.eye(REFERENCE[0] * REFERENCE[1])[None, None]
    branches = ("cond", "uncond") if nulls else ("cond",)
    recorder = Recorder(
        lambda _: layout,
        steps=1,
        groups=1,
        branches=branches,
        pairwise="mean",
        generated_size=SIZE,
        inpaint_mask=mask,
        null_branches=nulls,
    )
    for branch in branches:
        recorder.observe("up.0", GENERATED, 0, branch, looking_at(home())[None, None], keys, None, scale=1.0)
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


def test_a_positive_that_stands_for_no_reference() -> None:
    shown = (worn(printed("F")), printed("F"))
    assert verdicts(recorded(None, ("uncond",)), *shown) == []
    assert verdicts(recorded(None, ("cond",)), *shown) == ["positive"]
    found = answer(recorded(None, ("cond",)), shown[0], [shown[1]])
    assert "Connect positive of I²AM Try-On Conditioning to the sampler's positive" in found.sentences[0]
    assert any("positive and negative are swapped" in line for line in found.missing)


def test_the_negative_half_is_named_before_all_else_that_is_said_of_it() -> None:
    shown = (worn(printed("F")), [printed("F")])
    blind, seeing = (answer(recorded(None, nulls), *shown, Choice("uncond")) for nulls in (("uncond",), ("cond",)))
    assert blind.said[0].topic == "branch"
    assert blind.sentences[0].startswith("All of this is said of uncond, the negative half of guidance, which did not see")
    named = next(one.text for one in seeing.said if one.topic == "branch")
    assert "did not see" not in named
    assert not any(one.topic == "branch" for one in answer(recorded(None, ("uncond",)), *shown).said)


def test_overlap_is_intersection_over_union() -> None:
    one, other = torch.zeros(4, 4), torch.zeros(4, 4)
    one[:2], other[1:3] = 1, 1
    assert overlap(one, other) == pytest.approx(1 / 3)
    assert overlap(one, torch.zeros(4, 4)) == overlap(torch.ones(4, 4), torch.ones(4, 9)) == 0
