"""What people type for layers, heads, steps and points."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from i2am.errors import I2AMError
from i2am.geometry.points import points_of
from i2am.levels.choice import EVERYTHING, Choice, choice_of, heads_of, layers_of, steps_of


@pytest.mark.parametrize("parse", [layers_of, heads_of, steps_of])
def test_nothing_means_all(parse: Callable[[str], object]) -> None:
    assert parse("") is None
    assert parse("  ") is None


def test_lists_are_separated_as_people_do() -> None:
    assert layers_of("output.* , middle.0.1.0\ninput.1") == ("output.*", "middle.0.1.0", "input.1")
    assert heads_of("0, 2 5") == (0, 2, 5)
    assert choice_of("a", "1", "0:2", branch="uncond") == Choice("uncond", layers=("a",), heads=(1,), steps=(0, 2))
    assert choice_of() == EVERYTHING == Choice()


def test_a_choice_is_a_value() -> None:
    listed, typed = Choice(layers=["a", "b"], heads=[1], steps=[0, 2]), choice_of("a b", "1", "0:2")  # type: ignore[arg-type]
    assert listed == typed
    assert len({listed, typed, Choice(layers="a"), Choice(layers=["a"])}) == 2
    assert typed.on_image(3) == choice_of("a b", "1", "0:2", image=3)
    with pytest.raises(I2AMError, match=r"\(first, stop\).*\(1, 2, 3\)"):
        Choice(steps=(1, 2, 3))  # type: ignore[arg-type]


def test_steps_are_a_half_open_range_or_one() -> None:
    assert steps_of("0:10") == (0, 10)
    assert steps_of(" 7 ") == (7, 8)


def test_points_in_both_spellings() -> None:
    assert points_of("") == []
    assert points_of('[[1, 2.5], {"x": 3, "y": 4}]') == [(1.0, 2.5), (3.0, 4.0)]


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (heads_of, "0;2"),
        (heads_of, "1.5"),
        (steps_of, "0:5:10"),
        (steps_of, "0-5"),
        (steps_of, ":5"),
        (points_of, "[1, 2]"),
        (points_of, "[[1, 2, 3]]"),
        (points_of, '[["1", "2"]]'),
        (points_of, "[[true, 2]]"),
        (points_of, "[[NaN, 2]]"),
        (points_of, "[[1, Infinity]]"),
        (points_of, '{"x": 1, "y": 2}'),
        (points_of, '[{"x": 1}]'),
        (points_of, "[[1, 2]"),
        (points_of, "1, 2"),
    ],
)
def test_everything_else_is_shown_back_with_an_example(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(I2AMError) as caught:
        parse(text)
    assert repr(text) in str(caught.value)
    assert "such as" in str(caught.value)
