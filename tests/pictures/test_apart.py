"""Differences painted: blue where the second has less, orange where it has more, the grey picture where both are alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sight import SIGHT, places_of

from i2am.levels.difference import Difference
from i2am.pictures.apart import PALE, difference_bar, paint_difference
from i2am.pictures.colours import DIVERGING, table_of


def apart(first: list[list[float]], second: list[list[float]], unit: str = "mean") -> Difference:
    return Difference(torch.tensor(first), torch.tensor(second), "G2R", "reference", unit, (40, 40))


def test_more_is_orange_less_is_blue_and_alike_is_grey() -> None:
    picture = Image.new("RGB", (90, 30), (200, 40, 40))
    drawn = np.asarray(paint_difference(picture, apart([[2.0, 1.0, 0.0]], [[0.0, 1.0, 2.0]])), int)
    less, alike, more = (drawn[15, x] for x in (5, 45, 85))
    assert less[2] > less[0] + 60
    assert more[0] > more[2] + 60
    grey = np.asarray(picture.convert("L"), float)[0, 0]
    assert np.abs(alike - (grey + (255 - grey) * PALE)).max() < 12
    assert np.ptp(alike) < 12


def test_equal_maps_leave_the_picture_in_grey() -> None:
    drawn = np.asarray(paint_difference(Image.new("RGB", (20, 20), (90, 120, 30)), apart([[1.0, 2.0]], [[1.0, 2.0]])))
    assert np.ptp(drawn) == 0
    assert difference_bar(200, apart([[1.0]], [[1.0]]), 15).info["ticks"] == ((0.5, 0.0),)


def test_a_weaker_difference_is_weaker_on_a_given_scale() -> None:
    picture, one = Image.new("RGB", (40, 40), (128, 128, 128)), apart([[1.0, 1.0]], [[0.5, 1.5]])
    own, on_another = (np.asarray(paint_difference(picture, one, limit), int)[20, 35] for limit in (None, 4.0))
    assert np.ptp(own) > 2 * np.ptp(on_another) > 0


def test_the_scale_is_centred_at_0_and_shares_are_points() -> None:
    for unit, most in (("mean", 0.5), ("share", 50.0)):
        ticks = difference_bar(300, apart([[1.0, 1.0]], [[0.5, 1.25]], unit), 15).info["ticks"]
        assert [value for _, value in ticks] == pytest.approx([-most, -most / 2, 0, most / 2, most])


@pytest.mark.parametrize("sight", SIGHT)
def test_both_sides_are_told_apart_by_all_kinds_of_sight(sight: str) -> None:
    """In OKLab: blue and orange of one strength differ, and either side grows darker from the pale middle on."""
    places = places_of(table_of(DIVERGING), sight)
    for step in (40, 80, 127):
        assert float((places[127 - step] - places[128 + step]).norm()) > 0.1, step
    light = places[:, 0]
    assert bool((light[:127].diff() > -1e-3).all())
    assert bool((light[128:].diff() < 1e-3).all())
