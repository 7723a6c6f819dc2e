"""Points as people type them, and as every caption, table and report writes them."""

from __future__ import annotations

import pytest

from i2am.errors import I2AMError
from i2am.geometry.cells import cells_at, pixel_of, place_of
from i2am.geometry.layout import TokenGrid
from i2am.geometry.points import points_of


@pytest.mark.parametrize(
    "text",
    [
        "[[36, 52]]",
        '[{"name": "logo", "on": "generated", "x": 36, "y": 52}]',
        '[{"x": 30, "y": 50, "width": 12, "height": 4}]',
        "36, 52",
        "36,52",
        "x 36, y 52",
        "x = 36, y = 52",
        "36, 52 (row 6, column 4)",
        "patch 36, 52 (row 6, column 4)",
        "Generated patch 36, 52 (row 6, column 4)",
        " 36.0, 52.0; ",
    ],
)
def test_one_place_in_every_way_of_writing_it(text: str) -> None:
    assert points_of(text) == [(36.0, 52.0)]


def test_several_stand_on_lines_or_apart_by_semicolons() -> None:
    assert points_of("36, 52 (row 6, column 4)\n4, 4;  12.5, 7") == [(36, 52), (4, 4), (12.5, 7)]
    assert points_of(" \n") == []


@pytest.mark.parametrize(
    "text",
    ["[[1, 2]", "[20, 60]", "row 6, column 4", "(6, 4)", "36", "36, 52, 3", "36 52", "36, 52 to 40, 60", "1e999, 3",
     "[[NaN, 1]]", '[{"x": 1, "y": 2, "width": "3"}]', "36, 52 (row 6)"],
)  # fmt: skip
def test_what_is_no_place_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(I2AMError, match=r"expected pixels, such as \[\[120, 80\], \[64, 200\]\], or 120, 80 as reports"):
        points_of(text)


@pytest.mark.parametrize("grid", [TokenGrid(32, 24), TokenGrid(7, 5), TokenGrid(16, 12, rect=(0.1, 0.0, 0.9, 1.0))])
@pytest.mark.parametrize("size", [(128, 96), (200, 133)])
def test_what_names_a_cell_leads_back_to_it(grid: TokenGrid, size: tuple[int, int]) -> None:
    for row in range(grid.rows):
        for column in range(grid.columns):
            (point,) = points_of(place_of(grid, row, column, size))
            assert point == pixel_of(grid, row, column, size)
            assert cells_at([point], size, grid) == [(row, column)]
