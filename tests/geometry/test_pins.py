"""Pins as text and as cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2am.errors import I2AMError
from i2am.geometry.cells import cell_box
from i2am.geometry.layout import TokenGrid
from i2am.geometry.pins import COLOURS, Pin, pins_of, pins_text

GRID = TokenGrid(4, 6)
INNER = TokenGrid(4, 6, rect=(0.25, 0.0, 0.75, 1.0))
SIZE = (80, 120)


def test_what_is_not_said_is_filled_in() -> None:
    first, second = pins_of('[{"x": 1, "y": 2.5}, {"x": 3, "y": 4, "on": "reference", "width": 5, "height": 6}]')
    assert first == Pin("pin 1", COLOURS[0], 1, 2.5)
    assert second == Pin("pin 2", COLOURS[1], 3, 4, 5, 6, reference=0)
    assert (first.on, second.on) == ("generated", "reference 1")
    assert second.middle == (5.5, 7)
    assert pins_of("") == pins_of("  \n") == []


pins = st.lists(
    st.builds(
        lambda name, colour, x, y, size, reference: Pin(name, f"#{colour:06x}", x / 4, y / 4, *size, reference=reference),
        st.text('ab "\\²é\n', min_size=1, max_size=60).filter(lambda name: name == " ".join(name.split()) != ""),
        st.integers(0, 2**24 - 1),
        st.integers(-400, 40_000),
        st.integers(-400, 40_000),
        st.one_of(st.just((0, 0)), st.tuples(st.integers(1, 999), st.integers(1, 999))),
        st.one_of(st.none(), st.integers(0, 62)),
    ),
    max_size=5,
)


@given(pins)
def test_pins_are_read_as_they_were_written(written: list[Pin]) -> None:
    assert pins_of(pins_text(written)) == written


def test_the_smallest_region_stays_one() -> None:
    (read,) = pins_of(pins_text([Pin("dot", "#000000", 3, 4, 1e-5, 2)]))
    assert read == Pin("dot", "#000000", 3, 4, 0.01, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("logo", ["JSON", '"x": 48']),
        ("[" * 100_000, ["JSON"]),
        ('{"x": 1, "y": 2}', ["a list"]),
        ("[[1, 2]]", ["pin 1", "an object with x and y"]),
        ('[{"x": 1, "y": 2}, {"name": "logo", "x": 1}]', ["pin 2 ('logo')", "pixels as its y", "has none"]),
        ('[{"x": "1", "y": 2}]', ["pin 1 ('pin 1')", "as its x", "has '1'"]),
        ('[{"x": true, "y": 2}]', ["as its x"]),
        ('[{"x": NaN, "y": 2}]', ["as its x", "nan"]),
        (f'[{{"x": {"9" * 400}, "y": 2}}]', ["as its x", "999"]),
        ('[{"x": 1, "y": 2, "width": 3}]', ["as its height", "has none"]),
        ('[{"x": 1, "y": 2, "width": 0, "height": 2}]', ["0 x 2 pixels", "larger than 0"]),
        ('[{"x": 1, "y": 2, "on": "reference 0"}]', ["'reference 0'", "'reference 1'"]),
        ('[{"x": 1, "y": 2, "on": 3}]', ["'3'"]),
        ('[{"x": 1, "y": 2, "colour": "red"}]', ["#rrggbb", "'red'"]),
        ('[{"x": 1, "y": 2, "color": "#ffffff"}]', ["'color'", "colour"]),
        ('[{"x": 1, "y": 2, "name": " "}]', ["name of pin 1", "1 to 60"]),
        (str([{"x": 1, "y": 2}] * 65).replace("'", '"'), ["65 pins", "64"]),
    ],
)
def test_what_is_no_pin_is_said_with_its_place(text: str, words: list[str]) -> None:
    with pytest.raises(I2AMError) as caught:
        pins_of(text)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_point_means_the_cell_under_it_and_a_region_those_with_their_middle_in_it() -> None:
    assert Pin("a", "#000000", 25, 45).cells(SIZE, GRID) == [(2, 1)]
    assert Pin("a", "#000000", 31, 0).cells(SIZE, INNER) == [(0, 0)]
    assert Pin("a", "#000000", 20, 20, 40, 20).cells(SIZE, GRID) == [(1, 1), (1, 2)]
    assert Pin("a", "#000000", 11, 20, 40, 20).cells(SIZE, GRID) == [(1, 1), (1, 2)]
    assert Pin("a", "#000000", 22, 23, 3, 3).cells(SIZE, GRID) == [(1, 1)]  # smaller than a cell
    with pytest.raises(I2AMError, match=r"pin 'a' on the generated picture: .*120 x 80"):
        Pin("a", "#000000", 121, 0).cells(SIZE, GRID)


@given(st.integers(0, 3), st.integers(0, 5), st.integers(1, 4), st.integers(1, 6), st.sampled_from([GRID, INNER]))
def test_the_boxes_of_cells_as_a_region_mean_these_cells(
    row: int, column: int, rows: int, columns: int, grid: TokenGrid
) -> None:
    last = min(row + rows, 4) - 1, min(column + columns, 6) - 1
    first, end = cell_box(grid, row, column, SIZE), cell_box(grid, *last, SIZE)
    pin = Pin("a", "#000000", first[0], first[1], end[2] - first[0], end[3] - first[1])
    (read,) = pins_of(pins_text([pin]))  # rounded to hundredths of a pixel
    expected = [(a, b) for a in range(row, last[0] + 1) for b in range(column, last[1] + 1)]
    assert pin.cells(SIZE, grid) == read.cells(SIZE, grid) == expected
