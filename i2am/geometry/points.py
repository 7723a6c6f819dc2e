"""Points on a picture, as a person types them."""

from __future__ import annotations

import json
import math

from ..errors import I2AMError, shown

Point = tuple[float, float]


def points_of(text: str) -> list[Point]:
    """Points in pixels from JSON: [[x, y], ...] or [{"x": x, "y": y}, ...]; nothing means no points.

    Raises:
        I2AMError: the text is anything else.

    >>> points_of('[[120, 80], {"x": 64, "y": 200}]')
    [(120.0, 80.0), (64.0, 200.0)]
    """
    if not text.strip():
        return []
    try:
        return _pairs(json.loads(text))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise I2AMError(f"points is {shown(text, 100)!r}; expected JSON in pixels, such as [[120, 80], [64, 200]]") from None


def _pairs(found: object) -> list[Point]:
    """Points from parsed JSON; anything else raises TypeError, ValueError or KeyError."""
    if not isinstance(found, list):
        raise TypeError
    pairs = [(p["x"], p["y"]) if isinstance(p, dict) else tuple(p) for p in found]
    if not all(len(p) == 2 and all(_is_number(v) for v in p) for p in pairs):
        raise TypeError
    return [(float(x), float(y)) for x, y in pairs]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
