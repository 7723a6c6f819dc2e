"""Rank and linear correlations with bootstrap intervals; the bootstrap is scipy's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .resampled import Indices, Question, Resampled, Values, counts_of

FEWEST = 3
"""Observations below which there is no correlation."""
LEAST = 8
"""Observations below which no interval is given: a bootstrap of fewer is too narrow to be believed."""
RESAMPLES, CONFIDENCE = 2000, 0.95
WIDTH = 1e-9
"""Of an interval that is none: every draw gives the same."""
AT_ONCE = 50_000
"""Numbers that a batch of draws has for each value."""
Tick = Callable[[int], object]
"""Called with a number of draws that are done."""


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made."""

    resamples: int = RESAMPLES
    confidence: float = CONFIDENCE
    seed: int = 0


@dataclass(frozen=True)
class Estimate:
    """A correlation.

    Attributes:
        value: -1 to 1; None: it does not exist, since one side is the same everywhere or there are too few observations.
        low: of its interval; None: there is none.
        high: of its interval.
        why: the reason why there is no interval; empty: there is one, or no correlation.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""


def pearson(x: Values, y: Values, axis: int = -1) -> Values:
    """Pearson's r along an axis; NaN where one side is constant.

    >>> float(pearson(np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 0.0])))
    -1.0
    """
    varies = (np.ptp(x, axis) > 0) & (np.ptp(y, axis) > 0)  # differences from the mean may not be 0 where all are alike
    x, y = x - x.mean(axis, keepdims=True), y - y.mean(axis, keepdims=True)
    sizes = np.sqrt((x * x).sum(axis) * (y * y).sum(axis))
    found: Values = np.divide((x * y).sum(axis), sizes, out=np.full(np.shape(sizes), np.nan), where=varies & (sizes > 0))
    return np.clip(found, -1, 1)


def spearman(x: Values, y: Values, axis: int = -1) -> Values:
    """Spearman's rho along an axis: Pearson's r of the ranks, ties by their mean."""
    from scipy.stats import rankdata

    return pearson(rankdata(x, axis=axis), rankdata(y, axis=axis), axis)


Coefficient = Callable[[Values, Values, int], Values]
COEFFICIENTS: dict[str, Coefficient] = {"spearman": spearman, "pearson": pearson}


def over_images(
    values: Sequence[Mapping[str, Values]], asked: Sequence[Question], how: Bootstrap, tick: Tick = lambda _: None
) -> list[dict[str, Estimate]]:
    """Correlations over images, by the coefficient's name; their intervals are those of other images, drawn alike for all.

    Args:
        values: per run its values by name, (n,) each, of the same images.
        asked: what to estimate, each the mean of some runs' own correlations.
        how: the bootstrap.
        tick: called with numbers of draws that are done, `draws_of` in all.
    """
    images = next(len(x) for one in values for x in one.values())
    found = _estimates(Resampled(values, asked), {"images": images}, how, tick)
    return [dict(zip(COEFFICIENTS, pair, strict=True)) for pair in zip(found[: len(asked)], found[len(asked) :], strict=True)]


def over_models(pairs: Sequence[tuple[Values, Values]], how: Bootstrap) -> dict[str, Estimate]:
    """Correlations over runs of the runs' means, by the coefficient's name; their intervals are those of other runs and images.

    Args:
        pairs: per run, both values of the same images, (n,) each; (1,): what is known of whole data sets.
        how: the bootstrap.
    """
    sides = [np.stack([pair[half] for pair in pairs]) for half in (0, 1)]  # (runs, images)
    models, images = sides[0].shape

    def of_means(chosen: Indices, drawn: Indices | None = None) -> Values:
        if drawn is None:
            means = [side.mean(1) for side in sides]
        else:
            counts = counts_of(drawn, images)
            means = [counts @ side.T / drawn.shape[-1] for side in sides]
        x, y = (np.take_along_axis(np.broadcast_to(m, (*chosen.shape[:-1], models)), chosen, -1) for m in means)
        return np.stack([coefficient(x, y, -1) for coefficient in COEFFICIENTS.values()])

    sizes = {"models": models} if images == 1 else {"models": models, "images": images}
    return dict(zip(COEFFICIENTS, _estimates(of_means, sizes, how), strict=True))


def draws_of(images: int, how: Bootstrap) -> int:
    """How many draws `over_images` makes: those of the bootstrap, and one without each image."""
    return how.resamples + images if images >= LEAST else 0


def chance(x: Values, y: Values, coefficient: Coefficient) -> float | None:
    """The two-sided p of a correlation over runs: how many of all ways to pair the values give one as far from 0.

    None: it does not exist.
    """
    from scipy.stats import permutation_test

    if len(x) < 3 or not np.isfinite(coefficient(x, y, -1)):
        return None

    def along(permuted: Values, axis: int = -1) -> Values:
        return coefficient(permuted, np.broadcast_to(y, permuted.shape), axis)

    done = permutation_test((x,), along, permutation_type="pairings", vectorized=True, n_resamples=9999, random_state=0)
    return float(done.pvalue)


def _estimates(
    statistic: Callable[..., Values], sizes: Mapping[str, int], how: Bootstrap, tick: Tick = lambda _: None
) -> list[Estimate]:
    """What a statistic (K, ...) of indices (..., size), for each size one, is of all observations, with intervals."""
    whole = [np.arange(size) for size in sizes.values()]
    values = statistic(*whole)
    if next(iter(sizes.values())) < FEWEST:
        return [Estimate(None)] * len(values)
    few = [f"{size} {name}, and at least {LEAST} make an interval" for name, size in sizes.items() if size < LEAST]
    if few:
        return [Estimate(float(x), why=few[0]) if np.isfinite(x) else Estimate(None) for x in values]
    low, high = _intervals(statistic, whole, how, tick)
    out = []
    for value, a, b in zip(values, low, high, strict=True):
        if not np.isfinite(value):
            out.append(Estimate(None))
        elif not b - a > WIDTH:  # also where one of both is not known
            out.append(Estimate(float(value), why="too many are the same"))
        else:
            out.append(Estimate(float(value), float(a), float(b)))
    return out


def _intervals(statistic: Callable[..., Values], whole: Sequence[Indices], how: Bootstrap, tick: Tick) -> tuple[Values, Values]:
    """BCa intervals, (K,) each; of quantiles where BCa has none; NaN where fewer than half of the draws have a value."""
    from scipy.stats import bootstrap

    def ticked(*drawn: Indices, axis: int = -1) -> Values:
        assert axis == -1
        tick(drawn[0].size // drawn[0].shape[-1] if drawn[0].ndim > 1 else 0)
        return statistic(*drawn)

    with warnings.catch_warnings(), np.errstate(all="ignore"):  # of distributions without width, told apart below
        warnings.simplefilter("ignore")
        done = bootstrap(
            whole,
            ticked,
            confidence_level=how.confidence,
            n_resamples=how.resamples,
            random_state=how.seed,
            batch=max(1, AT_ONCE // max(map(len, whole))),
            method="BCa",
            vectorized=True,
        )
        low, high = (np.array(side) for side in done.confidence_interval)
        drawn = np.where(np.isfinite(done.bootstrap_distribution), done.bootstrap_distribution, np.nan)
        known = np.isfinite(drawn).mean(-1) >= 0.5
        ends = np.nanquantile(drawn, [(1 - how.confidence) / 2, (1 + how.confidence) / 2], axis=-1)
    lacking = ~(np.isfinite(low) & np.isfinite(high))  # some draws have one side constant, or all are alike
    low, high = (np.where(lacking, np.where(known, end, np.nan), side) for end, side in zip(ends, (low, high), strict=True))
    return low, high
