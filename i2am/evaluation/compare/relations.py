"""Between each value of the maps and each figure of quality: do they go together, over images and over models?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ..facts import KINDS
from .correlation import COEFFICIENTS, FEWEST, Bootstrap, Estimate, chance, draws_of, over_images, over_models
from .evaluated import Evaluated, is_one_image, models_of, names_of, twins
from .measures import QUALITY, Measure, of_maps
from .resampled import Question, Values

ALL = "all runs"
SURE = 0.05
"""A p below which a correlation over models is told from chance."""
FOLLOWS, AGAINST, NOT_SHOWN, TOO_FEW = "follows", "against", "not shown", "too few"


@dataclass(frozen=True)
class Relation:
    """How a value of the maps and a figure of quality go together.

    Attributes:
        level: "image": over the images of a run; "model": over runs, each by its means.
        kind: "paired" or "unpaired".
        measure: name of the value of the maps.
        figure: name of the figure of quality.
        of: the run, or `ALL`: over images, the mean over runs.
        images: that count, in each run; 0: the figure is of whole data sets.
        models: that count; runs of one model (`evaluated.models_of`) count once.
        better: 1: they agree where the correlation is positive; -1: negative; 0: nothing is expected.
        spearman: of ranks.
        pearson: of values.
        p: over models, of the rank correlation.
        verdict: of the rank correlation: "follows", "against", "not shown" or "too few"; empty: nothing is expected.
        why: the reason of a verdict that no interval gives.
        left_out: runs in which one of the two is the same for all images, so that they have no correlation.
        runs: of these models.
    """

    level: str
    kind: str
    measure: str
    figure: str
    of: str
    images: int
    models: int
    better: int
    spearman: Estimate
    pearson: Estimate
    p: float | None = None
    verdict: str = ""
    why: str = ""
    left_out: tuple[str, ...] = ()
    runs: int = 0


@dataclass(frozen=True)
class _Asked:
    """A relation over images that is to be estimated, of one run or the mean of several."""

    kind: str
    measure: Measure
    figure: Measure
    of: str
    runs: tuple[Evaluated, ...]
    images: tuple[str, ...]
    left_out: tuple[str, ...]


def relations(runs: Sequence[Evaluated], how: Bootstrap, progress: bool = False) -> list[Relation]:
    """All relations for which any run has both values; a run that is another once more (`twins`) counts once.

    Args:
        runs: to compare.
        how: the bootstrap.
        progress: show a bar.
    """
    again = twins(runs)
    runs = [one for one in runs if one.label not in again]
    pairs = [(kind, one, figure) for kind in KINDS for one in of_maps(names_of(runs)) for figure in QUALITY]
    asked = [list(_asked(runs, *pair)) for pair in pairs]
    estimates = _estimated([one for of_pair in asked for one in of_pair], how, progress)
    found: list[Relation] = []
    for pair, of_pair in zip(pairs, asked, strict=True):
        found += [_over_images(one, *estimates[one]) for one in of_pair]
        found += _over_models(runs, *pair, how)
    return found


def both(runs: Sequence[Evaluated], kind: str, first: str, second: str) -> tuple[list[Evaluated], tuple[str, ...]]:
    """The runs with any image that has two values, and the images, of the same files, that have them in all of these runs."""
    images = {one: one.values(kind, first).keys() & one.values(kind, second).keys() for one in runs}
    images = {one: names for one, names in images.items() if names}
    shared = sorted(set.intersection(*map(set, images.values()))) if images else []
    return list(images), tuple(name for name in shared if is_one_image(run.by_kind[kind][name] for run in images))


def _of_set(run: Evaluated, kind: str, name: str, _: Sequence[str]) -> Values:
    """A figure of a run's whole data set, or of its maps the mean over all images; (1,)."""
    found = run.of_set(kind, name)
    values = run.values(kind, name).values()
    return np.array([math.fsum(values) / len(values) if found is None else found.value])


def _values(run: Evaluated, kind: str, name: str, images: Sequence[str]) -> Values:
    values = run.values(kind, name)
    return np.array([values[image] for image in images])


def _asked(runs: Sequence[Evaluated], kind: str, one: Measure, figure: Measure) -> Iterator[_Asked]:
    """Each run alone, and then all together."""
    having, _ = both(runs, kind, one.name, figure.name)
    groups = [(run.label, [run]) for run in having]
    groups += [(ALL, having)] if len(having) > 1 else []
    for label, members in groups:
        _, images = both(members, kind, one.name, figure.name)
        names = (one.name, figure.name)
        vary = [run for run in members if images and all(np.ptp(_values(run, kind, name, images)) > 0 for name in names)]
        left_out = tuple(run.label for run in members if vary and run not in vary)
        yield _Asked(kind, one, figure, label, tuple(vary or members), images, left_out)


def _estimated(asked: Sequence[_Asked], how: Bootstrap, progress: bool) -> dict[_Asked, tuple[Estimate, Estimate]]:
    """Both correlations of each; those of the same images are drawn together."""
    found = {one: (Estimate(None), Estimate(None)) for one in asked}
    groups: dict[tuple[str, tuple[str, ...]], list[_Asked]] = {}
    for one in asked:
        if len(one.images) >= FEWEST:
            groups.setdefault((one.kind, one.images), []).append(one)
    total = sum(draws_of(len(images), how) for _, images in groups)
    with tqdm(total=total, desc="bootstrap", unit="draw", disable=not (progress and total)) as bar:
        for (kind, images), members in groups.items():
            numbers = {run: i for i, run in enumerate(dict.fromkeys(run for one in members for run in one.runs))}
            names: list[dict[str, Values]] = [{} for _ in numbers]
            for one in members:
                for run in one.runs:
                    for name in (one.measure.name, one.figure.name):
                        if name not in names[numbers[run]]:
                            names[numbers[run]][name] = _values(run, kind, name, images)
            questions = [Question(x.measure.name, x.figure.name, tuple(numbers[run] for run in x.runs)) for x in members]
            for one, pair in zip(members, over_images(names, questions, how, bar.update), strict=True):
                found[one] = (pair["spearman"], pair["pearson"])
    return found


def _over_images(one: _Asked, rank: Estimate, line: Estimate) -> Relation:
    better = one.measure.better * one.figure.better
    verdict, why = _by_interval(rank, better, len(one.images))
    return Relation(
        "image",
        one.kind,
        one.measure.name,
        one.figure.name,
        one.of,
        len(one.images),
        len(models_of(one.runs)),
        better,
        rank,
        line,
        verdict=verdict,
        why=why,
        left_out=one.left_out,
        runs=len(one.runs),
    )


def _by_interval(found: Estimate, better: int, images: int) -> tuple[str, str]:
    if not better:
        return "", ""
    if found.value is None:
        few = f"{images} image{'s' * (images > 1)} have both" if images else "the runs share no image"
        why = "one of the two is the same for all" if images >= FEWEST else few
        return TOO_FEW, why
    if found.low is None or found.high is None:
        return TOO_FEW, found.why
    low, high = sorted((better * found.low, better * found.high))
    return (FOLLOWS if low > 0 else AGAINST if high < 0 else NOT_SHOWN), ""


def _over_models(runs: Sequence[Evaluated], kind: str, one: Measure, figure: Measure, how: Bootstrap) -> Iterator[Relation]:
    having, images = both(runs, kind, one.name, figure.name)
    of_images = bool(having)
    if not of_images:
        having = [run for run in runs if run.values(kind, one.name) and run.of_set(kind, figure.name) is not None]
    models = models_of(having)
    if len(models) < 2 or (of_images and not images):
        return
    values = _values if of_images else _of_set
    pairs = [
        tuple(np.mean([values(run, kind, name, images) for run in of_one], axis=0) for name in (one.name, figure.name))
        for of_one in models
    ]
    better = one.better * figure.better
    estimates = over_models(pairs, how)
    x, y = (np.array([pair[half].mean() for pair in pairs]) for half in (0, 1))
    p = chance(x, y, COEFFICIENTS["spearman"])
    rank, line = (estimates[name] for name in ("spearman", "pearson"))
    verdict, why = _by_chance(rank, better, len(x), p)
    yield Relation(
        "model", kind, one.name, figure.name, ALL, len(images), len(x), better, rank, line, p, verdict, why, (), len(having)
    )


def _by_chance(found: Estimate, better: int, models: int, p: float | None) -> tuple[str, str]:
    if not better:
        return "", ""
    least = 2 / math.factorial(models)
    if least >= SURE:
        return TOO_FEW, f"over {models} models no order has a p below {min(least, 1):.2g}"
    if found.value is None or p is None:
        return TOO_FEW, "one of the two is the same for all"
    if p >= SURE:
        return NOT_SHOWN, ""
    return (FOLLOWS if better * found.value > 0 else AGAINST), ""
