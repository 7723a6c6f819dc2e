"""Scores as a table of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .imacs import Score
from .run import ImageScores


def mean_of(images: Sequence[ImageScores], side: str) -> float:
    """The mean score of a side ("g" or "r") over the images that have one; NaN where none has."""
    known = [x.scores[side].score for x in images if x.scores[side].score is not None]
    return sum(known) / len(known) if known else math.nan  # type: ignore[arg-type]


def scores_text(images: Sequence[ImageScores], about: str = "") -> str:
    """All scores as a table in text: what it is of, a line a score, their means where there are several, and the notes."""
    several = len(images) > 1
    lines = [about] * bool(about)
    lines += score_table({f"image {x.image}" if several else "": dict(x.scores) for x in images})
    for side in ("g", "r"):
        mean = mean_of(images, side)
        if math.isnan(mean):
            lines.append(f"IMACS_{side} is handed on as NaN (not a number): there is no score")
        elif several:
            lines.append(f"IMACS_{side} mean: {mean:.3f}")
    return "\n".join(lines)


def score_table(scores: Mapping[str, Mapping[str, Score]]) -> list[str]:
    """Scores as lines of text: preset (or another name) -> g/r -> score."""
    rows: list[tuple[str, ...]] = [("", "score", "inside", "outside", "AUC", "mass ratio", "shifted", "random")]
    notes: list[str] = []
    for name, pair in scores.items():
        for side, s in pair.items():
            head = f"IMACS_{side} {name}".strip()
            values = (s.score, s.inside, s.outside, s.auc, s.mass_ratio, s.shifted, s.random)
            rows.append((head, *("-" if v is None else f"{v:.3f}" for v in values)))
            notes += [f"{head}: {note}" for note in s.notes]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))) for row in rows]
    return lines + list(dict.fromkeys(notes))
