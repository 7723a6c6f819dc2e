"""Several pictures that were stitched into one reference: the rectangles that tell them apart, given by a person."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence as Items
from dataclasses import replace
from itertools import combinations
from typing import Any

from ..errors import LayoutError
from .layout import WHOLE, Rect, TokenGrid
from .sequence import Sequence, Span

Parts = tuple[tuple[Rect, ...], ...]
"""For each reference the rectangles of its pictures, (left, top, right, bottom) in fractions of it; none: it is one picture."""
EXAMPLE = "[[0, 0, 0.5, 1], [0.5, 0, 1, 1]]"


def parts_of(written: str) -> Parts:
    """Rectangles as a person writes them: one, those of the first reference, or a list of lists, one for each reference.

    Raises:
        LayoutError: it is neither, a rectangle is none or does not lie within its reference, or two overlap.

    >>> parts_of("[[0, 0, 0.5, 1], [0.5, 0, 1, 1]]")
    (((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)),)
    >>> parts_of("[0.5, 0, 1, 1]")
    (((0.5, 0.0, 1.0, 1.0),),)
    >>> parts_of("[[], [[0, 0, 1, 0.4], [0, 0.4, 1, 1]]]")
    ((), ((0.0, 0.0, 1.0, 0.4), (0.0, 0.4, 1.0, 1.0)))
    """
    if not written.strip():
        return ()
    try:
        given = json.loads(written)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, list) or not given:
        raise _unreadable(written)
    if not any(isinstance(part, list) for part in given):
        given = [given]  # one rectangle alone
    of_first = all(isinstance(part, list) and part and not isinstance(part[0], list) for part in given)
    every = [given] if of_first else given
    if not all(isinstance(parts, list) for parts in every):
        raise _unreadable(written)
    found = tuple(tuple(_rect(part, written) for part in parts) for parts in every)
    for rects in found:
        _check_apart(rects)
    return found


def _unreadable(written: str) -> LayoutError:
    return LayoutError(
        f"reference_parts is {written[:200]!r}; expected rectangles as JSON, [left, top, right, bottom] in fractions of the "
        f"stitched reference, such as {EXAMPLE}, or one such list for each reference"
    )


def _rect(part: Any, written: str) -> Rect:
    if not isinstance(part, list) or len(part) != 4:
        raise _unreadable(written)
    if not all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in part):
        raise _unreadable(written)
    left, top, right, bottom = (float(x) for x in part)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise LayoutError(
            f"the rectangle {part} in reference_parts is not [left, top, right, bottom] with 0 ≤ left < right ≤ 1 and "
            f"0 ≤ top < bottom ≤ 1; divide pixels by the width and the height of the stitched reference"
        )
    return left, top, right, bottom


def _check_apart(rects: Items[Rect]) -> None:
    for (i, a), (j, b) in combinations(enumerate(rects), 2):
        if max(a[0], b[0]) < min(a[2], b[2]) and max(a[1], b[1]) < min(a[3], b[3]):
            raise LayoutError(
                f"the rectangles {list(a)} and {list(b)} in reference_parts (numbers {i + 1} and {j + 1}) overlap; "
                f"give each picture of the stitched reference a place of its own"
            )


def apart(sequence: Sequence, parts: Parts) -> Sequence:
    """A sequence whose stitched references are one for each of their pictures, numbered anew.

    Args:
        sequence: of a call.
        parts: of its references, in order; those that it has none for are one picture.

    Raises:
        LayoutError: a rectangle holds no whole token.
    """
    rects = (*parts, *[()] * (len(sequence.references) - len(parts)))
    found = [
        part for span, own in zip(sequence.references, rects, strict=True) for part in (cut(span, own) if own else (span,))
    ]
    return replace(sequence, spans=(*sequence.rest, *found)).numbered()


def cut(span: Span, rects: Items[Rect]) -> tuple[Span, ...]:
    """A reference's span as one for each of its pictures; tokens that lie whole in no rectangle are nobody's.

    Args:
        span: the stitched reference, whose grid knows its picture and rectangle.
        rects: the pictures in it.

    Raises:
        LayoutError: a rectangle holds no whole token.
    """
    return tuple(_cut(span, rect) for rect in rects)


def _cut(span: Span, rect: Rect) -> Span:
    grid, (left, top, right, bottom) = span.grid, rect
    covered = grid.rect or WHOLE
    columns, across = _cells(left, right, grid.columns, covered[2])
    rows, down = _cells(top, bottom, grid.rows, covered[3])
    if not (columns and rows):
        raise LayoutError(
            f"the rectangle {list(rect)} in reference_parts holds no whole token of a reference of {grid.rows} x "
            f"{grid.columns} tokens; make it larger"
        )
    picture = grid.picture and (round((bottom - top) * grid.picture[0]), round((right - left) * grid.picture[1]))
    return Span(
        "reference",
        TokenGrid(len(rows), len(columns), picture=picture, rect=(across[0], down[0], across[1], down[1])),
        span.name,
        span.start + rows.start * grid.columns + columns.start,
        grid.columns,
    )


def _cells(first: float, last: float, count: int, covered: float) -> tuple[range, tuple[float, float]]:
    """The cells that lie whole between two fractions of a picture, and what they cover as fractions of what is between.

    Args:
        first, last: the fractions; the last cell may reach beyond the picture, where they end with it.
        count: cells of the whole grid.
        covered: the fraction of the picture that it covers.
    """
    start = math.ceil(first * count / covered - 1e-6)
    stop = count if last >= 1 else math.floor(last * count / covered + 1e-6)
    between = [(cell / count * covered - first) / (last - first) for cell in (start, stop)]
    return range(start, max(start, stop)), (between[0], between[1])
