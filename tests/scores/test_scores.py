"""Scores from whatever masks there are, what has none and why, and the card that shows them."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from levels_run import Run, run
from PIL import Image

from i2am.errors import I2AMError
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam
from i2am.maps.value import AttributionMaps
from i2am.outputs.score_card import score_card, score_cards
from i2am.scores.imacs import imacs_pair, map_on_generated, map_on_reference
from i2am.scores.run import score_image
from i2am.scores.table import mean_of, scores_text

INSIDE = torch.zeros(24, 16)
INSIDE[4:18, 2:11] = 1
OBJECT = torch.zeros(30, 50)
OBJECT[5:25, 10:40] = 1


@cache
def masked() -> AttributionMaps:
    return Run(inpaint_mask=INSIDE).maps


@pytest.mark.parametrize("preset", ["default", "paper", "official"])
def test_an_image_scores_as_the_pair_does(preset: str) -> None:
    maps = run().maps
    expected = imacs_pair(maps, INSIDE, OBJECT, Choice(image=1), preset=preset, side="mass", weight=2.0, threshold=0.3)
    found = score_image(
        maps, INSIDE[None], OBJECT[None], Choice(image=1), preset=preset, side="mass", weight=2.0, threshold=0.3
    )
    assert found.scores == expected
    assert torch.equal(found.heats["g"].values, ulam(maps, "mass", Choice(image=1), preset=preset).values)


def test_each_side_alone() -> None:
    maps = run().maps
    assert map_on_generated(maps, INSIDE).score() == imacs_pair(maps, INSIDE, OBJECT)["g"]
    assert map_on_reference(maps, OBJECT, INSIDE).score() == imacs_pair(maps, INSIDE, OBJECT)["r"]
    only = score_image(maps, INSIDE, None)
    assert only.scores["r"].score is None
    assert only.scores["r"].notes == ("no reference mask was given",)
    assert set(only.heats) == set(only.masks) == {"g"}


def test_the_recorded_mask_is_used_and_named() -> None:
    found = score_image(masked(), None, OBJECT)
    assert found.scores["g"].score == map_on_generated(masked(), INSIDE).score().score
    assert "given at recording" in found.scores["g"].notes[0]
    assert found.scores["r"] == map_on_reference(masked(), OBJECT).score()


def test_without_any_inpainting_mask_eq_17_says_what_it_needs() -> None:
    with pytest.raises(I2AMError, match=r"IMACS_g: no inpainting mask was given; IMACS_r: eq. 17 needs the inpainting mask"):
        score_image(run().maps, None, OBJECT)
    with pytest.raises(I2AMError, match="IMACS needs a mask"):
        score_image(run().maps, None, None)


def test_a_map_that_is_refused_leaves_the_other_its_score() -> None:
    found = score_image(run().maps, INSIDE, OBJECT, Choice(branch="uncond"))  # G2R of null tokens is refused
    assert found.scores["g"].score is not None
    assert found.scores["r"].score is None
    assert "uncond" in found.scores["r"].notes[0]
    text = scores_text([found], "λ 3")
    assert text.startswith("λ 3\n")
    assert "IMACS_r: G2R of branch 'uncond' is refused" in text
    assert "IMACS_r is output as NaN" in text
    assert "IMACS_g is output as NaN" not in text
    assert math.isnan(mean_of([found], "r"))


def test_means_are_over_the_images_that_have_a_score() -> None:
    maps = run().maps
    both = [score_image(maps, INSIDE, OBJECT, Choice(image=i)) for i in (0, 1)]
    scores = [x.scores["g"].score for x in both]
    assert mean_of(both, "g") == pytest.approx(np.mean(scores))
    flat = replace(both[1], scores={**both[1].scores, "g": replace(both[1].scores["g"], score=None, flat=True)})
    assert mean_of([both[0], flat], "g") == scores[0]
    text = scores_text(both)
    assert f"IMACS_g mean: {np.mean(scores):.3f}" in text
    assert "IMACS_r image 1" in text


def test_masks_of_the_wrong_kind() -> None:
    with pytest.raises(I2AMError, match="inpainting mask is empty"):
        score_image(run().maps, INSIDE * 0, OBJECT)
    with pytest.raises(I2AMError, match="3 masks"):
        score_image(run().maps, torch.stack([INSIDE] * 3), OBJECT)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def test_the_card_shows_each_mask_and_each_score() -> None:
    maps = run().maps
    whole = score_image(maps, INSIDE, OBJECT)
    pictures = {"g": Image.new("RGB", (160, 240), (90, 120, 90)), "r": Image.new("RGB", (250, 150), (90, 120, 90))}
    card = score_card(whole, pictures, 0.4)
    assert card.width > 900
    assert card.height < 1200
    again = score_card(replace(whole, masks={**whole.masks, "g": INSIDE.flip(0)}), pictures, 0.4)
    assert again.size == card.size
    rows, columns = np.nonzero((pixels(card) != pixels(again)).any(-1))
    assert columns.max() < card.width // 2  # only the left side has another mask
    better = replace(whole.scores["r"], score=0.99)
    other = score_card(replace(whole, scores={**whole.scores, "r": better}), pictures, 0.4)
    rows, columns = np.nonzero((pixels(card) != pixels(other)).any(-1))
    assert columns.min() > card.width // 2
    assert len(rows) > 50


def test_cards_of_a_batch_have_one_size_also_without_a_score() -> None:
    maps = run().maps
    some = [score_image(maps, INSIDE, OBJECT), score_image(maps, INSIDE, None, Choice(image=1))]
    cards = score_cards(maps, some, 0.4)
    assert len(cards) == 2
    assert cards[0].size == cards[1].size


def test_a_card_is_drawn_on_the_pictures_at_hand() -> None:
    some = [score_image(run().maps, INSIDE, OBJECT, Choice(image=1))]
    size = (some[0].heats["g"].size[1], some[0].heats["g"].size[0])
    given = [Image.new("RGB", size, colour) for colour in ((250, 240, 60), (60, 240, 250))]
    with_it, without = (score_cards(run().maps, some, 0.4, given=g)[0] for g in ({"g": given}, None))
    second = [(60, 240, 250) in {colour for _, colour in card.getcolors(1 << 24) or []} for card in (with_it, without)]
    assert second == [True, False]
    with pytest.raises(I2AMError, match="3 pictures were given"):
        score_cards(run().maps, some, 0.4, given={"g": [*given, given[0]]})
