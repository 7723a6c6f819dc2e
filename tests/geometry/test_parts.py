"""Rectangles of pictures in a stitched reference, as people write them."""

from __future__ import annotations

import pytest

from i2am.errors import LayoutError
from i2am.geometry.layout import TokenGrid
from i2am.geometry.parts import cut, parts_of
from i2am.geometry.sequence import Span


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[0, 0, 1, 1", "rectangles as JSON"),
        ("[0, 0, 0.5]", "rectangles as JSON"),
        ("[0.5, 0, 512, 1]", "divide pixels by the width"),
        ("[]", "rectangles as JSON"),
        ('{"1": []}', "rectangles as JSON"),
        ('[["a", 0, 1, 1]]', "rectangles as JSON"),
        ("[[0, 0, NaN, 1]]", "rectangles as JSON"),
        ("[[0, 0, 1, true]]", "rectangles as JSON"),
        ("[[[[0, 0, 1, 1]]]]", "rectangles as JSON"),
        ("[" * 100_000, "rectangles as JSON"),
        ("[[0, 0, 512, 1024]]", "divide pixels by the width"),
        ("[[0.5, 0, 0.5, 1]]", "0 ≤ left < right ≤ 1"),
        ("[[0, 0, 0.6, 1], [0.4, 0, 1, 1]]", "\\(numbers 1 and 2\\) overlap"),
    ],
)
def test_what_is_no_rectangle_is_refused(written: str, said: str) -> None:
    with pytest.raises(LayoutError, match=said):
        parts_of(written)


def test_pictures_below_each_other_on_a_grid_that_reaches_beyond() -> None:
    """5 x 4 cells of latent as 3 x 2 tokens: the last row covers 1.2 of the height."""
    whole = Span("reference", TokenGrid(3, 2, picture=(40, 32), rect=(0, 0, 1, 1.2)), "stitched", start=10)
    upper, lower = cut(whole, ((0, 0, 1, 0.4), (0, 0.4, 1, 1)))
    assert (upper.grid.rows, upper.grid.picture) == (1, (16, 32))
    assert upper.grid.rect == pytest.approx((0, 0, 1, 1))
    assert (lower.grid.rows, lower.grid.picture) == (2, (24, 32))
    assert lower.grid.rect == pytest.approx((0, 0, 1, 0.8 / 0.6))
    assert [part.positions().tolist() for part in (upper, lower)] == [[10, 11], [12, 13, 14, 15]]


def test_a_picture_smaller_than_a_token_is_refused() -> None:
    whole = Span("reference", TokenGrid(3, 6, picture=(48, 96)), "stitched")
    with pytest.raises(LayoutError, match="holds no whole token of a reference of 3 x 6 tokens; make it larger"):
        cut(whole, ((0, 0, 0.1, 1),))
