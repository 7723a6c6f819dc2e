"""Pins drawn on their pictures: each in its colour, with its number and its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageColor, ImageDraw

from ..geometry.cells import Cell, cell_box
from ..geometry.layout import TokenGrid
from .lettering import INK, PAPER, draw_text, line_height, size_of_text, text_width

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Mark:
    """What is drawn of a pin on one picture.

    Attributes:
        label: its number and name, or empty.
        colour: as "#rrggbb".
        cells: the cells that it means; or, of its peak, the one cell.
        peak: whether it is drawn as a ring: the place that a pin on another picture looks at most.
    """

    label: str
    colour: str
    cells: tuple[Cell, ...]
    peak: bool = False


def draw_marks(picture: Image.Image, grid: TokenGrid, marks: Sequence[Mark]) -> Image.Image:
    """A copy of the picture with frames around the cells of pins, and rings around peaks; all have dark edges."""
    out = picture.convert("RGB").copy()
    text = size_of_text(min(out.size))
    for mark in marks:
        box = _around(grid, mark.cells, (out.height, out.width))
        if mark.peak:
            _ring(out, box, mark.colour, text)
        else:
            _frame(out, box, mark.colour, text)
    for mark in marks:  # above all frames
        if mark.label:
            _name(out, _around(grid, mark.cells, (out.height, out.width)), mark.label, mark.colour, text)
    return out


def _around(grid: TokenGrid, cells: Sequence[Cell], size: tuple[int, int]) -> Box:
    boxes = [cell_box(grid, *cell, size) for cell in cells]
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _frame(out: Image.Image, box: Box, colour: str, text: int) -> None:
    width = max(2, round(text / 5))
    grow = max(0.0, text * 0.9 - min(box[2] - box[0], box[3] - box[1])) / 2
    left, top, right, bottom = box[0] - grow, box[1] - grow, box[2] + grow, box[3] + grow
    draw = ImageDraw.Draw(out)
    for reach, line, fill in ((width + 1, width + 2, "#0c0e12"), (width, width, colour)):
        draw.rectangle((left - reach, top - reach, right + reach - 1, bottom + reach - 1), outline=fill, width=line)


def _ring(out: Image.Image, box: Box, colour: str, text: int) -> None:
    x, y, width = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, max(2, round(text / 5))
    radius = max(box[2] - box[0], box[3] - box[1], text * 0.8) * 0.65
    draw = ImageDraw.Draw(out)
    for reach, line, fill in ((width + 1, width + 2, "#0c0e12"), (width, width, colour)):
        r = radius + reach
        draw.ellipse((x - r, y - r, x + r, y + r), outline=fill, width=line)


def _name(out: Image.Image, box: Box, label: str, colour: str, text: int) -> None:
    """A label in the pin's colour beside its frame, on the side that has room; dark or light letters, as the colour asks."""
    width, height = round(text_width(label, text)) + 10, line_height(text)
    right = box[2] + text + width <= out.width
    x = round(min(max(box[2] + text * 0.6 if right else box[0] - text * 0.6 - width, 0), max(out.width - width, 0)))
    y = round(min(max((box[1] + box[3] - height) / 2, 0), out.height - height))
    red, green, blue = ImageColor.getrgb(colour)[:3]
    light = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    plate = ImageDraw.Draw(out)
    plate.rounded_rectangle((x, y, x + width, y + height), radius=4, fill=colour, outline="#0c0e12")
    draw_text(out, (x + 5, y), label, text, INK if light else PAPER)
