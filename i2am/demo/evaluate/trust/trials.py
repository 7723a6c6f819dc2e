"""The runs with cuts that are made of one pair at one noise, and what the maps foretell of them.

- Deletion: the cells of a map cut in its order, in the reversed one and at random, at equal numbers of cells. A map on the
  reference says which of its cells are taken away from all; one on the generated picture which of its cells no longer see the
  reference.
- Knock-out: one region, one layer or one third of the steps cut alone.
- Stand-ins: the deletion again, where the cells are not taken away but replaced by those of another garment, or of the blurred
  one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ....interventions.cells import painted
from ....interventions.deletion import ORDERS, deletions
from ....interventions.plan import Cut
from ....levels.choice import Choice
from ....levels.heat import Heat
from ....levels.marginal import ulam
from ....maps.value import AttributionMaps

FRACTIONS = (0.1, 0.25, 0.5, 0.75, 1.0)
REMOVED, OTHER, BLURRED = "removed", "another garment", "blurred"
STAND_INS = (OTHER, BLURRED)
"""What is put in the place of cut cells; `REMOVED`: nothing."""
USED = "G2R"
"""The map whose deletion is made again with stand-ins."""
BASELINE = "truth"
"""The drawn truth in place of a map: the garment's mask on the reference, where it is seen on the generated picture."""
THIRDS = 3
BLOCKS = {"reference": (5, 7), "generated": (8, 4)}
"""Rows and columns of the regions that are cut alone."""

Key = tuple[str, ...]
"""What a run is: its part, then the picture, map, order, number of cells and stand-in, or the region, layer or third."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One run: its key, what is cut in it, and what stands in for it, one of `STAND_INS` or `REMOVED`."""

    key: Key
    cut: Cut
    by: str = REMOVED

    @property
    def makes(self) -> tuple[object, ...]:
        """What decides its picture: two trials that agree in this are one run."""
        masks = (m for m in (self.cut.region, self.cut.where) if m is not None)
        marked = tuple(bytes((m > 0.5).flatten().byte().numpy()) for m in masks if isinstance(m, Tensor))
        return (self.by, self.cut.what, self.cut.route, self.cut.steps, self.cut.layers, self.cut.region is None, marked)


def deletion_trials(heats: Mapping[str, Heat], reference: int, seed: int) -> Iterator[Trial]:
    """Those of all maps; the random orders and the cut of everything are made once for the maps of each picture.

    The drawn truth is only cut in its own order: it is there to compare with.

    Args:
        heats: by name, of one panel each; those of a picture on one grid.
        reference: which one is cut.
        seed: of the random order.
    """
    begun: set[str] = set()
    for name, heat in heats.items():
        orders = ("map",) if name.startswith(BASELINE) else ORDERS if heat.picture not in begun else ("map", "reversed")
        for one in deletions(heat, reference, FRACTIONS, orders, (seed,)):
            shared = one.order in ("random", "all")
            if one.order != "all" or heat.picture not in begun:
                yield Trial(("deletion", heat.picture, "" if shared else name, one.order, str(one.cells), REMOVED), one.cut)
        begun.add(heat.picture)


def stand_in_trials(heat: Heat, reference: int, seed: int) -> Iterator[Trial]:
    """The deletion of a map on the reference, once more for each of `STAND_INS`."""
    for by in STAND_INS:
        for one in deletions(heat, reference, FRACTIONS, ORDERS, (seed,)):
            name = "" if one.order in ("random", "all") else USED
            yield Trial(("deletion", "reference", name, one.order, str(one.cells), by), one.cut, by)


def regions(heat: Heat) -> Tensor:
    """The cells of each region of a map's picture, (regions, rows, columns), 0 or 1; they tile it."""
    rows, columns = heat.values.shape[1:]
    down, across = BLOCKS[heat.picture]
    row, column = (torch.arange(n) * parts // n for n, parts in ((rows, down), (columns, across)))
    index = row[:, None] * across + column[None]
    return torch.stack([(index == i).float() for i in range(down * across)])


def knock_out_trials(heats: Mapping[str, Heat], layers: tuple[str, ...], reference: int, steps: int) -> Iterator[Trial]:
    """Each region, each layer and each third of the steps cut alone.

    Args:
        heats: a map of each picture, whose grids are divided into regions.
        layers: their names.
        reference: which one is cut.
        steps: of the run.
    """
    for picture, heat in {heat.picture: heat for heat in heats.values()}.items():
        for i, cells in enumerate(regions(heat)):
            region = painted(cells > 0, heat.size, heat.rect)
            cut = (
                Cut("reference", reference, region=region)
                if picture == "reference"
                else Cut("reference", reference, route="generated", where=region)
            )
            yield Trial(("region", picture, str(i)), cut)
    everywhere = next(torch.ones(heat.size) for heat in heats.values() if heat.picture == "reference")
    for layer in layers:
        yield Trial(("layer", layer), Cut("reference", reference, everywhere, route="generated", layers=(layer,)))
    for i, third in enumerate(thirds(steps)):
        yield Trial(("third", str(i)), Cut("reference", reference, everywhere, route="generated", steps=third))


def thirds(steps: int) -> tuple[tuple[int, int], ...]:
    """Half-open ranges of about a third of the steps each; of fewer than three steps each is one.

    >>> thirds(8)
    ((0, 3), (3, 6), (6, 8))
    """
    bounds = [-(-steps * i // THIRDS) for i in range(THIRDS + 1)]
    return tuple((a, b) for a, b in zip(bounds, bounds[1:]) if b > a)


def foretold(maps: AttributionMaps, heats: Mapping[str, Heat], reference: int, steps: int) -> Iterator[tuple[Key, list[float]]]:
    """What the maps say of each region, layer and third: the sum over a region, and the mass of a layer or third.

    The mass is that of tokens with a place, which are those that are cut.
    """
    for name, heat in heats.items():
        sums = (regions(heat) * heat.values[0]).sum((1, 2))
        yield ("region", heat.picture, name), sums.tolist()

    def mass(choice: Choice) -> float:
        return float(ulam(maps, "mass", choice, placed_only=True).values.mean())

    yield ("layer",), [mass(Choice(layers=layer.name, reference=reference)) for layer in maps.layers]
    yield ("third",), [mass(Choice(layers="*", steps=third, reference=reference)) for third in thirds(steps)]
