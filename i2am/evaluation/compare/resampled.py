"""Correlations over many draws of images at once: what a draw changes are weights, so that nothing is sorted again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Indices = NDArray[Any]


@dataclass(frozen=True)
class Question:
    """A correlation over images: the mean of those of some runs.

    Attributes:
        x: name of one value.
        y: name of the other.
        runs: numbers of the runs.
    """

    x: str
    y: str
    runs: tuple[int, ...]


def counts_of(drawn: Indices, size: int) -> Values:
    """How often each of ``size`` observations is among those drawn: indices (..., n) to (..., size).

    >>> counts_of(np.array([[0, 2, 2]]), 4).tolist()
    [[1.0, 0.0, 2.0, 0.0]]
    """
    rows = drawn.reshape(-1, drawn.shape[-1])
    offsets = np.arange(len(rows))[:, None] * size
    found = np.bincount((rows + offsets).ravel(), minlength=len(rows) * size)
    return found.reshape(*drawn.shape[:-1], size).astype(np.float64)


class Ranked:
    """The ranks of values in any draw of them, ties by their mean."""

    def __init__(self, values: Values) -> None:
        self._order = np.argsort(values, kind="stable")
        ordered = values[self._order]
        new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        self._starts = np.flatnonzero(new)
        self._place = np.empty(len(values), dtype=np.intp)
        self._place[self._order] = np.cumsum(new) - 1

    def ranks(self, counts: Values) -> Values:
        """The rank of each value among those drawn, (B, n), from how often each was drawn, (B, n).

        >>> Ranked(np.array([5.0, 7.0, 7.0])).ranks(np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0]])).tolist()
        [[1.0, 2.5, 2.5], [1.5, 3.0, 3.0]]
        """
        alike = np.add.reduceat(counts[:, self._order], self._starts, axis=1)
        means: Values = np.cumsum(alike, axis=1) - (alike - 1) / 2
        return means[:, self._place]


class Resampled:
    """Rank and linear correlations over images of any draws.

    Args:
        values: per run its values by name, (n,) each, of the same images.
        asked: the correlations.
    """

    def __init__(self, values: Sequence[Mapping[str, Values]], asked: Sequence[Question]) -> None:
        self._values, self._asked = values, asked

    def __call__(self, drawn: Indices) -> Values:
        """Spearman's rho of every question, then Pearson's r, (2 * questions, ...), of indices (..., any number)."""
        counts = counts_of(np.atleast_2d(drawn), self._images)
        found = np.zeros((2, len(self._asked), len(counts)))
        for run in sorted({run for one in self._asked for run in one.runs}):
            for coefficient, related in enumerate(self._of_run(run, counts)):
                for number, one in enumerate(self._asked):
                    if run in one.runs:
                        found[coefficient, number] += related[one.x, one.y] / len(one.runs)
        return found.reshape(-1, *drawn.shape[:-1])

    @cached_property
    def _images(self) -> int:
        return next(len(x) for values in self._values for x in values.values())

    @cached_property
    def _ranked(self) -> list[dict[str, Ranked]]:
        return [{name: Ranked(x) for name, x in values.items()} for values in self._values]

    def _of_run(self, run: int, counts: Values) -> list[dict[tuple[str, str], Values]]:
        """Both correlations of all pairs of names that are asked for in a run, (B,) each."""
        pairs = {(one.x, one.y) for one in self._asked if run in one.runs}
        first, second = (sorted({pair[side] for pair in pairs}) for side in (0, 1))
        names = list(dict.fromkeys([*first, *second]))
        ranks = {name: scaled(self._ranked[run][name].ranks(counts), counts) for name in names}
        plain = {name: scaled(self._values[run][name], counts) for name in names}
        for name in names:  # rounding may leave a little where all that were drawn are one value; ranks have none
            plain[name][np.isnan(ranks[name][:, 0])] = np.nan
        return [self._products(of, first, second) for of in (ranks, plain)]

    def _products(self, of: Mapping[str, Values], first: Sequence[str], second: Sequence[str]) -> dict[tuple[str, str], Values]:
        left, right = np.stack([of[name] for name in first], 1), np.stack([of[name] for name in second], 2)
        found = np.clip(left @ right, -1, 1)  # (B, first, second)
        return {(a, b): found[:, i, j] for i, a in enumerate(first) for j, b in enumerate(second)}


def scaled(values: Values, counts: Values) -> Values:
    """Values (n,) or (B, n) of which products summed over images are correlations in draws (B, n); NaN where all are alike."""
    total = counts.sum(1, keepdims=True)
    centred = values - (counts * values).sum(1, keepdims=True) / total
    weighted: Values = np.sqrt(counts) * centred
    size = np.sqrt((weighted * weighted).sum(1, keepdims=True))
    return np.divide(weighted, size, out=np.full_like(weighted, np.nan), where=size > 0)
