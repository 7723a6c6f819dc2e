"""The table of pins: what each looks at most, how sharply, and how much of it lies inside of a mask."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from ..errors import UnavailableError
from ..geometry.cells import Cell, cell_box
from ..geometry.layout import WHOLE, Rect, TokenGrid
from ..geometry.pins import GENERATED
from ..geometry.resample import area, bilinear
from ..levels.choice import Choice
from ..levels.difference import SHARE, Difference, difference_of
from ..levels.heat import Heat
from ..levels.patch import DIFFUSE
from ..levels.pinned import Pinned
from ..levels.share import share
from ..maps.value import AttributionMaps

HEAD = ("pin", "run", "on", "x", "y", "seen on", "most at x", "y", "× uniform", "entropy", "share", "in mask", "")
NONE = "no pins: click on a picture, or write them"
DIFFERENCE = "difference"
"""The run of a line that says what the second has more than the first; its place is where that is most."""


@dataclass(frozen=True)
class Beside:
    """The same pins in a second run.

    Attributes:
        maps: its recording.
        found: its maps, each of the same pin on the same picture as the first run's at that place; None: it has none.
        names: what the first and the second run are called.
    """

    maps: AttributionMaps
    found: Sequence[Pinned | None]
    names: tuple[str, str]


@dataclass(frozen=True)
class _Figures:
    """What a line says in numbers; None: unknown, or not asked for."""

    at: tuple[float, float]
    ratio: float
    entropy: float
    even: float
    share: float | None
    inside: float | None


def pin_table(
    maps: AttributionMaps,
    found: Sequence[tuple[int, Pinned]],
    masks: Mapping[str, Tensor | None],
    pictures: Sequence[Image.Image],
    choice: Choice,
    missing: Sequence[str] = (),
    beside: Beside | None = None,
) -> str:
    """A line for each pin on each picture that it is seen on; pixels are those of the picture named before them.

    With a second run ``beside``, there is a line for each run, and one for their difference.

    Args:
        found: the index of the picture that each is seen on (0: generated, else a reference's number), and its map.
        masks: by a picture's name ("generated", "reference 1" …), (H, W), 1 = inside; None: none was given.
        pictures: the generated picture and the references.
        choice: as the maps were made; shares are of its branch and image.
        missing: what is said below, such as why a pin is not seen on a reference.
    """
    if not found:
        return "\n".join([NONE, *missing])
    shares = _Shares(maps, choice)
    others = _Shares(beside.maps, choice) if beside else shares
    rows: list[tuple[str, ...]] = [HEAD]
    for place, (index, one) in enumerate(found):
        figures = _figures(index, one, masks, pictures, shares)
        rows.append(_row(index, one, figures, beside.names[0] if beside else ""))
        other = beside.found[place] if beside else None
        if beside and other:
            second = _figures(index, other, masks, pictures, others)
            rows.append(_row(index, other, second, beside.names[1]))
            rows.append(_apart(index, one, figures, second, difference_of(one.heat, other.heat), pictures[index]))
    used = [i for i in range(len(HEAD)) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in used}
    lines = ["  ".join(row[i].ljust(widths[i]) for i in used).rstrip() for row in rows]
    return "\n".join([*lines, *missing])


def _figures(
    index: int, one: Pinned, masks: Mapping[str, Tensor | None], pictures: Sequence[Image.Image], shares: _Shares
) -> _Figures:
    values = one.heat.values[0].double()
    weights = (values / values.sum().clamp_min(1e-300)).flatten()
    mask = masks.get(_seen_on(index))
    return _Figures(
        at=_middle(one.heat.rect, divmod(int(values.argmax()), values.shape[1]), values, pictures[index]),
        ratio=float(weights.max()) * weights.numel(),
        entropy=float(-(weights * weights.clamp_min(1e-300).log()).sum()),
        even=math.log(weights.numel()),
        share=shares.of(one, index),
        inside=None if mask is None else _inside(one.heat, mask),
    )


def _row(index: int, one: Pinned, figures: _Figures, run: str) -> tuple[str, ...]:
    return (
        *_which(index, one, run),
        *(f"{value:.0f}" for value in figures.at),
        f"{figures.ratio:.1f}",
        f"{figures.entropy:.2f} of {figures.even:.2f}",
        "" if figures.share is None else f"{figures.share:.1%}",
        "" if figures.inside is None else f"{figures.inside:.1%}",
        "diffuse" if figures.ratio < DIFFUSE else "",
    )


def _apart(
    index: int, one: Pinned, first: _Figures, second: _Figures, apart: Difference, picture: Image.Image
) -> tuple[str, ...]:
    """What the second run has more than the first."""
    return (
        *_which(index, one, DIFFERENCE),
        *(f"{value:.0f}" if apart.limit > 0 else "" for value in _middle(apart.rect, apart.place(), apart.first, picture)),
        f"{second.ratio - first.ratio:+.1f}",
        f"{second.entropy - first.entropy:+.2f}",
        _points(first.share, second.share),
        _points(first.inside, second.inside),
        said_of(apart),
    )


def _which(index: int, one: Pinned, run: str) -> tuple[str, ...]:
    return (one.pin.name, run, one.pin.on, *(f"{value:.0f}" for value in one.pin.middle), _seen_on(index))


def _seen_on(index: int) -> str:
    return GENERATED if index == 0 else f"reference {index}"


def _points(first: float | None, second: float | None) -> str:
    return "" if first is None or second is None else f"{100 * (second - first):+.1f} points"


def said_of(apart: Difference) -> str:
    """A difference's range and size in words.

    >>> from torch import tensor
    >>> said_of(Difference(tensor([[0.5, 1.5]]), tensor([[1.0, 1.0]]), "SRAM", "reference", "mean", (1, 2)))
    '-0.50 to +0.50 × of the mean, 25.0% lies elsewhere'
    """
    if apart.limit <= 0:
        return "no difference"
    low, high, moved = float(apart.values.min()), float(apart.values.max()), apart.moved
    if apart.unit == SHARE:
        return f"{100 * low:+.2f} to {100 * high:+.2f} points, {100 * moved:.2f} on average"
    return f"{low:+.2f} to {high:+.2f} × of the mean, {moved:.1%} lies elsewhere"


def _middle(rect: Rect | None, cell: Cell, values: Tensor, picture: Image.Image) -> tuple[float, float]:
    """The middle of a cell of a map (h, w), in pixels of the picture that it lies on."""
    grid = TokenGrid(values.shape[0], values.shape[1], rect=rect)
    left, top, right, bottom = cell_box(grid, *cell, (picture.height, picture.width))
    return (left + right) / 2, (top + bottom) / 2


def _inside(heat: Heat, mask: Tensor) -> float:
    """The part of a map's whole that lies inside of a mask (H, W)."""
    values = heat.values[0].double()
    covered = area(mask.clamp(0, 1)[None], (values.shape[0], values.shape[1]), heat.rect or WHOLE)[0].double()
    return float((values * covered).sum() / values.sum().clamp_min(1e-300))


class _Shares:
    """What generated patches spend on each reference, where the recording knows it."""

    def __init__(self, maps: AttributionMaps, choice: Choice) -> None:
        self.heat: Heat | None = None
        with suppress(UnavailableError):  # attention to references alone, or an older recording
            self.heat = share(maps, choice)

    def of(self, one: Pinned, index: int) -> float | None:
        """The mean share that a pin on the generated picture spends on the reference of this number."""
        if self.heat is None or one.pin.reference is not None:
            return None
        values = self.heat.values[index - 1]
        if values.shape != (one.grid.rows, one.grid.columns):  # patch maps were pooled, or kept of coarser layers only
            values = bilinear(values[None], (one.grid.rows, one.grid.columns))[0]
        return sum(float(values[cell]) for cell in one.cells) / len(one.cells)
