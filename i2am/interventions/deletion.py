"""Deletion curves: cut more and more, in the order of a map, in the reversed order and at random; does the map's order matter?

A map whose high values matter changes the picture soonest if they are cut first, and latest if they are cut last (Samek et
al., "Evaluating the visualization of what a deep neural network has learned", 2017; Petsiuk et al., "RISE", 2018). Here
nothing is painted over: the tokens leave the softmax, at equal numbers of cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import I2AMError
from ..levels.heat import Heat
from .cells import painted
from .plan import Cut

ORDERS = ("map", "random", "reversed")
"""The highest values first, in random order, the lowest first."""
FRACTIONS = (0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class Deletion:
    """One run of a deletion curve.

    Attributes:
        order: one of `ORDERS`, or "all" where every cell is cut, which is the same in each.
        fraction: of the cells that are cut.
        cells: how many.
        seed: of the random order, else 0.
        cut: what is cut.
    """

    order: str
    fraction: float
    cells: int
    seed: int
    cut: Cut

    @property
    def name(self) -> str:
        """Such as "map 25 %"."""
        return f"{self.order} {100 * self.fraction:.3g} %" + f", seed {self.seed}" * (self.order == "random")


@dataclass(frozen=True)
class Curve:
    """How much a picture changed, by the fraction of cells that was cut; begins at (0, 0).

    Attributes:
        order: one of `ORDERS`.
        fractions: rising, the first is 0.
        changes: at each of them, of the random order the mean over its seeds.
    """

    order: str
    fractions: tuple[float, ...]
    changes: tuple[float, ...]

    @property
    def area(self) -> float:
        """The mean height of the curve: the area below it, by the trapezoid rule, over the last fraction.

        >>> Curve("map", (0.0, 0.5, 1.0), (0.0, 2.0, 2.0)).area
        1.5
        """
        points = list(zip(self.fractions, self.changes, strict=True))
        parts = [(b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in zip(points, points[1:], strict=False)]
        return sum(parts) / self.fractions[-1]


def ranked(values: Tensor, order: str, seed: int = 0) -> Tensor:
    """The cells of a map (rows, columns) in the order in which they are cut, as flat indices; ties stay in reading order.

    Raises:
        I2AMError: the order is none of `ORDERS`.

    >>> ranked(torch.tensor([[0.1, 0.9, 0.5]]), "map").tolist(), ranked(torch.tensor([[0.1, 0.9, 0.5]]), "reversed").tolist()
    ([1, 2, 0], [0, 2, 1])
    """
    flat = values.flatten()
    if order == "random":
        return torch.randperm(len(flat), generator=torch.Generator().manual_seed(seed))
    if order not in ORDERS:
        raise I2AMError(f"the order is {order!r}; choose one of {', '.join(map(repr, ORDERS))}")
    return flat.argsort(descending=order == "map", stable=True)


def deletions(
    heat: Heat,
    reference: int = 0,
    fractions: Sequence[float] = FRACTIONS,
    orders: Sequence[str] = ORDERS,
    seeds: Sequence[int] = (0,),
) -> tuple[Deletion, ...]:
    """The runs of a map's deletion curves, at equal numbers of cells in each order.

    Args:
        heat: any map of one panel. A map on the reference picture says which of its cells are taken away (from all). A map on
            the generated picture says which of its cells no longer see the reference (the direct route).
        reference: which one is cut.
        fractions: of the map's cells; each cuts one cell at least, and those that would cut as many as another are left out.
        orders: of `ORDERS`.
        seeds: of the random order.

    Raises:
        I2AMError: there are several panels, the map is the same everywhere, or a fraction is not above 0 and up to 1.
    """
    if len(heat.values) != 1:
        raise I2AMError(f"a deletion curve is of one map, got {len(heat.values)} panels; choose one (ULAM, or one panel)")
    values = heat.values[0]
    if not float(values.max()) > float(values.min()):
        raise I2AMError(
            f"the {heat.side} is the same at each of its {values.numel()} cells, so it orders none; take another map"
        )
    if not fractions or not all(0 < f <= 1 for f in fractions):
        raise I2AMError(f"fractions are above 0 and up to 1, such as {FRACTIONS}, got {tuple(fractions)}")
    counts = {max(1, round(f * values.numel())): f for f in sorted(fractions, reverse=True)}
    found = []
    for order in orders:
        for seed in seeds if order == "random" else (0,):
            cells = ranked(values, order, seed)
            for count in sorted(counts):
                if count < values.numel():
                    cut = _cut(heat, reference, cells[:count])
                    found.append(Deletion(order, count / values.numel(), count, seed, cut))
    if values.numel() in counts:
        found.append(Deletion("all", 1.0, values.numel(), 0, _cut(heat, reference, torch.arange(values.numel()))))
    return tuple(found)


def _cut(heat: Heat, reference: int, cells: Tensor) -> Cut:
    chosen = torch.zeros(heat.values[0].numel(), dtype=torch.bool)
    chosen[cells] = True
    region = painted(chosen.view_as(heat.values[0]), heat.size, heat.rect)
    if heat.picture == "reference":
        return Cut("reference", reference, region=region)
    return Cut("reference", reference, route="generated", where=region)


def curves_of(plan: Sequence[Deletion], changes: Sequence[float]) -> dict[str, Curve]:
    """The curves of a plan whose runs changed the picture by so much each, by order."""
    by_order: dict[str, dict[float, list[float]]] = {}
    for one, change in zip(plan, changes, strict=True):
        by_order.setdefault(one.order, {}).setdefault(one.fraction, []).append(change)
    shared = by_order.pop("all", {})
    found = {}
    for order, at in by_order.items():
        points = sorted({**at, **shared}.items())
        means = [sum(values) / len(values) for _, values in points]
        found[order] = Curve(order, (0.0, *(fraction for fraction, _ in points)), (0.0, *means))
    return found


def deletion_curves(heat: Heat, measure: Callable[[Cut], float], reference: int = 0, **plan: Any) -> dict[str, Curve]:
    """The deletion curves of a map, by order; see `deletions` for the arguments beside ``measure``.

    Args:
        heat: any map of one panel.
        measure: runs with a cut, and says how much the picture changed from the uncut run's.
        reference: which one is cut.
        **plan: fractions, orders, seeds.
    """
    runs = deletions(heat, reference, **plan)
    return curves_of(runs, [measure(run.cut) for run in runs])


def verdict(curves: Mapping[str, Curve], side: str) -> str:
    """What the curves say of the map's order, in words."""
    areas = {order: curve.area for order, curve in curves.items()}
    listed = ", ".join(f"{order} {area:.3g}" for order, area in areas.items())
    said = f"Mean height of the curves: {listed}."
    if not {"map", "random", "reversed"} <= areas.keys():
        return said
    if areas["map"] > areas["random"] > areas["reversed"]:
        return f"{said} Cutting what {side} shows highest changes the picture soonest, what it shows lowest latest."
    if areas["map"] > areas["reversed"]:
        return f"{said} What {side} shows highest matters more than what it shows lowest, but random order is not between them."
    return f"{said} Here what {side} shows highest does not matter more than what it shows lowest."
