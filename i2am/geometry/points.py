"""Points on a picture, as a person types them or copies them from a report, a table or a caption."""

from __future__ import annotations

import json
import math
import re

from ..errors import I2AMError, shown

Point = tuple[float, float]

EXAMPLE = "[[120, 80], [64, 200]], or 120, 80 as reports and captions write it"
_WRITTEN = re.compile(
    r"""(?:(?:generated|reference)\s+)?(?:patch\s+)?       # what a caption begins with
        x?\s*=?\s*([-+]?\d+(?:\.\d+)?)\s*,\s*            # x
        y?\s*=?\s*([-+]?\d+(?:\.\d+)?)                   # y
        \s*(?:\(row\ \d+,\ column\ \d+\))?[.:]?""",
    re.VERBOSE | re.IGNORECASE,
)


def points_of(text: str) -> list[Point]:
    """Points in pixels from JSON, [[x, y], ...] or [{"x": x, "y": y}, ...], or from text: x, y; nothing means no points.

    Text may be what a caption says of a patch, with its row and column, which are not read; several points stand on lines of
    their own or apart by semicolons. Of a region in JSON, with its width and height, the middle is taken.

    Raises:
        I2AMError: the text is anything else.

    >>> points_of('[[120, 80], {"x": 64, "y": 200}]')
    [(120.0, 80.0), (64.0, 200.0)]
    >>> points_of("120, 80 (row 20, column 30); 64, 200")
    [(120.0, 80.0), (64.0, 200.0)]
    """
    if not text.strip():
        return []
    try:
        if text.lstrip().startswith(("[", "{")):
            return _pairs(json.loads(text))
        return [_written(one) for one in re.split(r"[;\n]", text) if one.strip()]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise I2AMError(f"points is {shown(text, 100)!r}; expected pixels, such as {EXAMPLE}") from None


def _written(text: str) -> Point:
    """One point from text; anything else raises ValueError."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ValueError
    x, y = float(found[1]), float(found[2])
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError
    return x, y


def _pairs(found: object) -> list[Point]:
    """Points from parsed JSON; anything else raises TypeError, ValueError or KeyError."""
    if not isinstance(found, list):
        raise TypeError
    return [_point(p) for p in found]


def _point(found: object) -> Point:
    if isinstance(found, dict):
        size = [found.get(key, 0) for key in ("width", "height")]
        values = [found["x"], found["y"]]
    else:
        values, size = list(found), [0, 0]  # type: ignore[call-overload]
    if len(values) != 2 or not all(_is_number(v) for v in (*values, *size)):
        raise TypeError
    return float(values[0]) + float(size[0]) / 2, float(values[1]) + float(size[1]) / 2


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
