"""Lettering that is legible, and looks the same, on any machine.

Labels use the TrueType font that comes with Pillow. It lacks a few characters that our labels need (–, ×, σ, λ,
superscript digits …); those are drawn here in its proportions.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from ..errors import I2AMError, shown
from ..numbers import typeset

PAPER = (255, 255, 255)
INK = (32, 33, 36)
QUIET = (95, 99, 104)

LINE = 1.34
"""The height of a line of text, in units of the text's size."""
BASELINE = 0.98
"""How far the baseline lies below the top of its line, in units of the text's size."""

LONGEST_LINE = 600
"""Characters of a line or a paragraph of text; what is longer is cut."""
MOST_PARAGRAPHS = 64

_STEM = 0.078
_Strokes = tuple[float, tuple[tuple[tuple[float, float], ...], ...]]


def _round_letter() -> tuple[tuple[float, float], ...]:
    turns = [2 * math.pi * i / 32 for i in range(33)]
    return tuple((0.28 + 0.215 * math.cos(t), 0.255 + 0.245 * math.sin(t)) for t in turns)


def _wave(height: float) -> tuple[tuple[float, float], ...]:
    return tuple((0.07 + 0.44 * i / 16, height + 0.06 * math.sin(2 * math.pi * i / 16)) for i in range(17))


# Advance and polylines of each drawn character, in units of the text's size; y runs up from the baseline.
_DRAWN: dict[str, _Strokes] = {
    "–": (0.54, (((0.06, 0.29), (0.48, 0.29)),)),
    "—": (0.90, (((0.06, 0.29), (0.84, 0.29)),)),
    "−": (0.58, (((0.08, 0.29), (0.50, 0.29)),)),
    "×": (0.58, (((0.12, 0.11), (0.46, 0.45)), ((0.12, 0.45), (0.46, 0.11)))),
    "→": (0.84, (((0.08, 0.29), (0.74, 0.29)), ((0.55, 0.46), (0.75, 0.29), (0.55, 0.12)))),
    "←": (0.84, (((0.10, 0.29), (0.76, 0.29)), ((0.29, 0.46), (0.09, 0.29), (0.29, 0.12)))),
    "≤": (0.58, (((0.48, 0.54), (0.10, 0.34), (0.48, 0.14)), ((0.10, 0.02), (0.48, 0.02)))),
    "≥": (0.58, (((0.10, 0.54), (0.48, 0.34), (0.10, 0.14)), ((0.10, 0.02), (0.48, 0.02)))),
    "≈": (0.58, (_wave(0.38), _wave(0.19))),
    "σ": (0.60, (_round_letter(), ((0.28, 0.50), (0.57, 0.50)))),
    "λ": (0.54, (((0.05, 0.70), (0.12, 0.70), (0.17, 0.63), (0.47, 0.02)), ((0.29, 0.40), (0.06, 0.02)))),
}

_RAISED = {"⁰": "0", "¹": "1", "²": "2", "³": "3", "⁴": "4", "⁵": "5", "⁶": "6", "⁷": "7", "⁸": "8", "⁹": "9"}
_RAISED |= {"⁻": "−", "⁺": "+"}
_RAISED_SIZE, _RAISED_BY = 0.68, 0.36


def size_of_text(shorter: float) -> int:
    """The label size, in pixels, for a picture whose shorter side is ``shorter`` pixels.

    >>> size_of_text(64), size_of_text(384), size_of_text(1024)
    (13, 15, 31)
    """
    return max(13, round(15 * math.pow(max(shorter, 1) / 384, 0.75)))


def line_height(size: int) -> int:
    """The height of one line of text, in pixels."""
    return math.ceil(size * LINE)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise I2AMError("labels need a Pillow with FreeType; install the standard pillow wheel")
    return font


@lru_cache(maxsize=512)
def _in_font(char: str) -> bool:
    font = _font(24)
    missing = font.getmask("\ufffe")
    return char.isspace() or bytes(font.getmask(char)) != bytes(missing)


def _pieces(text: str) -> list[tuple[str, str]]:
    """Text as runs of (kind, characters): "font", "drawn" (one character each) or "raised" (superscript)."""
    runs: list[tuple[str, str]] = []
    for char in unicodedata.normalize("NFC", shown(text, LONGEST_LINE).replace("\n", " ")):
        kind = "drawn" if char in _DRAWN else "raised" if char in _RAISED else "font"
        if kind == "font" and not _in_font(char):  # an accented letter is better bare than as an empty box
            bare = "".join(c for c in unicodedata.normalize("NFKD", char) if not unicodedata.combining(c))
            char = bare if bare and all(map(_in_font, bare)) else char
        if runs and kind != "drawn" and runs[-1][0] == kind:
            runs[-1] = (kind, runs[-1][1] + char)
        else:
            runs.append((kind, char))
    return runs


def _raised_size(size: int) -> int:
    return max(9, round(size * _RAISED_SIZE))


def _raised(text: str) -> str:
    return "".join(_RAISED[c] for c in text)


def text_width(text: str, size: int) -> float:
    """The width of one line of text, in pixels."""
    width = 0.0
    for kind, run in _pieces(text):
        if kind == "font":
            width += _font(size).getlength(run)
        elif kind == "drawn":
            width += _DRAWN[run][0] * size
        else:
            width += text_width(_raised(run), _raised_size(size))
    return width


def _draw_sign(image: Image.Image, x: float, baseline: int, sign: str, size: int, fill: tuple[int, int, int]) -> None:
    fine = 8
    advance, lines = _DRAWN[sign]
    left, up = math.floor(x), math.ceil(0.85 * size)
    mask = Image.new("L", (math.ceil(advance * size + 2) * fine, math.ceil(1.1 * size) * fine))
    draw = ImageDraw.Draw(mask)
    radius = max(_STEM * size, 1.0) * fine / 2
    # Horizontal strokes are moved to whole pixels: a thin bar that straddles two rows looks grey.
    for line in lines:
        flat = len({y for _, y in line}) == 1
        points = []
        for px, py in line:
            y = up - py * size
            y = math.floor(y) + 0.5 if flat else y
            points.append(((px * size + x - left) * fine, y * fine))
        draw.line(points, fill=255, width=round(2 * radius), joint="curve")
        for px, py in (points[0], points[-1]):
            draw.ellipse((px - radius, py - radius, px + radius, py + radius), fill=255)
    small = mask.resize((mask.width // fine, mask.height // fine), Image.Resampling.BOX)
    image.paste(fill, (left, baseline - up), small)


def draw_text(image: Image.Image, at: tuple[float, float], text: str, size: int, fill: tuple[int, int, int] = INK) -> None:
    """Draw one line of text into an RGB picture, the top left corner of its line at ``at`` (x, y)."""
    _draw_on_baseline(image, at[0], round(at[1] + BASELINE * size), text, size, fill)


def _draw_on_baseline(image: Image.Image, x: float, baseline: int, text: str, size: int, fill: tuple[int, int, int]) -> None:
    draw = ImageDraw.Draw(image)
    for kind, run in _pieces(text):
        if kind == "font":
            draw.text((x, baseline), run, fill=fill, font=_font(size), anchor="ls")
            x += _font(size).getlength(run)
        elif kind == "drawn":
            _draw_sign(image, x, baseline, run, size, fill)
            x += _DRAWN[run][0] * size
        else:
            small = _raised_size(size)
            _draw_on_baseline(image, x, baseline - round(_RAISED_BY * size), _raised(run), small, fill)
            x += text_width(_raised(run), small)


def _fill(parts: Sequence[str], size: int, width: float) -> list[str]:
    """Join parts into as few lines as possible; a part wider than a line stands alone."""
    lines: list[str] = []
    for part in parts:
        if lines and text_width((lines[-1] + part).rstrip(), size) <= width:
            lines[-1] += part
        else:
            lines.append(part)
    return [line.strip() for line in lines]


def _breakable(word: str, size: int, width: float, marks: Sequence[str] = ("./", "_:,-")) -> list[str]:
    """Split a word into parts that fit on a line: whole, or cut after dots and slashes, after other marks, or anywhere."""
    if text_width(word.rstrip(), size) <= width:
        return [word]
    if not marks:
        return list(word)
    parts = re.findall(f"[^{marks[0]}]*[{marks[0]}]|[^{marks[0]}]+", word)
    return [piece for part in parts for piece in _breakable(part, size, width, marks[1:])]


def wrap(text: str, size: int, width: float) -> list[str]:
    """Break text into lines of at most ``width`` pixels: at spaces, and within words that are longer than that."""
    lines: list[str] = []
    for paragraph in text.split("\n")[:MOST_PARAGRAPHS]:
        words = re.findall(r"\S+\s*", shown(paragraph, LONGEST_LINE))
        parts = [part for word in words for part in _breakable(word, size, width)]
        lines += _fill(parts, size, width)
    return [line for line in lines if line]


def tick_labels(values: Sequence[float]) -> tuple[list[str], int]:
    """Numbers as short texts, distinct down to a millionth of the largest, and the power of ten they share (or 0).

    >>> tick_labels([0.0, 0.5, 1.0])
    (['0.00', '0.50', '1.00'], 0)
    >>> tick_labels([0.0, 4.2e-5])
    (['0.00', '4.20'], -5)
    """
    largest, spread = max(map(abs, values)), max(values) - min(values)
    if largest == 0:
        return ["0"] * len(values), 0
    power = math.floor(math.log10(largest))
    power = power if power < -2 or power > 3 else 0
    step = spread / max(len(values) - 1, 1) if spread > largest * 1e-6 else largest
    digits = max(2 - math.floor(math.log10(largest / 10.0**power)), 1 - math.floor(math.log10(step / 10.0**power)))
    decimals = min(max(digits, 0), 7)
    return [typeset(v / 10.0**power, decimals) for v in values], power


def power_text(power: int) -> str:
    """A shared power of ten as text; empty for 0.

    >>> power_text(-4)
    '×10⁻⁴'
    """
    return "×10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")) if power else ""
