"""Does a patch look where it should? Peaks of SRAM against places that are known from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UnavailableError
from ..geometry.cells import cells_at
from ..geometry.points import Point
from ..geometry.resample import Size
from ..levels.choice import EVERYTHING, Choice
from ..levels.patch import asked_grid, sram
from ..maps.value import AttributionMaps

NEAR = 1
"""Tokens of the reference, along rows and columns, within which a peak counts as right: the true one and its neighbours."""


@dataclass(frozen=True)
class Match:
    """The same detail on both pictures.

    Attributes:
        generated: its pixel (x, y) on the generated picture.
        reference: its pixel (x, y) on the reference picture.
    """

    generated: Point
    reference: Point


def pointing_accuracy(
    maps: AttributionMaps,
    matches: Sequence[Match],
    generated_size: Size,
    reference_size: Size,
    choice: Choice = EVERYTHING,
    *,
    near: int = NEAR,
) -> float:
    """The share of matches whose generated patch has its SRAM's peak within ``near`` tokens of the matched place, 0-1.

    Distances are the greater of those in rows and in columns, on the grid that SRAM lies on.

    Args:
        maps: a recording with pairwise maps.
        matches: at least one; pixels that the tokens do not cover are refused.
        generated_size: (H, W) of the picture that the matches' generated pixels are of.
        reference_size: (H, W) of the reference picture that theirs are of.
        choice: what to take of the recording.
        near: in tokens.

    Raises:
        LayoutError: a pixel lies outside of what the tokens cover.
        UnavailableError: there is no match; or as `sram`.
    """
    if not matches:
        raise UnavailableError("no place is known in both pictures, so nothing can be said of where patches look")
    asked, shown = asked_grid(maps, "reference", choice), asked_grid(maps, "generated", choice)
    queries = [cells_at([match.generated], generated_size, asked)[0] for match in matches]
    cells = list(dict.fromkeys(queries))
    values = sram(maps, cells, "reference", choice, each=True).values
    found = {cell: divmod(int(value.argmax()), shown.columns) for cell, value in zip(cells, values, strict=True)}
    right = 0
    for query, match in zip(queries, matches, strict=True):
        row, column = cells_at([match.reference], reference_size, shown)[0]
        right += max(abs(found[query][0] - row), abs(found[query][1] - column)) <= near
    return right / len(matches)
