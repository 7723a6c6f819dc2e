"""Pictures set side by side on one sheet, each with its label."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from ..errors import I2AMError
from .lettering import INK, PAPER, QUIET, draw_text, line_height, size_of_text, wrap


def columns_for(count: int, cell: tuple[float, float]) -> int:
    """The number of columns that sets ``count`` cells of (width, height) on a landscape sheet with few gaps.

    >>> columns_for(5, (100, 120)), columns_for(8, (100, 120))
    (3, 4)
    """
    width, height = cell
    ideal = min(count, max(1, round(math.sqrt(count * height / width * 1.5))))
    tried = range(max(1, ideal - 1), min(count, ideal + 2) + 1)
    return min(tried, key=lambda c: (math.ceil(count / c) * c - count + abs(c - ideal) * 1.2, -c))


def _lines_of(label: str, size: int, width: float) -> list[tuple[str, int, tuple[int, int, int]]]:
    """A label's lines with size and colour; what follows its first line break is smaller and grey."""
    head, _, detail = label.partition("\n")
    small = max(12, size - 2)
    lines = [(line, size, INK) for line in wrap(head, size, width)]
    return lines + [(line, small, QUIET) for line in wrap(detail, small, width)]


def block(lines: Sequence[tuple[str, int, tuple[int, int, int]]]) -> int:
    """The height of lines of text, one below another, in pixels."""
    return sum(line_height(size) for _, size, _ in lines)


def set_lines(image: Image.Image, at: tuple[float, float], lines: Sequence[tuple[str, int, tuple[int, int, int]]]) -> None:
    """Draw lines of (text, size, colour) one below another, from the top left corner ``at``."""
    x, y = at
    for text, size, fill in lines:
        draw_text(image, (x, y), text, size, fill)
        y += line_height(size)


def sheet(
    items: Sequence[tuple[Image.Image, str]],
    columns: int | None = None,
    title: str | None = None,
    *,
    notes: Sequence[str] = (),
    beside: Image.Image | None = None,
    text: int | None = None,
) -> Image.Image:
    """Set pictures side by side, each with its label below, on one white sheet.

    Args:
        items: pictures with labels; text after a label's first line break is set smaller, as its detail.
        columns: pictures per row; None: chosen automatically.
        title: written above everything.
        notes: small print below everything, one paragraph each.
        beside: a picture to the right of the others, such as a colour bar.
        text: height of the labels' letters in pixels; None: chosen by the pictures' size.

    Returns:
        An RGB picture. Its ``info["cells"]`` lists the (left, top, right, bottom) of every picture on it.

    Raises:
        I2AMError: no items, or fewer than one column.
    """
    if not items:
        raise I2AMError("a sheet needs at least one picture, got none")
    if columns is not None and columns < 1:
        raise I2AMError(f"a sheet needs at least 1 column, got {columns}")
    widest, tallest = max(p.width for p, _ in items), max(p.height for p, _ in items)
    text = text or size_of_text(min(widest, tallest))
    cell = max(widest, 7 * text)
    # A single picture: its label may extend below the picture beside it.
    room = cell if len(items) > 1 or beside is None else cell + beside.width
    labels = [_lines_of(label, text, room) for _, label in items]
    below = [block(lines) for lines in labels]
    label_gap = round(text * 0.35) if any(below) else 0
    gap, margin = round(text * 1.1), round(text * 1.3)
    if columns is None:
        columns = columns_for(len(items), (cell + gap, tallest + max(below) + label_gap + gap))
    columns = min(columns, len(items))
    rows = [range(i, min(i + columns, len(items))) for i in range(0, len(items), columns)]
    heights = [max(items[i][0].height for i in row) + label_gap + max(below[i] for i in row) for row in rows]

    grid_width = columns * cell + (columns - 1) * gap
    beside_width = beside.width + gap if beside is not None else 0
    inner = max(grid_width + beside_width, min(14 * text, 400))
    title_lines = [(line, round(text * 1.25), INK) for line in wrap(title or "", round(text * 1.25), inner)]
    note_lines = [(line, max(12, text - 2), QUIET) for note in notes for line in wrap(note, max(12, text - 2), inner)]
    top = margin + (block(title_lines) + round(text * 0.6) if title_lines else 0)
    body = max(sum(heights) + gap * (len(rows) - 1), beside.height if beside is not None else 0)
    foot = round(text * 0.6) + block(note_lines) if note_lines else 0

    out = Image.new("RGB", (inner + 2 * margin, top + body + foot + margin), PAPER)
    set_lines(out, (margin, margin - round(text * 0.3)), title_lines)
    cells, y = [], top
    for row, height in zip(rows, heights, strict=True):
        picture_height = max(items[i][0].height for i in row)
        for place, i in enumerate(row):
            picture = items[i][0]
            x = margin + place * (cell + gap)
            box = (x, y + (picture_height - picture.height) // 2)
            out.paste(picture.convert("RGB"), box)
            cells.append((*box, box[0] + picture.width, box[1] + picture.height))
            set_lines(out, (x, y + picture_height + label_gap), labels[i])
        y += height + gap
    if beside is not None:
        out.paste(beside, (margin + grid_width + gap, top))
    set_lines(out, (margin, top + body + round(text * 0.6)), note_lines)
    out.info["cells"] = tuple(cells)
    return out


def in_a_column(rows: Sequence[Image.Image], text: int, titled: Sequence[str] = ()) -> Image.Image:
    """Pictures one below another, each as wide as it is, without any margin.

    Args:
        rows: the pictures.
        text: height of letters in pixels.
        titled: what is written above each of them; empty: nothing.
    """
    gap, near = round(text * 1.1), round(text * 0.35)
    width = max(row.width for row in rows)
    heads = [[(line, text, INK) for line in wrap(head, text, width)] for head in titled or [""] * len(rows)]
    above = [block(head) + near if head else 0 for head in heads]
    out = Image.new("RGB", (width, sum(above) + sum(row.height for row in rows) + gap * (len(rows) - 1)), PAPER)
    y = 0
    for row, head, space in zip(rows, heads, above, strict=True):
        set_lines(out, (0, y), head)
        out.paste(row.convert("RGB"), (0, y + space))
        y += space + row.height + gap
    return out


def framed(body: Image.Image, title: str, notes: Sequence[str], text: int) -> Image.Image:
    """A picture on a white sheet, with a title above it and small print below, one paragraph each."""
    small, margin, big = max(12, text - 2), round(text * 1.3), round(text * 1.25)
    title_lines = [(line, big, INK) for line in wrap(title, big, body.width)]
    note_lines = [(line, small, QUIET) for note in notes for line in wrap(note, small, body.width)]
    above = block(title_lines) + round(text * 0.6) if title_lines else 0
    foot = round(text * 0.6) + block(note_lines) if note_lines else 0
    out = Image.new("RGB", (body.width + 2 * margin, 2 * margin + above + body.height + foot), PAPER)
    set_lines(out, (margin, margin - round(text * 0.3)), title_lines)
    out.paste(body, (margin, margin + above))
    set_lines(out, (margin, margin + above + body.height + round(text * 0.6)), note_lines)
    return out


def headed(body: Image.Image, lines: Sequence[str], further: Sequence[str], text: int) -> Image.Image:
    """A sheet with sentences above it, one paragraph each: ``lines``, then smaller and grey those of ``further``.

    Its ``info["cells"]`` move down with it.
    """
    margin, small = round(text * 1.3), max(12, text - 2)
    width = body.width - 2 * margin
    paragraphs = [[(line, text, INK) for line in wrap(one, text, width)] for one in lines]
    paragraphs += [[(line, small, QUIET) for line in wrap(one, small, width)] for one in further]
    if not paragraphs:
        return body
    gap = round(text * 0.3)
    above = margin + sum(block(one) + gap for one in paragraphs)
    out = Image.new("RGB", (body.width, above + body.height), PAPER)
    y = margin - round(text * 0.3)
    for one in paragraphs:
        set_lines(out, (margin, y), one)
        y += block(one) + gap
    out.paste(body, (0, above))
    cells = body.info.get("cells", ())
    out.info["cells"] = tuple((left, top + above, right, bottom + above) for left, top, right, bottom in cells)
    return out


def in_a_row(
    items: Sequence[tuple[Image.Image, str]],
    text: int,
    gap: int,
    swatches: Sequence[tuple[int, int, int] | None] = (),
    least: int = 0,
) -> Image.Image:
    """Pictures side by side, each as wide as it is and with its label below, without any margin.

    Args:
        items: pictures with labels; text after a label's first line break is set smaller.
        text: height of the labels' letters in pixels.
        gap: between two pictures, in pixels.
        swatches: for each picture, the colour of a bar below it; None: no bar.
        least: labels have at least this much room, in pixels; narrower pictures stand further apart.
    """
    bar = round(text * 0.4) if any(swatches) else 0
    rooms = [max(picture.width, least if label else 0) for picture, label in items]
    labels = [_lines_of(label, text, room) for (_, label), room in zip(items, rooms, strict=True)]
    near = round(text * 0.35)
    tall = [
        picture.height + bar + (near + block(lines) if lines else 0) for (picture, _), lines in zip(items, labels, strict=True)
    ]
    out = Image.new("RGB", (sum(rooms) + gap * (len(items) - 1), max(tall)), PAPER)
    x = 0
    for (picture, _), lines, colour, room in zip(items, labels, swatches or [None] * len(items), rooms, strict=True):
        out.paste(picture.convert("RGB"), (x, 0))
        if colour is not None:
            out.paste(colour, (x, picture.height, x + picture.width, picture.height + bar))
        set_lines(out, (x, picture.height + bar + near), lines)
        x += room + gap
    return out
