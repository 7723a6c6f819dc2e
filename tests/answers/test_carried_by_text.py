"""What the text carried is said where it is much, with its rule, and not where it is little."""

from __future__ import annotations

import pytest
from PIL import Image
from sink_run import record
from text_route import PICTURE_ALONE, lacking, planted

from i2am.answers.answer import answer
from i2am.answers.carried_by_text import carried_by_text
from i2am.answers.thresholds import CARRIED, NOTICED
from i2am.levels.share import mean_shares, routes, routes_of
from i2am.levels.sinks import sinks

DIRECT = {"generated": "shirt", "text": "text"}
THROUGH = {"generated": "text", "text": "shirt"}


def test_a_garment_that_came_through_the_text_is_told() -> None:
    found = carried_by_text(planted(THROUGH))
    assert found is not None
    assert "100% of what reaches it of shirt (100.0% of its attention)" in found.text
    assert found.figures["shirt via text"] == pytest.approx(1)
    assert "shoes" not in found.text
    assert (found.topic, found.verdict) == ("routes", "much")
    assert f"from {CARRIED:.0%} of a reference's attention and {NOTICED:.0%} of all on" in found.rule
    assert "only a cut of the route text says" in found.rule


@pytest.mark.parametrize("ways", [DIRECT, {"generated": "generated", "text": "shirt"}])
def test_a_garment_that_came_directly_or_not_at_all_is_not(ways: dict[str, str]) -> None:
    assert carried_by_text(planted(ways)) is None


def test_what_a_sink_hands_on_is_not_counted() -> None:
    """Every patch gives half of its attention to a text token that reads the shirt: the token stands out from all others."""
    maps = record({2: 5.0})
    direct, through = routes_of(mean_shares(routes(maps)), "shirt")
    assert through > CARRIED * (direct + through)
    assert sinks(maps).found
    assert carried_by_text(maps) is None


def test_without_the_route_nothing_is_said() -> None:
    assert carried_by_text(lacking([PICTURE_ALONE])) is None


@pytest.mark.parametrize(("ways", "count"), [(DIRECT, 0), (THROUGH, 1)])
def test_it_is_part_of_the_answer_with_what_to_try(ways: dict[str, str], count: int) -> None:
    maps = planted(ways, generated_size=(24, 24))
    found = answer(maps, Image.new("RGB", (24, 24), "grey"), [None, None])
    assert [one.topic for one in found.said].count("routes") == count
    assert [one.topic == "next" and "route 'text' of an intervention" in one.text for one in found.said].count(True) == count
    assert not any("what the text carried" in line for line in found.missing)
