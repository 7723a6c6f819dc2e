"""Pins: patches and regions of a run's pictures that a person marked and named, as a widget or a file holds them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import I2AMError, LayoutError, shown
from .cells import Cell, cell_box, cells_at
from .layout import TokenGrid
from .resample import Size

COLOURS = ("#56b4e9", "#f0e442", "#cc79a7", "#d55e00", "#009e73", "#e69f00", "#0072b2")
"""Of pins that name none, in order: Okabe and Ito's palette (2008), light colours first."""
GENERATED = "generated"
MOST_PINS = 64
LONGEST_NAME = 60
LEAST = 0.01
"""Pixels of a region's side, below which one is written as so many: places are written in hundredths."""
EXAMPLE = '[{"name": "logo", "on": "generated", "x": 48, "y": 64}]'
"""Pins as error messages write them."""
_KEYS = ("name", "colour", "on", "x", "y", "width", "height")


@dataclass(frozen=True)
class Pin:
    """A patch or a region of one picture.

    Attributes:
        name: what the person calls it.
        colour: as "#rrggbb".
        x, y: a point, in pixels of the picture; of a region its left and upper edge.
        width, height: the size of the region in pixels; 0 and 0: a point, that is one patch.
        reference: which reference it lies on, counted from 0; None: the generated picture.
    """

    name: str
    colour: str
    x: float
    y: float
    width: float = 0
    height: float = 0
    reference: int | None = None

    @property
    def on(self) -> str:
        """The name of the picture that it lies on: "generated", "reference 1" and so on."""
        return GENERATED if self.reference is None else f"reference {self.reference + 1}"

    @property
    def is_region(self) -> bool:
        """Whether it has an extent."""
        return self.width > 0

    @property
    def middle(self) -> tuple[float, float]:
        """Its middle, (x, y) in pixels."""
        return self.x + self.width / 2, self.y + self.height / 2

    def cells(self, size: Size, grid: TokenGrid) -> list[Cell]:
        """The cells of a grid that it means on a picture of (H, W): the one under the point, or those with their middle in it.

        A region smaller than a cell means the cell under its own middle.

        Raises:
            LayoutError: it lies outside of what the tokens cover; names the pin.

        >>> Pin("all of the left", "#ffffff", 0, 0, 20, 64).cells((64, 48), TokenGrid(2, 3))
        [(0, 0), (1, 0)]
        """
        if self.is_region:
            inside = [(a, b) for a in range(grid.rows) for b in range(grid.columns) if self._holds(cell_box(grid, a, b, size))]
            if inside:
                return inside
        try:
            return cells_at([self.middle], size, grid)
        except LayoutError as error:
            raise LayoutError(f"pin {self.name!r} on the {self.on} picture: {error}") from error

    def _holds(self, box: tuple[float, float, float, float]) -> bool:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height


def pins_of(text: str) -> list[Pin]:
    """Pins from JSON: a list of objects with x and y in pixels of the picture that they lie on, in order.

    Besides x and y each may have ``on``, "generated" (if not said) or "reference 1", "reference 2" …; ``name`` and ``colour``
    ("#rrggbb"), else "pin 1" and so on in a colour of its own; ``width`` and ``height`` in pixels, which make it a region that
    begins at x and y.

    Raises:
        I2AMError: the text is anything else; names the pin and what is wrong with it.

    >>> pins_of('[{"name": "logo", "x": 48, "y": 64}]')
    [Pin(name='logo', colour='#56b4e9', x=48.0, y=64.0, width=0.0, height=0.0, reference=None)]
    """
    if not text.strip():
        return []
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise I2AMError(f"pins are written as JSON, such as {EXAMPLE}, but this is none ({error}): {shown(text, 99)}") from None
    if not isinstance(found, list):
        raise I2AMError(f"pins are a list, such as {EXAMPLE}, got {shown(text, 200)}")
    if len(found) > MOST_PINS:
        raise I2AMError(f"{len(found)} pins were given, but there may be {MOST_PINS}; remove some")
    return [_pin(one, number) for number, one in enumerate(found, 1)]


def pins_text(pins: list[Pin]) -> str:
    """Pins as the JSON that `pins_of` reads.

    >>> pins_text([Pin("sleeve", "#56b4e9", 4, 8, 16, 8, reference=0)])
    '[{"name": "sleeve", "colour": "#56b4e9", "on": "reference 1", "x": 4, "y": 8, "width": 16, "height": 8}]'
    """
    return json.dumps([_written(pin) for pin in pins], ensure_ascii=False)


def _written(pin: Pin) -> dict[str, Any]:
    size = {"width": max(pin.width, LEAST), "height": max(pin.height, LEAST)} if pin.is_region else {}
    places = {key: round(value, 2) for key, value in {"x": pin.x, "y": pin.y, **size}.items()}
    whole = {key: int(value) if value == int(value) else value for key, value in places.items()}
    return {"name": pin.name, "colour": pin.colour, "on": pin.on, **whole}


def _pin(given: object, number: int) -> Pin:
    if not isinstance(given, Mapping):
        raise I2AMError(f"pin {number} must be an object with x and y, such as {EXAMPLE[1:-1]}, got {shown(given, 80)}")
    name = given.get("name", f"pin {number}")
    if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME:
        raise I2AMError(f"the name of pin {number} must be a text of 1 to {LONGEST_NAME} characters, got {shown(name, 80)!r}")
    name = " ".join(name.split())  # a line break would cut a table's row in two
    what = f"pin {number} ({name!r})"
    unknown = [shown(key, 40) for key in given if key not in _KEYS]
    if unknown:
        raise I2AMError(f"{what} has {', '.join(map(repr, unknown))}, which pins do not have; they have {', '.join(_KEYS)}")
    colour = given.get("colour", COLOURS[(number - 1) % len(COLOURS)])
    if not isinstance(colour, str) or not re.fullmatch("#[0-9a-fA-F]{6}", colour):
        raise I2AMError(f"the colour of {what} is written as #rrggbb, such as {COLOURS[0]}, got {shown(colour, 40)!r}")
    x, y = (_number(given, key, what) for key in ("x", "y"))
    width = height = 0.0
    if "width" in given or "height" in given:
        width, height = (_number(given, key, what) for key in ("width", "height"))
        if not (width > 0 and height > 0):
            raise I2AMError(
                f"{what} is {width:g} x {height:g} pixels large; a region is larger than 0, and a single patch has neither "
                f"width nor height"
            )
    return Pin(name, colour.lower(), x, y, width, height, _reference(given.get("on", GENERATED), what))


def _number(given: Mapping[str, object], key: str, what: str) -> float:
    value = given.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e6:
        missing = "has none" if key not in given else f"has {shown(value, 40)!r}"
        raise I2AMError(f"{what} needs a number of pixels as its {key}, but {missing}")
    return float(value)


def _reference(on: object, what: str) -> int | None:
    """The reference's index, or None for the generated picture."""
    if on == GENERATED:
        return None
    match = re.fullmatch(r"reference(?: ([1-9]\d?))?", on) if isinstance(on, str) else None
    if match is None:
        raise I2AMError(f"{what} lies on {shown(on, 40)!r}; a pin lies on 'generated', 'reference 1', 'reference 2' and so on")
    return int(match[1] or 1) - 1
