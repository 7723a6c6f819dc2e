"""Planned sets of runs that answer a question: one run uncut, and the others with one cut each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import I2AMError
from ..geometry.layout import TokenGrid
from ..levels.batch import over_frames
from ..levels.choice import Choice
from ..levels.grids import reference_grid
from ..levels.heat import Heat
from ..levels.marginal import ulam
from ..levels.selection import named_layers
from ..maps.value import AttributionMaps
from .cells import by_coarsest_layer, moved_region
from .deletion import FRACTIONS, Deletion, deletions
from .plan import Cut, no_such_reference

EACH, REGION, CURVE = "does each reference matter?", "does this region matter?", "deletion curve"
LAYERS = "which layers matter?"
QUESTIONS = (EACH, REGION, CURVE, LAYERS)
UNCUT = Cut("nothing")


@dataclass(frozen=True, eq=False)
class Planned:
    """One run: its name, what is cut in it, and its place on a deletion curve, or the layers that it is of, if any."""

    name: str
    cut: Cut
    deletion: Deletion | None = None
    layers: str = ""


@dataclass(frozen=True, eq=False)
class Ran:
    """What a run left: its latent or picture, as its owner's ``decode`` takes it, and its maps if it was recorded."""

    latent: Tensor
    maps: AttributionMaps | None = None


def each_reference(names: Sequence[str]) -> tuple[Planned, ...]:
    """A run without each of the references.

    >>> [(one.name, one.cut.reference) for one in each_reference(["person", "garment"])]
    [('without person', 0), ('without garment', 1)]
    """
    return tuple(Planned(f"without {name}", Cut("reference", i)) for i, name in enumerate(names))


def region_and_others(
    region: Tensor, reference: int, name: str, grid: TokenGrid, others: int = 1, seed: int = 0
) -> tuple[Planned, ...]:
    """A run without a region of a reference, and ``others`` without a region of as many tokens elsewhere on it.

    Raises:
        LayoutError: there is no other region like it; see `moved_region`.
    """
    found = [Planned(f"without the region of {name}", Cut("reference", reference, region=region))]
    for i in range(others):
        moved = moved_region(region, grid, seed + i, name)
        found.append(Planned(f"without random region {i + 1}", Cut("reference", reference, region=moved)))
    return tuple(found)


def each_layer(layers: Sequence[str], reference: int, name: str) -> tuple[Planned, ...]:
    """A run in which one layer, or the layers of one glob, lose sight of a reference, for each of them.

    >>> [(one.name, one.cut.layers) for one in each_layer(["double.0", "single.*"], 1, "garment")]
    [('garment cut in double.0', ('double.0',)), ('garment cut in single.*', ('single.*',))]
    """
    return tuple(Planned(f"{name} cut in {one}", Cut("reference", reference, layers=(one,)), layers=one) for one in layers)


@dataclass(frozen=True, eq=False)
class Plan:
    """A question, and what it is about.

    Attributes:
        question: one of `QUESTIONS`.
        reference: which one is cut, as a whole or in a layer, or of which the region is.
        region: (H, W) of its picture.
        side: the map whose order a deletion curve follows.
        fractions: of the deletion curve.
        others: random regions to compare with.
        seed: of random regions and orders.
        layers: names or globs, a run for each, of the question which layers matter; empty: a run for each recorded layer.
    """

    question: str = EACH
    reference: int = 0
    region: Tensor | None = None
    side: str = "G2R"
    fractions: tuple[float, ...] = FRACTIONS
    others: int = 2
    seed: int = 0
    layers: tuple[str, ...] = ()

    def runs(self, maps: AttributionMaps) -> tuple[Planned, ...]:
        """The runs with cuts; ``maps`` are of the uncut one.

        Raises:
            I2AMError: the question is none of them, has no region, or is about a reference that the run had not.
            LayoutError: there is no region to compare with.
            UnavailableError: the recording has no such map, or no such layer.
        """
        if self.question not in QUESTIONS:
            raise I2AMError(f"the question is {self.question!r}; choose one of {', '.join(map(repr, QUESTIONS))}")
        names = names_of(maps)
        if self.question == EACH:
            return each_reference(names)
        if self.reference >= len(names):
            raise I2AMError(no_such_reference(self.reference, names))
        if self.question == LAYERS:
            known = [layer.name for layer in maps.layers]
            named_layers(maps, self.layers or known)
            return each_layer(self.layers or known, self.reference, names[self.reference])
        if self.question == CURVE:
            return tuple(
                Planned(one.name, one.cut, one)
                for one in deletions(self.map_of(maps), self.reference, self.fractions, seeds=(self.seed,))
            )
        if self.region is None:
            raise I2AMError("the question is about a region of a reference, but none was given; paint one")
        grid = reference_grid(maps, self.reference)
        return region_and_others(self.region, self.reference, names[self.reference], grid, self.others, self.seed)

    def map_of(self, maps: AttributionMaps) -> Heat:
        """The map whose order a deletion curve follows, by the cells of the coarsest layer."""
        choice = Choice(reference=self.reference)
        heat = over_frames(maps, lambda image: ulam(maps, self.side, choice.on_image(image)))
        return by_coarsest_layer(heat, maps, self.reference)


def names_of(maps: AttributionMaps) -> list[str]:
    """The references' names, with their numbers where several share one."""
    names = [reference.name for reference in maps.references]
    return [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names, 1)]
