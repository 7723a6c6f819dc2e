"""A running table as text and as a picture: its last rows, and the means of its scores."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from PIL import Image, ImageDraw

from ..errors import shown
from ..numbers import typeset
from ..pictures.lettering import INK, PAPER, QUIET, draw_text, line_height, text_width
from .running_table import RunningTable, number_of

MOST = 20
"""Rows that are shown, the newest last."""
LONGEST = 32
"""Characters of a cell that is shown."""
TEXT, GAP, EDGE = 15, 22, 16
_STRIPE, _RULE = (244, 244, 241), (200, 200, 196)


def table_lines(table: RunningTable, facts: Collection[str] = ()) -> list[list[str]]:
    """The lines that are shown: the columns, the last rows and the means of those columns that are no ``facts``.

    Columns without any value are left out.
    """
    used = [i for i in range(len(table.columns)) if any(row[i] for row in table.rows)]
    rows = [[_short(row[i], table.columns[i] in facts) for i in used] for row in table.rows[-MOST:]]
    means = [_mean(table, i) if table.columns[i] not in facts else "" for i in used]
    means[0] = means[0] or f"mean of {len(table.rows)}"
    return [[shown(table.columns[i], LONGEST) for i in used], *rows, means]


def table_text(table: RunningTable, about: str, facts: Collection[str] = ()) -> str:
    """The table as text: a heading, the columns, the last rows, the means and the notes."""
    lines = table_lines(table, facts)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    written = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([about, *written, *table.notes])


def table_picture(table: RunningTable, about: str, facts: Collection[str] = ()) -> Image.Image:
    """The table as a picture."""
    lines = table_lines(table, facts)
    widths = [max(math.ceil(text_width(line[i], TEXT)) for line in lines) for i in range(len(lines[0]))]
    starts = [EDGE + sum(widths[:i]) + GAP * i for i in range(len(widths))]
    step = line_height(TEXT) + 4
    heading, notes = shown(about, 120), [shown(note, 160) for note in table.notes]
    inner = max(starts[-1] + widths[-1] - EDGE, *(math.ceil(text_width(x, TEXT + 2)) for x in (heading, *notes)), 480)
    out = Image.new("RGB", (inner + 2 * EDGE, 2 * EDGE + step * (len(lines) + len(notes) + 1) + 8), PAPER)
    draw = ImageDraw.Draw(out)
    draw_text(out, (EDGE, EDGE), heading, TEXT + 2, INK)
    top = EDGE + step + 4
    for number, line in enumerate(lines):
        y = top + number * step
        if number % 2 and number < len(lines) - 1:
            draw.rectangle((EDGE - 6, y, out.width - EDGE + 6, y + step - 1), fill=_STRIPE)
        if number in (1, len(lines) - 1):
            draw.line((EDGE - 6, y, out.width - EDGE + 6, y), fill=_RULE)
        _cells(out, line, starts, widths, y + 2, QUIET if number == 0 else INK)
    for number, note in enumerate(notes):
        draw_text(out, (EDGE, top + (len(lines) + number) * step + 4), note, TEXT, QUIET)
    return out


def _cells(
    out: Image.Image, line: Sequence[str], starts: Sequence[int], widths: Sequence[int], y: int, ink: tuple[int, int, int]
) -> None:
    """One line; numbers stand to the right."""
    for cell, start, width in zip(line, starts, widths, strict=True):
        right = width - text_width(cell, TEXT) if number_of(cell.replace("−", "-")) is not None else 0
        draw_text(out, (start + right, y), cell, TEXT, ink)


def _short(cell: str, fact: bool) -> str:
    """A cell as it is shown: scores with three digits."""
    value = number_of(cell)
    if fact or value is None or "." not in cell:
        return shown(cell, LONGEST)
    return typeset(value, 3)


def _mean(table: RunningTable, column: int) -> str:
    numbers = table.numbers(column)
    return typeset(math.fsum(numbers) / len(numbers), 3) if numbers else ""
