"""What stands last on a first look: the maps that need more explaining, and the scores with what their words mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from ..levels.heat import Heat
from ..numbers import typeset
from ..pictures.lettering import INK, PAPER, QUIET, draw_text, line_height, text_width, wrap
from ..pictures.sheet import in_a_row
from ..scores.imacs import LAMBDA, Score
from .sheet_parts import GAP, PRINT, WIDE, drawn, height_for, labelled

HEAD = "Details"
SMALL = 336
"""The height of the maps, in pixels."""
TABLE = 760
"""The width of the scores beside maps, in pixels."""
ALONE = 1100
"""Their width alone."""
LABEL = 14 * PRINT
"""The least room for a map's caption, in pixels."""
COLUMNS = ("", "score", "shifted", "random", "AUC")
MEANING = (
    f"IMACS_g: does the map on the picture keep to the inpainting mask? IMACS_r: does the map on the reference keep to the "
    f"object? 1 is the best, −{LAMBDA:g} the worst.",
    "shifted: the same map moved about the picture; random: a map of noise. A score says something where it is clearly above "
    "both.",
    "AUC: how often a place inside the mask is brighter than one outside; 0.5 is chance, 1 the best.",
)
_RULE = (200, 200, 196)

ScoreLine = tuple[str, Score]
"""What was scored, in words, and its score."""


def details(
    picture: Image.Image, heats: Mapping[str, Heat], scores: Sequence[ScoreLine], below: Sequence[str] = ()
) -> Image.Image | None:
    """A row of maps on the generated picture and the table of scores; None: there is neither.

    Args:
        picture: the generated picture.
        heats: maps on it, by side.
        scores: the lines of the table.
        below: what is said below the sheet, and not again beside the maps.
    """
    room = WIDE - (TABLE + GAP if scores else 0)
    height = min(SMALL, height_for([picture.width / picture.height] * len(heats), room)) if heats else SMALL
    items = [(drawn(picture, heat, height), labelled(heat, below)) for heat in heats.values()]
    if scores:
        items.append((scores_picture(scores, TABLE if heats else ALONE), ""))
    return in_a_row(items, PRINT, GAP, least=LABEL) if items else None


def scores_picture(scores: Sequence[ScoreLine], width: int = TABLE) -> Image.Image:
    """Scores as a table, a line each, and what its words mean."""
    rows = [COLUMNS, *((name, *_cells(score)) for name, score in scores)]
    first = max(math.ceil(text_width(row[0], PRINT)) for row in rows) + GAP
    each = (width - first) // (len(COLUMNS) - 1)
    step, small = line_height(PRINT) + 6, PRINT - 2
    said = [line for name, score in scores for line in _without(name, score)]
    text = [line for one in (*said, *MEANING) for line in wrap(one, small, width)]
    out = Image.new("RGB", (width, step * len(rows) + 12 + len(text) * line_height(small)), PAPER)
    draw = ImageDraw.Draw(out)
    for number, row in enumerate(rows):
        y = number * step
        draw_text(out, (0, y), row[0], PRINT, INK)
        for column, cell in enumerate(row[1:], 1):
            right = first + each * column
            ink = QUIET if number == 0 or column > 1 else INK
            draw_text(out, (right - text_width(cell, PRINT), y), cell, PRINT, ink)
    draw.line((0, step - 3, width, step - 3), fill=_RULE)
    for number, line in enumerate(text):
        draw_text(out, (0, step * len(rows) + 12 + number * line_height(small)), line, small, QUIET)
    return out


def _cells(score: Score) -> tuple[str, ...]:
    """The figures of a score as they are shown.

    >>> _cells(Score(0.5, 0.6, 0.1, auc=0.75, shifted=-0.25))
    ('0.50', '−0.25', '–', '0.75')
    """
    values = (score.score, score.shifted, score.random, score.auc)
    return tuple("–" if value is None or score.score is None else typeset(value, 2) for value in values)


def _without(name: str, score: Score) -> list[str]:
    """Why there is no score, if there is none."""
    return [f"{name}: none; {'; '.join(score.notes)}"] if score.score is None else []
