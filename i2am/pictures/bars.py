"""Shares that add up to 1: a bar for each part, or all of them stacked into one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ..levels.share import in_percent
from .lettering import INK, PAPER, QUIET, draw_text, line_height, text_width, wrap
from .parts import Colour
from .sheet import set_lines


@dataclass(frozen=True)
class Bar:
    """One bar, such as a reference's with the ways to it: its parts from left to right, each a share and its colour.

    ``percent`` stands at its right, ``words`` below its name.
    """

    name: str
    parts: tuple[tuple[float, Colour], ...]
    percent: int
    words: str = ""


def share_bars(shares: Mapping[str, float], colours: Mapping[str, Colour], width: int, text: int) -> Image.Image:
    """A bar for each part from 0 to 1, with its name and its share in per cent, which add up to 100.

    Args:
        shares: by name, in order.
        colours: of each, by name.
        width: of the whole, in pixels.
        text: height of the letters, in pixels.
    """
    percents = in_percent(shares)
    return bars_of([Bar(name, ((share, colours[name]),), percents[name]) for name, share in shares.items()], width, text)


def bars_of(bars: Sequence[Bar], width: int, text: int) -> Image.Image:
    """Bars from 0 to 1 below each other, each with its name, its per cent and its words.

    Args:
        bars: in order.
        width: of the whole, in pixels.
        text: height of the letters, in pixels.
    """
    line, bar, gap = line_height(text), round(0.95 * text), round(0.45 * text)
    number = math.ceil(text_width("100%", text))
    rows = [
        [(row, text, INK) for row in wrap(one.name, text, width - number - text)]
        + [(row, text, QUIET) for row in (wrap(one.words, text, width - number - text) if one.words else [])]
        for one in bars
    ]
    out = Image.new("RGB", (width, sum(len(lines) * line + bar + gap for lines in rows)), PAPER)
    draw, y = ImageDraw.Draw(out), 0
    for one, lines in zip(bars, rows, strict=True):
        percent = f"{one.percent}%"
        draw_text(out, (width - math.ceil(text_width(percent, text)), y), percent, text, INK)
        set_lines(out, (0, y), lines)
        y += len(lines) * line
        draw.rectangle((0, y, width - 1, y + bar - 1), outline=QUIET)
        start = 0.0
        for share, colour in one.parts:
            left, right = (round(min(max(x, 0.0), 1.0) * (width - 2)) for x in (start, start + share))
            start += share
            if right > left:
                draw.rectangle((1 + left, y + 1, right, y + bar - 2), fill=colour)
        y += bar + gap
    return out


def stacked_bar(shares: Mapping[str, float], colours: Mapping[str, Colour], width: int, height: int) -> Image.Image:
    """All parts in one bar from left to right; where there is room, with their shares in per cent."""
    out = Image.new("RGB", (width, height), PAPER)
    draw, start, text = ImageDraw.Draw(out), 0.0, max(12, round(0.62 * height))
    percents = in_percent(shares)
    for name, share in shares.items():
        left, right = round(start * width), round((start + share) * width)
        start += share
        if right <= left:
            continue
        draw.rectangle((left, 0, right - 1, height - 1), fill=colours[name])
        percent = f"{percents[name]}%"
        if text_width(percent, text) + 6 < right - left:
            dark = sum(colours[name]) < 330
            place = (left + (right - left - text_width(percent, text)) / 2, (height - line_height(text)) / 2)
            draw_text(out, place, percent, text, PAPER if dark else INK)
    draw.rectangle((0, 0, width - 1, height - 1), outline=QUIET)
    return out
