"""Charts as inline SVG that follows the page's colours: points of several series, each with a colour and a shape of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .html import Html, tag

WIDTH, HEIGHT = 360, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 40
MOST = 500
"""Points of a series that are drawn; of more, every so-manyth."""
SERIES = 6
"""Colours and shapes before they come again."""


@dataclass(frozen=True)
class Series:
    """Points of one name: (x, y) each, and their mean, which is drawn larger; no mean is drawn of a single point."""

    name: str
    points: Sequence[tuple[float, float]]


def scatter(series: Sequence[Series], x: str, y: str, title: str) -> Html:
    """A scatter plot as an <svg>, at most as wide as what it stands in.

    Args:
        series: at least one with a point.
        x: what the horizontal axis shows.
        y: what the vertical axis shows.
        title: for those who cannot see it.
    """
    every = [point for one in series for point in one.points]
    horizontal, vertical = (Axis.of([point[i] for point in every]) for i in (0, 1))
    parts = [tag("title", title)]
    for value in horizontal.ticks:
        at = _x(horizontal, value)
        parts.append(tag("path", d=f"M{at:.1f} {TOP}V{HEIGHT - BOTTOM}", class_="grid"))
        parts.append(tag("text", _plain(value), x=f"{at:.1f}", y=str(HEIGHT - BOTTOM + 14), text_anchor="middle"))
    for value in vertical.ticks:
        at = _y(vertical, value)
        parts.append(tag("path", d=f"M{LEFT} {at:.1f}H{WIDTH - RIGHT}", class_="grid"))
        parts.append(tag("text", _plain(value), x=str(LEFT - 5), y=f"{at + 3.5:.1f}", text_anchor="end"))
    parts.append(tag("text", x, x=str((LEFT + WIDTH - RIGHT) // 2), y=str(HEIGHT - 8), text_anchor="middle", class_="axis"))
    middle = (TOP + HEIGHT - BOTTOM) // 2
    turned = f"rotate(-90 12 {middle})"
    parts.append(tag("text", y, x="12", y=str(middle), text_anchor="middle", transform=turned, class_="axis"))
    several = [one for one in series if len(one.points) > 1]
    for number, one in enumerate(series):
        if one in several:
            step = -(-len(one.points) // MOST)
            drawn = "".join(_shape(number)(_x(horizontal, a), _y(vertical, b), 2.6) for a, b in one.points[::step])
            parts.append(tag("path", d=drawn, class_=f"points s{number % SERIES}"))
    for number, one in enumerate(series):
        if one.points:
            a, b = (math.fsum(point[i] for point in one.points) / len(one.points) for i in (0, 1))
            place = (_x(horizontal, a), _y(vertical, b))
            said = f"{one.name}{', mean' * (one in several)}: {_plain(a)}, {_plain(b)}"
            mark = tag("path", tag("title", said), d=_shape(number)(*place, 6), class_=f"mean s{number % SERIES}")
            parts.append(mark)
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)


def key(names: Sequence[str]) -> Html:
    """Which name has which colour and shape."""
    marks = []
    for number, name in enumerate(names):
        mark = tag("path", d=_shape(number)(8, 8, 5), class_=f"mean s{number % SERIES}")
        picture = tag("svg", mark, viewBox="0 0 16 16", class_="mark", aria_hidden="true")
        marks.append(tag("li", picture, " ", name))
    return tag("ul", *marks, class_="key")


@dataclass(frozen=True)
class Axis:
    """The range of an axis, and the values that are written at it."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Axis:
        """Around values, with a little air.

        >>> Axis.of([0.0, 10.0]).ticks
        (0.0, 2.5, 5.0, 7.5, 10.0)
        """
        low, high = min(values), max(values)
        air = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
        low, high = low - air, high + air
        rough = (high - low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= rough * 0.999)
        first = math.ceil(low / step)
        return cls(low, high, tuple(n * step for n in range(first, math.floor(high / step) + 1)))


def _x(axis: Axis, value: float) -> float:
    return LEFT + (value - axis.low) / (axis.high - axis.low) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - (value - axis.low) / (axis.high - axis.low) * (HEIGHT - TOP - BOTTOM)


def _plain(value: float) -> str:
    return f"{value + 0.0:.4g}".replace("-", "−")


def _round(x: float, y: float, r: float) -> str:
    return f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z"


def _square(x: float, y: float, r: float) -> str:
    return f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z"


def _up(x: float, y: float, r: float) -> str:
    return f"M{x:.1f} {y - 1.2 * r:.1f}l{1.2 * r:.1f} {2.2 * r:.1f}h{-2.4 * r:.1f}z"


def _diamond(x: float, y: float, r: float) -> str:
    return f"M{x:.1f} {y - 1.3 * r:.1f}l{1.3 * r:.1f} {1.3 * r:.1f}l{-1.3 * r:.1f} {1.3 * r:.1f}l{-1.3 * r:.1f} {-1.3 * r:.1f}z"


def _down(x: float, y: float, r: float) -> str:
    return f"M{x:.1f} {y + 1.2 * r:.1f}l{1.2 * r:.1f} {-2.2 * r:.1f}h{-2.4 * r:.1f}z"


def _cross(x: float, y: float, r: float) -> str:
    a, b = 0.4 * r, 0.8 * r
    return (
        f"M{x - a:.1f} {y - a - b:.1f}h{2 * a:.1f}v{b:.1f}h{b:.1f}v{2 * a:.1f}h{-b:.1f}v{b:.1f}h{-2 * a:.1f}v{-b:.1f}h{-b:.1f}"
        f"v{-2 * a:.1f}h{b:.1f}z"
    )


def _shape(number: int) -> Callable[[float, float, float], str]:
    return (_round, _square, _up, _diamond, _down, _cross)[number % SERIES]
