"""How much of a result hangs on lambda and the threshold: IMACS at others, from the means that each row keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..facts import KINDS, Row
from .correlation import spearman
from .evaluated import Evaluated, is_one_image
from .measures import QUALITY, measure, of_maps
from .resampled import Values

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
"""Lambdas that are looked at."""
Grid = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Sensitivity:
    """One IMACS at other lambdas and thresholds.

    Attributes:
        kind: "paired" or "unpaired".
        name: such as "imacs_g.default".
        figure: of quality, such as "ssim".
        images: that count, in each run.
        runs: labels of those that have both.
        weights: lambdas, a row of the grids each.
        thresholds: a column each.
        spearman: over images, the mean over those runs that have one there; None: none has.
        means: by run, the mean score.
        order: how many settings put the runs in the order of the runs' own setting; None: fewer than two runs, or their own
            setting is not among these.
    """

    kind: str
    name: str
    figure: str
    images: int
    runs: tuple[str, ...]
    weights: tuple[float, ...]
    thresholds: tuple[float, ...]
    spearman: Grid
    means: dict[str, Grid]
    order: int | None


def sensitivities(runs: Sequence[Evaluated]) -> list[Sensitivity]:
    """For every IMACS whose rows keep their means by threshold, against every figure that images have."""
    names = of_maps({name for one in runs for row in one.rows for name in row.by_threshold})
    found = (_one(runs, kind, one.name, figure.name) for kind in KINDS for one in names for figure in QUALITY)
    return [one for one in found if one is not None]


def _one(runs: Sequence[Evaluated], kind: str, name: str, figure: str) -> Sensitivity | None:
    having = {}
    for run in runs:
        rows = {image: row for image, row in run.by_kind.get(kind, {}).items() if name in row.by_threshold}
        if rows := {image: row for image, row in rows.items() if figure in row.values}:
            having[run] = rows
    common = sorted(set.intersection(*(set(rows) for rows in having.values()))) if having else []
    common = [image for image in common if is_one_image(rows[image] for rows in having.values())]
    if len(common) < 3:
        return None
    chosen = {run: [rows[image] for image in common] for run, rows in having.items()}
    every = (set(row.by_threshold[name]) for rows in chosen.values() for row in rows)
    thresholds = tuple(sorted(set.intersection(*every), key=float))
    if not thresholds:
        return None
    # (thresholds, inside and outside, images) per run
    means = {run: np.array([[row.by_threshold[name][t] for row in rows] for t in thresholds]) for run, rows in chosen.items()}
    scores = {run: _scores(x[..., 0], x[..., 1]) for run, x in means.items()}
    quality = {run: np.array([row.values[figure] for row in rows]) for run, rows in chosen.items()}
    related = _mean([spearman(s, np.broadcast_to(quality[run], s.shape)) for run, s in scores.items()])
    own = next(iter(having)).run
    return Sensitivity(
        kind,
        name,
        figure,
        len(common),
        tuple(run.label for run in having),
        WEIGHTS,
        tuple(map(float, thresholds)),
        _grid(related),
        {run.label: _grid(x.mean(-1)) for run, x in scores.items()},
        _order([x.mean(-1) for x in scores.values()], tuple(map(float, thresholds)), own.weight, own.threshold),
    )


def _scores(inside: Values, outside: Values) -> Values:
    """(lambdas, thresholds, images) of both means, (thresholds, images)."""
    return inside[None] - np.array(WEIGHTS)[:, None, None] * outside[None]


def _mean(related: Sequence[Values]) -> Values:
    """The mean over runs, of those that have a correlation there; NaN where none has."""
    known = np.isfinite(related)
    count = known.sum(0)
    return np.divide(np.where(known, related, 0).sum(0), count, out=np.full(count.shape, np.nan), where=count > 0)


def _order(means: Sequence[Values], thresholds: Sequence[float], weight: float, threshold: float) -> int | None:
    if len(means) < 2 or weight not in WEIGHTS or threshold not in thresholds:
        return None
    ranks = np.argsort(np.stack(means), axis=0, kind="stable")
    there = ranks[:, WEIGHTS.index(weight), thresholds.index(threshold)]
    return int((ranks == there[:, None, None]).all(0).sum())


def _grid(values: Values) -> Grid:
    return tuple(tuple(float(v) if np.isfinite(v) else None for v in row) for row in values)


def label_of(one: Sensitivity) -> str:
    """What is looked at, in a line."""
    return f"{measure(one.name).label} and {measure(one.figure).label}, {one.kind}"


def rescored(row: Row, name: str, threshold: str, weight: float) -> float:
    """A row's IMACS at another threshold and lambda: inside - lambda * outside (eq. 18)."""
    inside, outside = row.by_threshold[name][threshold]
    return inside - weight * outside
