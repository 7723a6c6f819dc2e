"""Scores as a table of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..numbers import fixed
from .imacs import Score
from .run import ImageScores


def mean_of(images: Sequence[ImageScores], letter: str) -> float:
    """The mean of IMACS_g or IMACS_r, by its letter, over the images that have a score; NaN if none has."""
    known = [score for x in images if (score := x.scores[letter].score) is not None]
    return sum(known) / len(known) if known else math.nan


def scores_text(images: Sequence[ImageScores], about: str = "") -> str:
    """All scores as a text table: a heading, a line per score, their means if there are several images, and the notes."""
    several = len(images) > 1
    lines = [about] * bool(about)
    lines += score_table({f"image {x.image}" if several else "": dict(x.scores) for x in images})
    for letter in ("g", "r"):
        mean = mean_of(images, letter)
        if math.isnan(mean):
            lines.append(f"IMACS_{letter} is output as NaN (not a number): there is no score")
        elif several:
            lines.append(f"IMACS_{letter} mean: {fixed(mean, 3)}")
    return "\n".join(lines)


def score_table(scores: Mapping[str, Mapping[str, Score]]) -> list[str]:
    """Scores as lines of text.

    Args:
        scores: by preset (or another name), then by the letter of IMACS_g and IMACS_r.

    >>> for line in score_table({"paper": {"g": Score(0.5, 0.75, 0.25, weight=1.0)}}):
    ...     print(line)
                   score  inside  outside  AUC  mass ratio  shifted  random
    IMACS_g paper  0.500   0.750    0.250    -           -        -       -
    """
    rows: list[tuple[str, ...]] = [("", "score", "inside", "outside", "AUC", "mass ratio", "shifted", "random")]
    notes: list[str] = []
    for name, pair in scores.items():
        for letter, s in pair.items():
            head = f"IMACS_{letter} {name}".strip()
            values = (s.score, s.inside, s.outside, s.auc, s.mass_ratio, s.shifted, s.random)
            rows.append((head, *("-" if v is None else fixed(v, 3) for v in values)))
            notes += [f"{head}: {note}" for note in s.notes]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))) for row in rows]
    return lines + list(dict.fromkeys(notes))
