"""What is said of odd runs, masks and regions: nothing false, and nothing that crashes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from answers_case import GARMENT, GENERATED, REFERENCE, SIZE, STEPS, home, looking_at, printed, region, run, worn
from PIL import Image
from torch import Tensor

from i2am.answers import Answer, Region, Said, answer
from i2am.answers.carried import carry
from i2am.answers.looked import covered, looked
from i2am.answers.places import ninths, place_of
from i2am.errors import I2AMError, MaskError, UnavailableError
from i2am.geometry.layout import WHOLE, Layout, Rect, TokenGrid
from i2am.levels.choice import Choice
from i2am.levels.masked import masked_g2r
from i2am.maps.facts import RunInfo
from i2am.maps.value import AttributionMaps
from i2am.outputs.first_look import first_look
from i2am.outputs.page import _in_words as in_words
from i2am.pictures.sheet import headed
from i2am.recording.recorder import Recorder

PICTURES = (worn(printed("F")), [printed("F")])
LOGO = Region("logo", region())


def planted(logits: Tensor, grid: TokenGrid, images: int = 1) -> AttributionMaps:
    """A recording of one layer whose softmax is that of logits (Q, S)."""
    layout, keys = Layout.of(grid), torch.eye(grid.tokens)[None, None].expand(images, 1, -1, -1)
    recorder = Recorder(lambda _: layout, steps=STEPS, groups=STEPS, pairwise="mean", generated_size=SIZE, images=images)
    for step in range(STEPS):
        recorder.observe("up.0", GENERATED, step, "cond", logits[None, None].expand(images, 1, -1, -1), keys, None, scale=1.0)
        recorder.end_step(step)
    return recorder.finish(RunInfo(steps=STEPS))


def on_part(rect: Rect | None) -> AttributionMaps:
    """Random attention to a reference of which the tokens cover a part."""
    logits = torch.randn(len(home()), math.prod(REFERENCE), generator=torch.Generator().manual_seed(0)) * 3
    return planted(logits, TokenGrid(*REFERENCE, picture=GARMENT, rect=rect))


def of(found: Answer, topic: str) -> Said:
    return next(one for one in found.said if one.topic == topic)


def no_nan(found: Answer) -> None:
    assert "nan" not in found.text().lower()
    assert all(math.isfinite(value) for one in found.said for value in one.figures.values())


def test_a_region_without_structure_is_not_called_drawn_differently() -> None:
    plain, other = (Image.new("RGB", (GARMENT[1], GARMENT[0]), colour) for colour in ((180, 180, 180), (40, 60, 160)))
    maps = run(lambda _: looking_at(home()))
    for made, apart in ((worn(plain), False), (worn(other), True), (worn(printed("F")), True)):
        said = answer(maps, made, [plain], regions=[LOGO]).said[0]
        assert said.verdict == "plain"
        assert "too plain to compare more than its colour" in said.text
        assert (said.figures["colour"] > 25) == apart


def test_a_copy_beyond_the_edge_of_the_picture_is_not_compared() -> None:
    generated, (picture,) = PICTURES
    away = looking_at(home() + torch.tensor([0.0, 8.6]))  # the picture begins to the right of most of the print
    said = answer(run(lambda _: away), generated, [picture], regions=[LOGO]).said[0]
    assert said.verdict == "beyond"
    assert "of its copy would lie within the picture" in said.text
    assert said.figures["shown"] < 0.5


def test_patches_without_attention_to_the_reference_look_at_no_place() -> None:
    count = math.prod(REFERENCE)
    logits = torch.full((len(home()), count + 1), -60.0)
    logits[:, 0] = 60  # all on the token that has no place
    maps = planted(logits, TokenGrid(*REFERENCE, leading=1, picture=GARMENT))
    found = answer(maps, *PICTURES, regions=[Region("corner", region((0, 0, 24, 24)))])
    no_nan(found)
    assert found.said[0].verdict in ("diffuse", "hardly looked at", "nobody")
    even = looked(run(lambda _: torch.zeros(len(home()), count)))
    shown = torch.zeros(3, *GARMENT)
    assert carry(even, region((0, 0, 24, 24)), shown, torch.zeros(3, *SIZE)) is None  # not: all look at the first cell


def test_the_ten_patches_that_give_most_are_inside_of_the_mask() -> None:
    inside = torch.zeros(SIZE)
    inside[44:52, 40:48] = 1  # four patches
    logits = looking_at(home())
    asked = (torch.nn.functional.adaptive_avg_pool2d(inside[None], (32, 24))[0].flatten() > 0.5)[:, None]
    assert int(asked.sum()) == 4
    sharp_outside = torch.where(asked, torch.zeros_like(logits), logits)
    found = answer(run(lambda _: sharp_outside), *PICTURES, inpaint_mask=inside, regions=[LOGO])
    assert found.said[0].verdict == "diffuse"


def test_a_region_that_the_tokens_do_not_cover_spoils_no_other() -> None:
    maps = on_part((0.0, 0.0, 1.0, 0.7))
    regions = [LOGO, Region("hem", region((0, 130, 112, 160))), Region("belt", region((0, 106, 112, 130)))]
    found = answer(maps, *PICTURES, regions=regions)
    assert [one.about for one in found.said if one.topic == "region"] == ["logo"]
    assert any(one.topic == "focus" for one in found.said)
    hem, belt = found.unanswered
    assert hem.startswith("Nothing can be said of hem: the mask of hem is empty or lies outside")
    assert belt.startswith(
        "Nothing can be said of belt: only 25% of it lies in the part of the reference that the tokens cover"
    )
    assert set(found.unanswered) <= set(found.missing)


@pytest.mark.parametrize(
    ("rect", "mask", "said"),
    [
        (WHOLE, None, "of the reference is|of the reference, "),
        ((0.0, 0.0, 1.0, 0.5), None, "of the reference, as far as tokens cover it,"),
        ((0.0, 0.0, 1.0, 0.5), (0, 0, 112, 160), "of the object, as far as tokens cover it,"),
        ((0.0, 0.0, 1.0, 0.5), (8, 8, 104, 72), "of the object is"),
        (None, None, "of the reference, taking its tokens to cover all of the picture,"),
    ],
)
def test_no_more_is_said_than_the_tokens_cover(rect: Rect | None, mask: tuple[int, int, int, int] | None, said: str) -> None:
    found = answer(on_part(rect), *PICTURES, reference_mask=None if mask is None else region(mask))
    text = of(found, "reach").text
    assert any(one in text for one in said.split("|")), text
    assert ("tokens" in text) == ("tokens" in said)


def test_the_covered_share_of_a_mask() -> None:
    half = TokenGrid(2, 2, rect=(0.0, 0.0, 1.0, 0.5))
    assert covered(torch.ones(8, 8), half) == pytest.approx(0.5)
    assert covered(torch.ones(8, 8), replace(half, rect=(-0.2, 0.0, 1.4, 2.0))) == pytest.approx(1)
    assert covered(torch.cat([torch.ones(4, 8), torch.zeros(4, 8)]), half) == pytest.approx(1)


def test_no_part_is_finer_than_a_cell() -> None:
    assert list(ninths(torch.ones(1, 3))) == ["left", "middle", "right"]
    assert list(ninths(torch.ones(2, 2))) == ["upper left", "upper right", "lower left", "lower right"]
    assert list(ninths(torch.ones(1, 1))) == ["middle"]
    one = torch.zeros(5, 7)
    one[3, 4] = 0.5
    assert list(ninths(one)) == ["middle"]
    found = answer(on_part(WHOLE), *PICTURES, reference_mask=region((16, 24, 22, 30)))
    assert not any(one.topic == "reach" for one in found.said)
    assert any("no part of it can be told from another" in line for line in found.missing)


def test_an_even_map_neither_changes_nor_spills() -> None:
    even = run(lambda _: torch.zeros(len(home()), math.prod(REFERENCE)))
    inside = torch.zeros(SIZE)
    inside[10:93, 5:60] = 1
    found = answer(even, *PICTURES, inpaint_mask=inside)
    no_nan(found)
    assert of(found, "outside").verdict == "inside"
    assert not any(one.topic == "time" for one in found.said)
    assert any("G2R of the whole run is even" in line for line in found.missing)
    first = run(lambda step: looking_at(home() * 0 + 5) if step else torch.zeros(len(home()), math.prod(REFERENCE)))
    assert of(answer(first, *PICTURES), "time").verdict == "settles"


def test_the_sentence_says_by_which_patches() -> None:
    maps, inside = run(lambda _: looking_at(home())), torch.zeros(SIZE)
    inside[20:100, 20:80] = 1
    assert of(answer(maps, *PICTURES, inpaint_mask=inside), "reach").rule.startswith("G2R by the patches inside of the")
    for mask in (None, torch.ones(SIZE), torch.zeros(SIZE)):
        assert of(answer(maps, *PICTURES, inpaint_mask=mask), "reach").rule.startswith("G2R by all patches")


def test_an_inpainting_mask_where_no_tokens_are_is_refused() -> None:
    maps = on_part(WHOLE)
    upper = tuple(replace(x, grid=replace(x.grid, rect=(0.0, 0.0, 1.0, 0.5))) for x in maps.layers)
    object.__setattr__(maps, "layers", upper)
    mask = torch.zeros(SIZE)
    mask[100:] = 1
    with pytest.raises(MaskError, match="lies outside of the part of the picture that the tokens cover"):
        masked_g2r(maps, mask)


@pytest.mark.parametrize(
    "form", [lambda x: x, lambda x: x[None], lambda x: x.numpy(), lambda x: Image.fromarray(np.uint8(x * 255))]
)
def test_masks_come_in_every_form(form: object) -> None:
    maps, inside = run(lambda _: looking_at(home())), torch.zeros(SIZE)
    inside[20:100, 20:80] = 1
    plain = answer(maps, *PICTURES, inpaint_mask=inside, reference_mask=LOGO.mask, regions=[LOGO])
    given = [form(one) for one in (inside, LOGO.mask, LOGO.mask)]
    found = answer(maps, *PICTURES, inpaint_mask=given[0], reference_mask=given[1], regions=[Region("logo", given[2])])
    assert found.text() == plain.text()


def test_a_batch_takes_one_mask_or_one_per_image() -> None:
    maps, inside = planted(looking_at(home()), TokenGrid(*REFERENCE, picture=GARMENT), images=2), torch.zeros(2, *SIZE)
    inside[:, 20:100, 20:80] = 1
    for image in (0, 1):
        both = [answer(maps, *PICTURES, Choice(image=image), inpaint_mask=mask).text() for mask in (inside, inside[:1])]
        assert both[0] == both[1]
    with pytest.raises(UnavailableError, match="image 2 does not exist"):
        answer(maps, *PICTURES, Choice(image=2), inpaint_mask=inside)


def test_masks_of_another_shape_are_refused_by_name() -> None:
    maps, wrong = run(lambda _: looking_at(home())), torch.ones(40, 200)
    with pytest.raises(I2AMError, match="inpainting mask is 200 x 40 pixels, but the generated picture is 96 x 128"):
        answer(maps, *PICTURES, inpaint_mask=wrong)
    with pytest.raises(I2AMError, match="reference mask is 200 x 40 pixels, but the reference's picture is 112 x 160"):
        answer(maps, *PICTURES, reference_mask=wrong)


def test_a_soft_region_is_what_lies_above_a_half() -> None:
    maps, soft = run(lambda _: looking_at(home())), region() * 0.6
    soft[soft == 0] = 0.4
    both = [answer(maps, *PICTURES, regions=[Region("logo", one)]).said[0] for one in (region(), soft)]
    assert both[1].verdict == both[0].verdict == "arrived"
    assert both[1].figures["structure"] == pytest.approx(both[0].figures["structure"], abs=1e-5)


@pytest.mark.parametrize("box", [(55, 79, 56, 80), (0, 0, 3, 3), (109, 157, 112, 160), (0, 0, 112, 1), (0, 0, 112, 160)])
def test_regions_of_any_size_and_place(box: tuple[int, int, int, int]) -> None:
    found = answer(run(lambda _: looking_at(home())), *PICTURES, regions=[Region("bit", region(box))])
    no_nan(found)
    assert found.said[0].about == "bit"


def test_a_name_is_one_line() -> None:
    found = answer(
        run(lambda _: looking_at(home())),
        *PICTURES,
        regions=[Region(" my\n\tlogo ", region()), Region("", region()), Region("logo " * 200, region())],
    )
    assert [one.about for one in found.said[:2]] == ["my logo", "region"]
    assert len(found.said[2].about) == 60
    assert len(found.text().splitlines()[: len(found.said)]) == len(found.sentences)


def test_a_large_region_is_read_as_finely_as_a_small_one() -> None:
    maps = run(lambda _: looking_at(home()))
    generated, (picture,) = PICTURES
    large = [one.resize((one.width * 8, one.height * 8), Image.Resampling.BICUBIC) for one in (generated, picture)]
    small_said = answer(maps, generated, [picture], regions=[LOGO]).said[0]
    large_said = answer(maps, large[0], [large[1]], regions=[LOGO]).said[0]
    assert large_said.verdict == "arrived"
    assert large_said.figures["structure"] == pytest.approx(small_said.figures["structure"], abs=0.06)


def test_no_sentence_names_a_cause() -> None:
    found = answer(run(lambda _: looking_at(home())), worn(printed("U")), PICTURES[1], regions=[LOGO])
    assert found.said[0].verdict == "drawn differently"
    assert not any(word in found.text().lower() for word in ("because", "cause", "due to", "not where it was lost"))


def test_the_rest_is_placed_where_it_lies_and_not_in_its_middle() -> None:
    ring = torch.zeros(9, 9)
    ring[:, 0], ring[:, -1], ring[0], ring[-1] = 1, 1, 1, 1
    ring[8, 8] = 3
    assert place_of(ring) == "lower right"  # its middle is that of the picture, where nothing of it is


def test_small_parts_that_are_left_out_are_not_spoken_of() -> None:
    maps, mask = run(lambda _: torch.zeros(len(home()), math.prod(REFERENCE))), region((8, 8, 104, 80))
    assert of(answer(maps, *PICTURES, reference_mask=mask), "reach").text.startswith("Every part of the object")
    mask[80:152, 48:56] = 1  # a thin tail
    mask[80:152, 8:10] = 1
    assert of(answer(maps, *PICTURES, reference_mask=mask), "reach").text.startswith("Every larger part of the object")


def test_what_was_asked_for_and_cannot_be_said_stands_on_the_sheet_and_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []

    def spy(body: Image.Image, lines: list[str], further: list[str], text: int) -> Image.Image:
        told.append(lines)
        return headed(body, lines, further, text)

    monkeypatch.setattr("i2am.outputs.first_look.headed", spy)
    maps = run(lambda _: looking_at(home()), pairwise=None)
    generated, (picture,) = PICTURES
    look = first_look(maps, generated, picture, regions=[LOGO])
    (line,) = look.answers[0].unanswered
    assert line.startswith("Nothing can be said of logo")
    assert told[0][0] == line
    page = in_words(look.answers[0])
    assert page.index("Nothing can be said of logo") < page.index("<details>")


def test_taken_apart_says_when_the_whole_picture_was_asked() -> None:
    places = home()[torch.randperm(len(home()), generator=torch.Generator().manual_seed(1))]
    inside = torch.zeros(SIZE)
    inside[16:112, 12:84] = 1
    for mask in (None, inside):
        said = answer(run(lambda _: looking_at(places)), *PICTURES, inpaint_mask=mask, regions=[LOGO]).said[0]
        assert said.verdict == "apart"
        assert ("give an inpainting mask" in said.text) == (mask is None)


def test_chosen_steps_of_one_part_are_not_called_the_run() -> None:
    found = answer(run(lambda _: looking_at(home())), *PICTURES, Choice(steps=(3, 4)))
    assert "Nothing can be said of how the maps came about: the chosen steps were recorded as one part" in found.missing
