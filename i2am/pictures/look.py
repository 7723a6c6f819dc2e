"""How a heat is drawn: threshold, colours, opacity, contour."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from ..errors import I2AMError
from ..levels.heat import THRESHOLD, Heat, Normalised
from .bar import colour_bar
from .colours import table_of

OPACITY = 0.8


@dataclass(frozen=True)
class Look:
    """How values are drawn, checked once; `Look.of` takes the arguments of `overlay`."""

    threshold: float | None
    colours: str
    opacity: float
    contour: float | None
    official: bool

    @classmethod
    def of(
        cls,
        heat: Heat,
        threshold: float | None = None,
        colours: str | None = None,
        opacity: float = OPACITY,
        contour: float | bool = False,
        official: bool = False,
    ) -> Look:
        """Check the arguments and fill in what they leave open from the heat."""
        threshold = heat.threshold if threshold is None else threshold
        if threshold is not None and not 0 <= threshold < 1:
            raise I2AMError(f"threshold is a part of the range, 0 or more and below 1, got {threshold}")
        if not 0 <= opacity <= 1:
            raise I2AMError(f"opacity is between 0 and 1, got {opacity}")
        level = None if contour is False else THRESHOLD if contour is True else contour
        if level is not None and not 0 < level < 1:
            raise I2AMError(f"contour is a level between 0 and 1, or True for 0.4, got {contour}")
        name = colours if colours is not None else "jet" if official else heat.colours
        table_of(name)
        return cls(threshold, name, opacity, level, official)

    def bar(self, height: int, low: float, high: float, invert: bool, flat: bool, text: int) -> Image.Image:
        """The colour bar that belongs to this look."""
        marks = {"threshold": self.threshold, "contour": self.contour}
        return colour_bar(height, low, high, colours=self.colours, invert=invert, flat=flat, text=text, **marks)


def caption_of(heat: Heat, panel: int | None, look: Look) -> str:
    """A line that says what a heat shows, then its notes, a line each; panel None speaks of all panels."""
    words = [heat.level] + [heat.side] * (heat.side != heat.level)
    head = f"{' '.join(words)} on the {heat.picture} image"
    if panel is not None and heat.labels[panel] not in ("", heat.level):
        head += f" · {heat.labels[panel]}"
    notes = list(heat.notes)
    if heat.rect is None:
        notes.append("where the tokens lie on this picture is unknown: stretched over all of it")
    if panel is not None and heat.unplaced:
        notes.append(f"{heat.unplaced[panel]:.1%} of the attention is on tokens without a place")
    if heat.invert:
        notes.append("inverted: 1 − min-max")
    if look.threshold is not None:
        notes.append(f"shown: above {look.threshold:g} of the range")
    return "\n".join([head, *notes])


def scale_of(normal: Normalised, panel: int, scale: str) -> tuple[float, float, bool]:
    """The raw low and high that one panel's colours stand for, and whether there is nothing but one value."""
    if scale == "each":
        return normal.low[panel], normal.high[panel], normal.flat[panel]
    return min(normal.low), max(normal.high), all(normal.flat)
