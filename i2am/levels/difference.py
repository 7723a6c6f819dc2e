"""How the maps of two runs differ: the second minus the first, each normalised first, patch by patch.

A map is normalised as readers see it: a share stays a share, and any other map is divided by its own mean over its patches, so
that 1 is what an even map has everywhere. A difference is then in shares (0.01 is a percentage point) or in multiples of the
mean, and that two runs spend unequal parts of their attention on a reference is not mixed into where they spend it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import I2AMError, UnavailableError
from ..geometry.cells import Cell
from ..geometry.layout import Rect
from ..geometry.resample import Size
from ..maps.kinds import shown_as
from ..maps.value import AttributionMaps
from .choice import EVERYTHING, Choice
from .comparable import check_comparable
from .heat import Heat
from .marginal import ulam
from .patch import sram
from .share import SHARES

SHARE, MEAN = "share", "mean"
"""The units of a difference: shares of attention, and multiples of a map's own mean."""


@dataclass(frozen=True, eq=False)
class Difference:
    """Two maps of one picture, normalised, and what the second has more than the first.

    Attributes:
        first, second: (h, w) float32, normalised.
        side: what the maps are, as in `Heat`; ``of`` the reference that they are of, where there are several.
        picture: "generated" or "reference": which picture they lie on.
        unit: `MEAN` or `SHARE`.
        size: (H, W) of the first's picture in pixels; ``rect`` is the part that the patches cover, None: unknown.
    """

    first: Tensor
    second: Tensor
    side: str
    picture: str
    unit: str
    size: Size
    rect: Rect | None = None
    of: str = ""

    @property
    def values(self) -> Tensor:
        """(h, w): the second minus the first; 0 where both are alike, negative where the second has less."""
        return self.second - self.first

    @property
    def limit(self) -> float:
        """The largest absolute difference: a scale centred at 0 runs from its negative to it."""
        return float(self.values.abs().max())

    @property
    def largest(self) -> float:
        """The highest value of both maps: one colour scale for both runs from `least` to it."""
        return float(torch.maximum(self.first, self.second).max())

    @property
    def least(self) -> float:
        """The lowest value of both maps."""
        return float(torch.minimum(self.first, self.second).min())

    @property
    def moved(self) -> float:
        """How much lies elsewhere: half the mean absolute difference of maps (0: alike, 1: no patch in common).

        Of shares, the mean absolute difference.
        """
        mean = float(self.values.abs().mean())
        return mean if self.unit == SHARE else mean / 2

    def place(self, most: bool = True) -> Cell:
        """The (row, column) where the second has most more, or (``most`` False) most less, than the first."""
        values = self.values.flatten()
        row, column = divmod(int(values.argmax() if most else values.argmin()), self.first.shape[1])
        return row, column


def difference(
    first: AttributionMaps, second: AttributionMaps, side: str, choice: Choice = EVERYTHING, *, preset: str = "default"
) -> Difference:
    """How a map of the whole picture differs between two runs: the ULAM of a side, the second minus the first.

    Args:
        side: of one map of a reference, such as "R2G", "mass", "G2R" or "via text"; or "share" or "which reference", which
            give that of the reference of ``choice`` alone.
        choice: what to take of both recordings. Layers are meant by their names, steps by their numbers.
        preset: see `ulam`.

    Raises:
        UnavailableError: see `check_comparable`; or one of the recordings lacks it, and it says which.
        I2AMError: the side has several maps of one reference.
    """
    check_comparable(first, second)
    if side == "routes":
        raise I2AMError("routes are several maps of one reference, of which none can be taken alone; compare share or via text")

    def of(maps: AttributionMaps) -> Heat:
        if side in SHARES:
            return SHARES[side](maps, choice, preset=preset).panel(choice.reference)
        return ulam(maps, side, choice, preset=preset)

    return difference_of(_in_run("first", of, first), _in_run("second", of, second))


def patch_difference(
    first: AttributionMaps,
    second: AttributionMaps,
    at: Cell | Sequence[Cell] | Tensor,
    direction: str = "reference",
    choice: Choice = EVERYTHING,
    *,
    preset: str = "default",
) -> Difference:
    """How the map of one patch, or the mean over several, differs between two runs: SRAM or mirror, as `sram` has them.

    Raises:
        UnavailableError: see `check_comparable`; or one of the recordings lacks it, and it says which.
    """
    check_comparable(first, second)

    def of(maps: AttributionMaps) -> Heat:
        return sram(maps, at, direction, choice, preset=preset)

    return difference_of(_in_run("first", of, first), _in_run("second", of, second))


def difference_of(first: Heat, second: Heat) -> Difference:
    """The same of two heats of one panel each.

    Raises:
        I2AMError: they are not of one side and one grid, or have several panels; names what was given.
    """
    seen = [(heat.side, heat.picture, *heat.values.shape) for heat in (first, second)]
    if seen[0] != seen[1] or len(first.values) != 1:
        told = " and ".join(f"{side} on the {of} picture, {panels} panel(s) of {h} x {w}" for side, of, panels, h, w in seen)
        raise I2AMError(f"a difference is of two maps of one side, one panel and one grid, got {told}; choose them alike")
    unit = SHARE if shown_as(first.side)[1].unit == SHARE else MEAN
    return Difference(
        first=normalised(first.values[0], unit),
        second=normalised(second.values[0], unit),
        side=first.side,
        picture=first.picture,
        unit=unit,
        size=first.size,
        rect=first.rect,
        of=first.of,
    )


def normalised(values: Tensor, unit: str) -> Tensor:
    """A map (h, w) in its unit: a share as it is, else multiples of its own mean; a map of zeros stays one.

    >>> normalised(torch.tensor([[1.0, 3.0]]), "mean")
    tensor([[0.5000, 1.5000]])
    """
    if unit == SHARE:
        return values.float()
    mean = values.double().mean()
    return (values.double() / mean).float() if float(mean) > 0 else torch.zeros_like(values, dtype=torch.float32)


def _in_run(which: str, of: Callable[[AttributionMaps], Heat], maps: AttributionMaps) -> Heat:
    """A map of one of the two runs; an error says of which."""
    try:
        return of(maps)
    except UnavailableError as error:
        raise UnavailableError(f"in the {which} run: {error}") from error
