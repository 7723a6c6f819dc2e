"""Lines over a common axis, such as deletion curves, and bars of one measure, as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from .lettering import INK, PAPER, QUIET, draw_text, line_height, text_width
from .parts import Colour
from .sheet import set_lines

LINES: tuple[Colour, ...] = ((0, 114, 178), (120, 124, 130), (213, 94, 0), (0, 158, 115), (204, 121, 167))
"""Colours of lines, in order: Okabe and Ito's, grey for the second."""
GRID = (225, 227, 230)
Points = Sequence[tuple[float, float]]


def line_chart(lines: Mapping[str, Points], x: str, y: str, width: int, text: int, percent: bool = False) -> Image.Image:
    """Lines with a dot at each point, a key, and axes from 0.

    Args:
        lines: by name, at least one, of points (x, y) that are not negative, not all of them 0 in x.
        x, y: what the axes show.
        width: of the whole, in pixels.
        text: height of the letters, in pixels.
        percent: write fractions on the horizontal axis in per cent.
    """
    line, small = line_height(text), max(12, text - 4)
    high_x = max(a for points in lines.values() for a, _ in points)
    high_y = max(b for points in lines.values() for _, b in points) or 1.0
    marks = _marks(high_y)
    high_y = max(high_y, marks[-1])
    left = math.ceil(max(text_width(f"{mark:g}", small) for mark in marks)) + text
    box = (left, line + text // 2, width - text, line + text // 2 + round(0.55 * width))
    out = Image.new("RGB", (width, box[3] + 2 * line + text + line * len(lines)), PAPER)
    draw = ImageDraw.Draw(out)
    draw_text(out, (0, 0), y, text, INK)

    def at(a: float, b: float) -> tuple[float, float]:
        return box[0] + a / high_x * (box[2] - box[0]), box[3] - b / high_y * (box[3] - box[1])

    for mark in marks:
        _, up = at(0, mark)
        draw.line((box[0], up, box[2], up), fill=GRID, width=2)
        words = f"{mark:g}"
        draw_text(out, (box[0] - text_width(words, small) - text / 2, up - line_height(small) / 2), words, small, QUIET)
    for mark in sorted({a for points in lines.values() for a, _ in points}):
        along, _ = at(mark, 0)
        words = f"{100 * mark:.3g}%" if percent else f"{mark:g}"
        draw.line((along, box[3], along, box[3] + text / 3), fill=QUIET, width=2)
        place = min(max(along - text_width(words, small) / 2, 0), width - text_width(words, small))
        draw_text(out, (place, box[3] + text / 3), words, small, QUIET)
    draw_text(out, (box[0], box[3] + line), x, text, INK)
    foot = box[3] + 2 * line + text // 2
    for number, (name, points) in enumerate(lines.items()):
        colour = LINES[number % len(LINES)]
        placed = [at(a, b) for a, b in points]
        draw.line(placed, fill=colour, width=max(3, text // 6), joint="curve")
        for a, b in placed:
            reach = max(4, text // 4)
            draw.ellipse((a - reach, b - reach, a + reach, b + reach), fill=colour, outline=PAPER)
        draw.rectangle((box[0], foot + line // 3, box[0] + 2 * text, foot + 2 * line // 3), fill=colour)
        draw_text(out, (box[0] + 3 * text, foot), name, text, INK)
        foot += line
    return out


def bar_chart(values: Mapping[str, float], title: str, width: int, text: int) -> Image.Image:
    """A bar for each value, by name, from 0 to the highest; no value is negative."""
    line, bar, gap = line_height(text), round(0.95 * text), round(0.45 * text)
    out = Image.new("RGB", (width, line + gap + len(values) * (line + bar + gap)), PAPER)
    draw, y, high = ImageDraw.Draw(out), line + gap, max(values.values()) or 1.0
    set_lines(out, (0, 0), [(title, text, INK)])
    for name, value in values.items():
        words = f"{value:.3g}"
        draw_text(out, (0, y), name, text, INK)
        draw_text(out, (width - text_width(words, text), y), words, text, INK)
        y += line
        draw.rectangle((0, y, max(1, round(value / high * (width - 1))), y + bar), fill=LINES[0])
        y += bar + gap
    return out


def _marks(high: float) -> list[float]:
    """Three to six round values from 0 that reach beyond ``high``.

    >>> _marks(0.074)
    [0.0, 0.02, 0.04, 0.06, 0.08]
    """
    unit = 10.0 ** math.floor(math.log10(high / 5))
    step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k * 5 >= high * 0.999)
    return [round(step * i, 12) for i in range(math.ceil(high / step - 1e-9) + 1)]
