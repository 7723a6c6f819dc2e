"""What geometry refuses: points, masks, grids and layouts that mean nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from i2am.errors import I2AMError, LayoutError, MaskError
from i2am.geometry.cells import cells_at, cells_under
from i2am.geometry.layout import Layout, Reference, TokenGrid, suggest
from i2am.geometry.masks import mask_to_score
from i2am.geometry.points import points_of

GRID = TokenGrid(2, 2)
PLACELESS = TokenGrid(0, 0, leading=4)
HALF = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
NO_NUMBERS = HALF.where(HALF > 0, float("nan"))


@pytest.mark.parametrize("text", ["[null]", "[[1, 2, 3]]", '["ab"]', "[[1, 1e400]]", f"[[1, {'9' * 400}]]", "[" * 100_000])
def test_points_of_another_form(text: str) -> None:
    with pytest.raises(I2AMError, match="expected pixels, such as"):
        points_of(text)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (NO_NUMBERS, "the mask holds NaN or infinity"),
        (HALF / 0, "the mask holds NaN or infinity"),
        (HALF * 255, "the mask holds values from 0 to 255, expected 0 to 1"),
        (HALF * 0, "the mask is empty"),
        (HALF * 0 + 1, "the mask covers the whole picture"),
        (torch.ones(2, 3, 3), r"one mask of shape \(H, W\), got \(2, 3, 3\)"),
    ],
)
def test_masks_that_cannot_be_scored(mask: torch.Tensor, message: str) -> None:
    with pytest.raises(MaskError, match=message):
        mask_to_score(mask, "mask")


def test_a_region_that_holds_no_numbers() -> None:
    with pytest.raises(MaskError, match="the region holds NaN"):
        cells_under(NO_NUMBERS, GRID)


@pytest.mark.parametrize("choose", [lambda: cells_at([(1, 1)], (4, 4), PLACELESS), lambda: cells_under(HALF, PLACELESS)])
def test_tokens_without_a_place_have_no_cells(choose: Callable[[], object]) -> None:
    with pytest.raises(LayoutError, match="none of the 4 tokens has a place"):
        choose()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TokenGrid(2.0, 2), "whole numbers, .* got 2.0, 2, 0 and None"),  # type: ignore[arg-type]
        (lambda: TokenGrid(2, "2"), "whole numbers, .* got 2, '2', 0"),  # type: ignore[arg-type]
        (lambda: TokenGrid(2, 2, picture=(8.0, 8)), r"in whole pixels or None, .* and \(8.0, 8\)"),  # type: ignore[arg-type]
        (lambda: TokenGrid(2, 2, picture="8"), "in whole pixels or None"),  # type: ignore[arg-type]
        (lambda: TokenGrid(2, 2, picture=(8,)), "in whole pixels or None"),  # type: ignore[arg-type]
        (lambda: Layout.of((2, 2)), "made of token grids, such as Layout.of.*got a tuple"),  # type: ignore[arg-type]
        (lambda: TokenGrid(2, 2, rect=(0.0, 1.0, 1.0, 0.0)), "top < bottom, got"),
        (lambda: Layout((Reference(GRID, -1),)), "counted from 0, but the layout starts at query 0 and at keys -1"),
        (lambda: Layout((Reference(GRID),), query_start=-1), "starts at query -1"),
    ],
)
def test_grids_and_layouts_that_lie_nowhere(make: Callable[[], object], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        make()


def test_no_tokens_suggest_no_grid() -> None:
    assert suggest(0) == ""
    assert suggest(2) == ""
    assert "16 x 16 and 0 leading" in suggest(256)
