"""Two runs beside each other: their pins, their maps of the whole picture, and what the second has more than the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from ..errors import UnavailableError
from ..geometry.pins import Pin
from ..levels.choice import Choice
from ..levels.difference import Difference, difference, difference_of
from ..levels.patch import sram
from ..levels.pinned import Pinned
from ..maps.kinds import all_shown
from ..maps.value import AttributionMaps
from ..pictures.apart import UNITS, difference_bar, paint_difference
from ..pictures.lettering import PAPER
from ..pictures.sheet import in_a_row
from .pin_table import Beside, said_of
from .second import SecondRun, run_names
from .sheet_parts import tall

MOST_ROWS = 6
"""Pins whose differences are drawn; the table has all."""


@dataclass(frozen=True)
class Compared:
    """What a second run adds to the pins of a first one.

    Attributes:
        beside: the same pins in the second run.
        whole: differences of maps of the whole picture, each with the index of the picture that it lies on (0: generated).
        missing: why something has no counterpart, and what else must be said.
    """

    beside: Beside
    whole: list[tuple[int, Difference]]
    missing: list[str]

    def lines(self) -> list[str]:
        """The differences of the whole picture, and what is missing, as lines of text."""
        names = self.beside.names
        told = [f"{names[1]} minus {names[0]}, {_title(apart)}: {said_of(apart)}" for _, apart in self.whole]
        return [*told, *self.missing]


def compare(
    maps: AttributionMaps,
    second: SecondRun,
    found: Sequence[tuple[int, Pinned]],
    choice: Choice,
    generated: Image.Image | None = None,
) -> Compared:
    """Look up in a second run what was found in a first one.

    Args:
        found: the index of the picture that each pin is seen on (0: generated, else a reference's number), and its map.
        choice: as the first run's maps were made; it is taken of both.
        generated: the first run's generated picture, if it is to be told that both runs were given one.

    Raises:
        I2AMError: the second run cannot be compared; see `SecondRun.checked`.
        UnavailableError: the second run has no such branch or image.
    """
    second.checked(maps)
    missing: dict[str, None] = dict.fromkeys(second.notes(maps, generated))
    others: list[Pinned | None] = []
    for index, one in found:
        direction = "generated" if index == 0 else "reference"
        reference = one.pin.reference if one.pin.reference is not None else index - 1
        try:
            heat = sram(second.maps, list(one.cells), direction, replace(choice, reference=reference))
        except UnavailableError as error:
            others.append(None)
            missing[f"{one.pin.name} in the second run: {error}"] = None
        else:
            others.append(replace(one, heat=replace(heat, labels=one.heat.labels)))
    return Compared(Beside(second.maps, others, run_names(maps, second.maps)), _whole(maps, second.maps, choice), list(missing))


def _whole(maps: AttributionMaps, second: AttributionMaps, choice: Choice) -> list[tuple[int, Difference]]:
    """The differences of the maps that readers see first: on the generated picture, and on every reference."""
    found = []
    sides = sorted((shown for kind, shown in all_shown() if kind.per == "step"), key=lambda shown: shown.rank)
    of = [(0, "generated", choice.reference), *((i + 1, "reference", i) for i in range(len(maps.references)))]
    for index, picture, reference in of:
        for shown in (shown for shown in sides if shown.picture == picture):
            try:
                found.append((index, difference(maps, second, shown.side, replace(choice, reference=reference))))
                break
            except UnavailableError:  # the next side may exist in both
                continue
    return found


def _title(apart: Difference) -> str:
    return f"{apart.side}{f' of {apart.of}' if apart.of else ''}"


def difference_rows(
    pictures: Sequence[Image.Image], found: Sequence[tuple[int, Pinned]], compared: Compared, height: int, text: int, gap: int
) -> list[tuple[str, Image.Image]]:
    """The difference maps, each row with its title and scales: of the whole picture, then of each pin, `MOST_ROWS` at most."""
    names = compared.beside.names
    head = f"{names[1]} minus {names[0]}"
    rows = [(head, _row(pictures, compared.whole, height, text, gap))] if compared.whole else []
    by_pin: dict[Pin, list[tuple[int, Difference]]] = {}
    for (index, one), other in zip(found, compared.beside.found, strict=True):
        if other is not None:
            by_pin.setdefault(one.pin, []).append((index, difference_of(one.heat, other.heat)))
    drawn = list(by_pin.items())[:MOST_ROWS]
    return rows + [(f"{pin.name}: {head}", _row(pictures, parts, height, text, gap)) for pin, parts in drawn]


def _row(
    pictures: Sequence[Image.Image], parts: Sequence[tuple[int, Difference]], height: int, text: int, gap: int
) -> Image.Image:
    items = []
    for index, apart in parts:
        drawn = paint_difference(tall(pictures[index], height), apart)
        bar = difference_bar(height, apart, text)
        both = Image.new("RGB", (drawn.width + text // 2 + bar.width, height), PAPER)
        both.paste(drawn, (0, 0))
        both.paste(bar, (drawn.width + text // 2, 0))
        items.append((both, f"{_title(apart)}\n{UNITS[apart.unit]}"))
    return in_a_row(items, text, gap)
