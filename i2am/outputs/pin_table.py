"""The table of pins: what each looks at most, how sharply, and how much of it lies inside of a mask."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress

from PIL import Image
from torch import Tensor

from ..errors import UnavailableError
from ..geometry.cells import cell_box
from ..geometry.layout import WHOLE, TokenGrid
from ..geometry.pins import GENERATED
from ..geometry.resample import area, bilinear
from ..levels.choice import Choice
from ..levels.heat import Heat
from ..levels.patch import DIFFUSE
from ..levels.pinned import Pinned
from ..levels.share import share
from ..maps.value import AttributionMaps

HEAD = ("pin", "on", "x", "y", "seen on", "most at x", "y", "× uniform", "entropy", "share", "in mask", "")
NONE = "no pins: click on a picture, or write them"


def pin_table(
    maps: AttributionMaps,
    found: Sequence[tuple[int, Pinned]],
    masks: Mapping[str, Tensor | None],
    pictures: Sequence[Image.Image],
    choice: Choice,
    missing: Sequence[str] = (),
) -> str:
    """A line for each pin on each picture that it is seen on; pixels are those of the picture named before them.

    Args:
        found: the index of the picture that each is seen on (0: generated, else a reference's number), and its map.
        masks: by a picture's name ("generated", "reference 1" …), (H, W), 1 = inside; None: none was given.
        pictures: the generated picture and the references.
        choice: as the maps were made; shares are of its branch and image.
        missing: what is said below, such as why a pin is not seen on a reference.
    """
    if not found:
        return NONE
    shares = _Shares(maps, choice)
    rows = [HEAD, *(_row(index, one, masks, pictures, shares) for index, one in found)]
    used = [i for i in range(len(HEAD)) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in used}
    lines = ["  ".join(row[i].ljust(widths[i]) for i in used).rstrip() for row in rows]
    return "\n".join([*lines, *missing])


def _row(
    index: int, one: Pinned, masks: Mapping[str, Tensor | None], pictures: Sequence[Image.Image], shares: _Shares
) -> tuple[str, ...]:
    heat, pin = one.heat, one.pin
    on = GENERATED if index == 0 else f"reference {index}"
    values = heat.values[0].double()
    weights = (values / values.sum().clamp_min(1e-300)).flatten()
    ratio = float(weights.max()) * weights.numel()
    entropy = float(-(weights * weights.clamp_min(1e-300).log()).sum())
    x, y = _peak(heat, pictures[index])
    mask, spent = masks.get(on), shares.of(one, index)
    return (
        pin.name,
        pin.on,
        *(f"{value:.0f}" for value in pin.middle),
        on,
        f"{x:.0f}",
        f"{y:.0f}",
        f"{ratio:.1f}",
        f"{entropy:.2f} of {math.log(weights.numel()):.2f}",
        "" if spent is None else f"{spent:.1%}",
        "" if mask is None else f"{_inside(heat, mask):.1%}",
        "diffuse" if ratio < DIFFUSE else "",
    )


def _peak(heat: Heat, picture: Image.Image) -> tuple[float, float]:
    """The middle of the highest cell, in pixels of the picture."""
    row, column = divmod(int(heat.values[0].argmax()), heat.values.shape[2])
    grid = TokenGrid(heat.values.shape[1], heat.values.shape[2], rect=heat.rect)
    left, top, right, bottom = cell_box(grid, row, column, (picture.height, picture.width))
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
