"""Maps of pins: a named patch or region of one picture, seen on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..errors import I2AMError
from ..geometry.cells import Cell
from ..geometry.layout import TokenGrid
from ..geometry.pins import Pin
from ..geometry.resample import Size
from ..maps.value import AttributionMaps
from .choice import EVERYTHING, Choice
from .heat import Heat
from .patch import asked_grid, sram


@dataclass(frozen=True)
class Pinned:
    """A pin, its map (one panel that bears its name), and the cells of its own picture's grid that it means."""

    pin: Pin
    heat: Heat
    cells: tuple[Cell, ...]
    grid: TokenGrid


def pin_heat(maps: AttributionMaps, pin: Pin, size: Size, choice: Choice = EVERYTHING, *, preset: str = "default") -> Pinned:
    """The map of one pin.

    A pin on the generated picture gives its SRAM on the reference of ``choice`` (eq. 16). A pin on a reference gives its mirror
    on the generated picture, whatever the reference of ``choice``. A region gives the mean over its cells.

    Args:
        size: (H, W) of the picture that the pin lies on, in whose pixels it counts.
        preset: see `ulam`.

    Raises:
        I2AMError: the run has no such reference; names the pin.
        LayoutError: the pin lies outside of what the tokens cover; names it.
        UnavailableError: as `sram`.
    """
    direction = "reference" if pin.reference is None else "generated"
    if pin.reference is not None:
        check_reference(maps, pin)
        choice = replace(choice, reference=pin.reference)
    grid = asked_grid(maps, direction, choice, preset=preset)
    cells = pin.cells(size, grid)
    heat = sram(maps, cells, direction, choice, preset=preset, size=size)
    return Pinned(pin, replace(heat, labels=(f"{pin.name} · {heat.labels[0]}",)), tuple(cells), grid)


def check_reference(maps: AttributionMaps, pin: Pin) -> None:
    """Refuse a pin on a reference that the run did not have.

    Raises:
        I2AMError: names the pin, and how many references there were.
    """
    if pin.reference is not None and pin.reference >= len(maps.references):
        raise I2AMError(
            f"pin {pin.name!r} lies on {pin.on}, but the run had {len(maps.references)} reference(s); remove it, or put it on "
            f"one of them"
        )


def pins_heat(
    maps: AttributionMaps,
    pins: Sequence[Pin],
    direction: str,
    size: Size,
    choice: Choice = EVERYTHING,
    *,
    preset: str = "default",
) -> tuple[Heat, list[Pinned]]:
    """The maps of all pins on one picture as the panels of one heat, and each of them alone.

    Args:
        direction: as in `sram`: "reference" takes the pins on the generated picture, "generated" those on the reference of
            ``choice``.
        size: (H, W) of that picture.

    Raises:
        I2AMError: none of the pins lies on that picture; names where they lie.
        UnavailableError: as `sram`.
    """
    asked = None if direction == "reference" else choice.reference
    own = [pin for pin in pins if pin.reference == asked]
    if not own:
        here = "the generated picture" if asked is None else f"reference {asked + 1}"
        lie = ", ".join(f"{pin.name!r} on {pin.on}" for pin in pins)
        raise I2AMError(f"none of the pins lies on {here} ({lie}); choose the other direction or reference, or add a pin there")
    found = [pin_heat(maps, pin, size, choice, preset=preset) for pin in own]
    heats = [one.heat for one in found]
    if len(heats) == 1:
        return heats[0], found
    common = [note for note in heats[0].notes if all(note in heat.notes for heat in heats)]
    own_notes = ["".join(f": {note}" for note in heat.notes if note not in common) for heat in heats]
    joined = replace(
        heats[0],
        values=torch.cat([heat.values for heat in heats]),
        labels=tuple(f"{heat.labels[0]}{note}" for heat, note in zip(heats, own_notes, strict=True)),
        unplaced=tuple(share for heat in heats for share in heat.unplaced),
        queries=tuple(dict.fromkeys(cell for heat in heats for cell in heat.queries)),
        notes=tuple(common),
    )
    return joined, found
