"""How a heat is drawn: the settings, what they mean for one heat, and its caption."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from ..errors import I2AMError
from ..levels.heat import Heat, Normalised
from ..levels.presets import THRESHOLD
from ..maps.kinds import shown_as
from .bar import colour_bar
from .colours import check_colours, table_of

OPACITY = 0.8
CUTS = {"ULAM": "over the whole run", "TLAM": "over time", "HLAM": "by head", "LLAM": "by layer"}
"""The levels in plain words."""


@dataclass(frozen=True)
class Look:
    """How to draw a heat; what is None is taken from the heat.

    Attributes:
        threshold: hide values up to this fraction of the range (the paper: 0.4); None takes the heat's own, if any.
        colours: a name of `COLOURS`; None takes the heat's own.
        opacity: of the highest value, 0 to 1; lower values are more transparent.
        contour: draw a line at this value of the min-maxed map; True means 0.4, False draws none.
        official: the authors' own blending, picture * 0.7 + jet * 0.5.
        scale: "each" stretches every panel to its own range, "shared" all to one; None takes the heat's own, else the
            drawing function's default.

    Raises:
        I2AMError: an unknown colour map or scale, or a number outside of its range.

    >>> Look(contour=True).contour_at
    0.4
    >>> Look(opacity=2.0)
    Traceback (most recent call last):
    i2am.I2AMError: opacity must be between 0 and 1, got 2.0
    """

    threshold: float | None = None
    colours: str | None = None
    opacity: float = OPACITY
    contour: float | bool = False
    official: bool = False
    scale: str | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise I2AMError(f"threshold must be a fraction of the map's range, 0 or more and below 1, got {self.threshold}")
        if self.colours is not None:
            check_colours(self.colours)
        if not 0 <= self.opacity <= 1:
            raise I2AMError(f"opacity must be between 0 and 1, got {self.opacity}")
        if self.contour_at is not None and not 0 < self.contour_at < 1:
            raise I2AMError(f"contour must be a value between 0 and 1, or True for {THRESHOLD}, got {self.contour}")
        if self.scale not in (None, "each", "shared"):
            raise I2AMError(f"scale is 'each' or 'shared', got {self.scale!r}")

    @property
    def contour_at(self) -> float | None:
        """The value of the min-maxed map to draw a line at, if any."""
        return None if self.contour is False else THRESHOLD if self.contour is True else self.contour

    def resolve(self, heat: Heat, scale: str = "shared") -> ResolvedLook:
        """The look of one heat; ``scale`` applies if neither the look nor the heat has one."""
        return ResolvedLook(
            threshold=heat.threshold if self.threshold is None else self.threshold,
            colours=self.colours or ("jet" if self.official else heat.colours),
            opacity=self.opacity,
            contour=self.contour_at,
            official=self.official,
            scale=self.scale or heat.scale or scale,
        )


AS_IS = Look()
"""The heat's own look."""


@dataclass(frozen=True)
class ResolvedLook:
    """How one heat is drawn, with nothing left open; made by `Look.resolve`."""

    threshold: float | None
    colours: str
    opacity: float
    contour: float | None
    official: bool
    scale: str

    def __post_init__(self) -> None:
        table_of(self.colours)  # fails before anything is drawn

    def bar(self, height: int, low: float, high: float, *, invert: bool, flat: bool, text: int) -> Image.Image:
        """The colour bar that belongs to this look."""
        return colour_bar(
            height,
            low,
            high,
            colours=self.colours,
            invert=invert,
            threshold=self.threshold,
            contour=self.contour,
            flat=flat,
            text=text,
        )


def caption_of(heat: Heat, panel: int | None, look: ResolvedLook) -> str:
    """A line that says what a heat shows, then its notes, one per line; panel None describes all panels."""
    head = f"{_in_words(heat)} on the {heat.picture} image{f' · {heat.of}' * bool(heat.of)}"
    if panel is not None and heat.labels[panel] not in ("", heat.level):
        head += f" · {heat.labels[panel]}"
    notes = list(heat.notes)
    if heat.rect is None:
        notes.append("where the tokens lie on this picture is unknown: stretched over all of it")
    if panel is not None and heat.unplaced and heat.unplaced[panel]:
        notes.append(f"{heat.unplaced[panel]:.1%} of the attention is on tokens without a place")
    if heat.invert:
        notes.append("inverted: 1 − min-max")
    if look.threshold is not None:
        notes.append(f"shown: above {look.threshold:g} of the range")
    return "\n".join([head, *notes])


def _in_words(heat: Heat) -> str:
    """What a heat shows in plain words, with the paper's beside them."""
    names = " ".join([heat.side] + [heat.level] * (heat.level not in (heat.side, "SRAM")))
    try:
        plain = shown_as(heat.side)[1].plain or heat.side
    except KeyError:  # no map of a recording, such as what a cut changed
        return f"{heat.level} {heat.side}" if heat.level != heat.side else heat.side
    cut = CUTS.get(heat.level)
    return f"{plain}{f', {cut}' if cut else ''} ({names})"


def scale_of(normal: Normalised, panel: int, scale: str) -> tuple[float, float, bool]:
    """The raw values at both ends of one panel's colours, and whether there is only one value."""
    if scale == "each":
        return normal.low[panel], normal.high[panel], normal.flat[panel]
    return min(normal.low), max(normal.high), all(normal.flat)
