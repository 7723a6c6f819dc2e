"""What people type for layers, heads, steps and points."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

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


@pytest.mark.parametrize(("name", "value"), [("steps", 3), ("steps", slice(0, 3)), ("heads", 0), ("layers", 1)])
def test_one_number_is_no_choice(name: str, value: object) -> None:
    with pytest.raises(I2AMError, match=rf"the {name} of a choice are several, such as .*, got {re.escape(repr(value))}"):
        Choice(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("layers", [[0], ["a", 3], b"ab", {"a": 1}, [None]]),
        ("heads", ["0", [0.5], ["0"], [True], {0, 1}]),
        ("steps", [(0.0, 1.0), (0, 1.5), "0:2", (None, 1), (True, False), {0, 1}, [0, 1, 2]]),
        ("reference", [0.5, "0", None, True, [0]]),
        ("image", ["0", None, 1.0]),
        ("branch", [0, None, ["cond"]]),
    ],
)
def test_other_types_are_refused_in_words(name: str, values: list[Any]) -> None:
    for value in values:
        seen = tuple(value) if name == "steps" and isinstance(value, list) else value
        with pytest.raises(I2AMError, match=rf"the {name} of a choice (is|are) .*, got {re.escape(repr(seen))}"):
            Choice(**{name: value})


def test_numbers_of_other_libraries_become_plain_ones() -> None:
    given = Choice("cond", np.int64(1), np.int64(0), np.array(["a"]), torch.tensor([0, 2]), np.array([0, 3]))  # type: ignore[arg-type]
    assert given == Choice("cond", 1, 0, ("a",), (0, 2), (0, 3))
    assert [type(x) for x in (given.reference, *(given.heads or ()), *(given.steps or ()))] == [int] * 5


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
        (points_of, "1; 2"),
    ],
)
def test_everything_else_is_shown_back_with_an_example(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(I2AMError) as caught:
        parse(text)
    assert repr(text) in str(caught.value)
    assert "such as" in str(caught.value)
