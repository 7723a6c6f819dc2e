"""The study's figures: curves and their areas, signs, rank correlations; a pair counts once, as the mean of its noises."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from scipy.stats import binomtest

from ....interventions.deletion import ORDERS, Curve
from ....scores.effect import rank_correlation
from ..guidance import interval
from .rows import Row
from .trials import BASELINE, REMOVED, STAND_INS, USED

NOTES = (
    "deletion: the mean change of the picture in 0-1 where so much of a map's cells is cut, from the uncut run of equal noise; "
    "area: the mean height of the curve from nothing to everything; intervals: 95 %, bootstrap over pairs, percentile",
    "minus_truth: the map's order against that of the drawn truth: the garment's mask on the reference, where it is seen on "
    "the generated picture",
    "larger: on how many pairs the area is larger with the one order than with the other, told: ties left out, p: exact "
    "binomial, two-sided",
    "knock_out: each pair's rank correlation (Spearman) of what the map says of a region, layer or third of the steps and of "
    "the change where it is cut alone; regions: the sum of the map over it, and of regions alone that hold at "
    "least half as much garment as the fullest (inside); layers and thirds: the mass on tokens with a place",
    "stand_ins: the deletion by one map again, at the first noise, with plain removal and with tokens of another garment or of "
    "the blurred one in place of those that are cut; inside, area, roc: where the change of the whole cut lies",
)
SOME = 4
"""Regions that a rank correlation takes at least."""
HALF = 0.5

ByPair = Mapping[int, float]
Nested = dict[int, dict[int, list[float]]]


def figures(rows: Iterable[Row]) -> dict[str, Any]:
    """Everything, from the rows of any number of pairs."""
    rows = [*rows]
    deleted = [row for row in rows if row.key[0] == "deletion"]
    plain = [row for row in deleted if row.key[5] == REMOVED]
    first = [row for row in deleted if row.noise == 0 and row.key[1] == "reference" and row.key[2] in ("", USED)]
    return {
        "deletion": {on: deletion(row for row in plain if row.key[1] == on) for on in ("reference", "generated")},
        "knock_out": knock_out(rows),
        "stand_ins": {by: _stand_in([row for row in first if row.key[5] == by]) for by in (REMOVED, *STAND_INS)},
        "notes": [*NOTES],
    }


def deletion(rows: Iterable[Row]) -> dict[str, Any]:
    """The curves of all maps of a picture.

    Returns:
        ``whole``, the change where all is cut, ``random``, the curve and area of the random order, and ``maps``, by name their
        own; of each the signs and ``pairs``, the areas of the single ones.
    """
    changes: dict[tuple[str, str], Nested] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        assert row.mean is not None
        changes[row.key[2], row.key[3]][row.pair][int(row.key[4])].append(row.mean)
    means = {
        which: {pair: {cells: fmean(values) for cells, values in of.items()} for pair, of in by_pair.items()}
        for which, by_pair in changes.items()
    }
    if ("", "all") not in means:
        return {}
    whole = means.pop(("", "all"))
    curves = {
        which: {pair: _curve(which[1], {**of, **whole[pair]}) for pair, of in by_pair.items()}
        for which, by_pair in means.items()
    }
    random, names = curves["", "random"], dict.fromkeys(name for name, _ in curves if name)
    truth = next((_areas(curves[name, "map"]) for name in names if is_truth(name)), None)
    maps = {name: _map(curves[name, "map"], random, curves.get((name, "reversed"))) for name in names}
    for name, found in maps.items():
        if truth is not None and not is_truth(name):
            found["map_minus_truth"] = difference(_areas(curves[name, "map"]), truth)
    return {
        "whole": _interval({pair: of for pair, found in whole.items() for of in found.values()}),
        "random": {"curve": _mean_curve(random.values()), "area": _interval(_areas(random))},
        "fractions": [*next(iter(random.values())).fractions],
        "maps": maps,
    }


def is_truth(name: str) -> bool:
    """Whether this is the drawn truth in place of a map.

    >>> is_truth("truth, reference"), is_truth("R2G")
    (True, False)
    """
    return name.startswith(BASELINE)


def _curve(order: str, changes: Mapping[int, float]) -> Curve:
    """From the change by number of cells."""
    cells = sorted(changes)
    return Curve(order, (0.0, *(count / cells[-1] for count in cells)), (0.0, *(changes[count] for count in cells)))


def _map(first: Mapping[int, Curve], random: Mapping[int, Curve], last: Mapping[int, Curve] | None) -> dict[str, Any]:
    """One map's curves and areas; without ``last`` it was not cut in its reversed order."""
    curves = {"map": first, "random": random} | ({} if last is None else {"reversed": last})
    areas = {order: _areas(of) for order, of in curves.items()}
    compared = [*zip(ORDERS, ORDERS[1:]), (ORDERS[0], ORDERS[-1])]
    return {
        "curve": {order: _mean_curve(of.values()) for order, of in curves.items() if order != "random"},
        "area": {order: _interval(of) for order, of in areas.items() if order != "random"},
        **{f"{a}_minus_{b}": difference(areas[a], areas[b]) for a, b in compared if b in areas},
        "pairs": {order: [of[pair] for pair in sorted(of)] for order, of in areas.items()},
    }


def difference(a: ByPair, b: ByPair) -> dict[str, Any]:
    """The mean of a - b over pairs with its interval, on how many ``a`` is ``larger``, of how many ``told``, and the ``p``."""
    apart = {pair: a[pair] - b[pair] for pair in a}
    larger, told = sum(x > 0 for x in apart.values()), sum(x != 0 for x in apart.values())
    p = float(binomtest(larger, told).pvalue) if told else 1.0
    return {**_interval(apart), "larger": larger, "told": told, "p": p}


def knock_out(rows: Iterable[Row]) -> dict[str, Any]:
    """Rank correlations of what was foretold and what was measured, over regions by picture and map, layers, and thirds."""
    measured: dict[tuple[str, ...], dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    said: dict[tuple[str, ...], dict[int, tuple[float, ...]]] = defaultdict(dict)
    for row in rows:
        if row.foretold is not None:
            said[row.key[1:]][row.pair] = row.foretold
        elif row.key[0] in ("region", "layer", "third"):
            assert row.mean is not None
            measured[row.key[:-1]][row.pair][row.key[-1]] = row.mean
    found: dict[str, Any] = {"regions": {"reference": {}, "generated": {}}}
    for key, by_pair in said.items():
        if key[0] == "region":
            covered = next((of for other, of in said.items() if other[:2] == key[:2] and is_truth(other[2])), {})
            changes = {pair: _in_order(measured[key[:2]][pair]) for pair in by_pair}
            within = {pair: [x >= HALF * max(of) for x in of] for pair, of in covered.items()}
            found["regions"][key[1]][key[2]] = {**_told(by_pair, changes), "inside": _told(by_pair, changes, within)}
        else:
            changes = {pair: [*measured[key][pair].values()] for pair in by_pair}
            names = [*next(iter(measured[key].values()))]
            columns = {"foretold": _columns(by_pair.values()), "change": _columns(changes.values())}
            found[key[0]] = {**_told(by_pair, changes), "names": names, **columns}
    return found


def _in_order(by_number: Mapping[str, float]) -> list[float]:
    return [by_number[str(i)] for i in range(len(by_number))]


def _told(
    said: Mapping[int, Sequence[float]],
    changes: Mapping[int, Sequence[float]],
    within: Mapping[int, Sequence[bool]] | None = None,
) -> dict[str, Any]:
    """The correlation with its interval, in how many pairs it is above 0, of how many it could be taken.

    Args:
        said: what was foretold, by pair.
        changes: what was measured.
        within: of which of them it is taken; then of `SOME` at least.
    """
    each: dict[int, float | None] = {}
    for pair in sorted(said):
        chosen = [True] * len(said[pair]) if within is None else within.get(pair, ())
        both = [(a, b) for a, b, taken in zip(said[pair], changes[pair], chosen) if taken]
        few = within is not None and len(both) < SOME
        each[pair] = None if few else rank_correlation(*torch.tensor(both, dtype=torch.float64).unbind(1))
    known = {pair: value for pair, value in each.items() if value is not None}
    return {
        **(_interval(known) if known else {"mean": None, "low": None, "high": None}),
        "above": sum(value > 0 for value in known.values()),
        "pairs": len(known),
        "each": [*each.values()],
    }


def _stand_in(rows: Sequence[Row]) -> dict[str, Any]:
    """The deletion curve, and where the change of the whole cut lies."""
    found = deletion(rows)
    if not found:
        return {}
    where: dict[str, list[float]] = {"inside": [], "area": [], "roc": []}
    for row in rows:
        for name, values in where.items():
            if row.key[3] == "all" and getattr(row, name) is not None:
                values.append(getattr(row, name))
    return {
        "whole": {**found["whole"], **{name: fmean(values) if values else None for name, values in where.items()}},
        "random": found["random"],
        "fractions": found["fractions"],
        **found["maps"].get(USED, {}),
    }


def _areas(curves: Mapping[int, Curve]) -> dict[int, float]:
    return {pair: curve.area for pair, curve in curves.items()}


def _mean_curve(curves: Iterable[Curve]) -> list[float]:
    return _columns(curve.changes for curve in curves)


def _columns(rows: Iterable[Sequence[float]]) -> list[float]:
    return [fmean(column) for column in zip(*rows, strict=True)]


def _interval(values: ByPair) -> dict[str, float]:
    return interval([values[pair] for pair in sorted(values)])
