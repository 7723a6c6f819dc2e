"""How the maps of two runs differ: against a statement of its own in numpy, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from edit_run import SHAPES, edit_run
from report_case import record

from i2am.errors import I2AMError, UnavailableError
from i2am.levels.choice import Choice
from i2am.levels.comparable import check_comparable
from i2am.levels.difference import difference, difference_of, patch_difference
from i2am.levels.marginal import tlam, ulam
from i2am.levels.patch import sram
from i2am.levels.share import share
from i2am.maps.value import AttributionMaps

SECOND = Choice(reference=1)


@pytest.fixture(scope="module")
def runs() -> tuple[AttributionMaps, AttributionMaps]:
    first, second = (edit_run(SHAPES[:2], steps=3, seed=seed) for seed in (0, 1))
    return first, second


def as_multiples(values: torch.Tensor) -> Any:
    array = values.numpy().astype(np.float64)
    return array / array.mean()


@pytest.mark.parametrize("side", ["R2G", "R2G-balanced", "G2R"])
def test_a_map_is_divided_by_its_own_mean_first(runs: tuple[AttributionMaps, AttributionMaps], side: str) -> None:
    apart = difference(*runs, side, SECOND)
    first, second = (as_multiples(ulam(maps, side, SECOND).values[0]) for maps in runs)
    np.testing.assert_allclose(apart.values, second - first, atol=1e-5)
    assert (apart.unit, apart.side, apart.of) == ("mean", side, "reference 2")
    assert apart.picture == ("reference" if side == "G2R" else "generated")
    assert apart.limit == pytest.approx(np.abs(second - first).max(), abs=1e-5)
    assert (apart.least, apart.largest) == pytest.approx(
        (min(first.min(), second.min()), max(first.max(), second.max())), abs=1e-5
    )
    assert float(apart.values.mean()) == pytest.approx(0, abs=1e-6)
    for most in (True, False):
        found = np.unravel_index((second - first if most else first - second).argmax(), first.shape)
        assert apart.place(most) == tuple(found)
    # as distributions, what has to be moved to make one of the other
    assert apart.moved == pytest.approx(np.abs(second / second.sum() - first / first.sum()).sum() / 2, abs=1e-6)


def test_shares_stay_shares(runs: tuple[AttributionMaps, AttributionMaps]) -> None:
    for side, first, second in (
        ("mass", *(ulam(maps, "mass", SECOND).values[0] for maps in runs)),
        ("share", *(share(maps).values[1] for maps in runs)),
    ):
        apart = difference(*runs, side, SECOND)
        assert apart.unit == "share"
        torch.testing.assert_close(apart.values, second - first)
        assert apart.moved == pytest.approx(float((second - first).abs().mean()))


def test_which_reference_is_that_of_the_chosen_one(runs: tuple[AttributionMaps, AttributionMaps]) -> None:
    both = [difference(*runs, "which reference", Choice(reference=i)).values for i in range(2)]
    torch.testing.assert_close(both[0], -both[1])
    assert float(both[0].abs().max()) > 0.01


@pytest.mark.parametrize("direction", ["reference", "generated"])
def test_a_patch_differs_as_its_maps_do(runs: tuple[AttributionMaps, AttributionMaps], direction: str) -> None:
    cells = [(2, 3), (2, 4)]
    apart = patch_difference(*runs, cells, direction, SECOND)
    first, second = (as_multiples(sram(maps, cells, direction, SECOND).values[0]) for maps in runs)
    np.testing.assert_allclose(apart.values, second - first, atol=1e-5)
    assert 0.01 < apart.moved < 1


def test_a_run_does_not_differ_from_itself(runs: tuple[AttributionMaps, AttributionMaps]) -> None:
    maps = runs[0]
    for apart in (difference(maps, maps, "G2R"), patch_difference(maps, maps, (3, 3)), difference(maps, maps, "mass")):
        assert (apart.limit, apart.moved) == (0, 0)


REFUSED: list[tuple[Callable[[], AttributionMaps], str]] = [
    (
        lambda: edit_run(SHAPES[:1], steps=1),
        r"the first has 2 reference\(s\) \(reference 1, reference 2\), the second 1 \(reference 1\).*same references",
    ),
    (
        lambda: edit_run(SHAPES[:2], steps=1, size=(14, 12)),
        r"the generated picture has 16 x 12 patches \(rows x columns\) in the first and 14 x 12 in the second.*same size",
    ),
    (
        lambda: edit_run(SHAPES[1:], steps=1, size=(14, 12)),
        r"the generated picture has .*; reference 1 has 16 x 12 patches .* and 9 x 13 .*; reference 2 .*pictures of one size",
    ),
]


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=["references", "picture", "all"])
def test_other_grids_are_refused_with_what_was_seen(
    runs: tuple[AttributionMaps, AttributionMaps], make: Callable[[], AttributionMaps], said: str
) -> None:
    other = make()
    for ask in (
        lambda: check_comparable(runs[0], other),
        lambda: difference(runs[0], other, "mass"),
        lambda: patch_difference(runs[0], other, (0, 0)),
    ):
        with pytest.raises(UnavailableError, match=said) as seen:
            ask()
        assert "Nothing is resampled" in str(seen.value)


def test_what_one_run_lacks_is_said_of_that_run() -> None:
    with pytest.raises(UnavailableError, match="in the second run: none of the chosen layers has pairwise maps"):
        patch_difference(record(), record(None), (0, 0))
    with pytest.raises(UnavailableError, match=r"in the first run: .*'out\.9'"):
        difference(record(), record(), "R2G", Choice(layers="out.9"))


def test_routes_are_several_maps_and_the_one_via_text_can_be_compared(runs: tuple[AttributionMaps, AttributionMaps]) -> None:
    with pytest.raises(I2AMError, match="routes are several maps of one reference"):
        difference(*runs, "routes", SECOND)
    first, second = (ulam(maps, "via text", SECOND).values[0] for maps in runs)
    apart = difference(*runs, "via text", SECOND)
    assert apart.unit == "share"
    np.testing.assert_allclose(apart.values, second - first, atol=1e-6)


def test_two_maps_must_be_alike() -> None:
    maps = record()
    with pytest.raises(I2AMError, match=r"got R2G on the generated picture, 1 panel.* and G2R on the reference picture"):
        difference_of(ulam(maps, "R2G"), ulam(maps, "G2R"))
    with pytest.raises(I2AMError, match=r"2 panel\(s\) of 8 x 6"):
        difference_of(tlam(maps, "R2G", groups=2), tlam(maps, "R2G", groups=2))
