"""One sheet of whatever there is: the panels of a heat on their pictures, or pictures alone, with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from ..errors import I2AMError
from ..levels.batch import meet
from ..levels.heat import Heat
from .backdrop import neutral
from .film import panels
from .overlays import check_pictures
from .sheet import sheet


def sheet_of(
    heat: Heat | None,
    pictures: Sequence[Image.Image] | None,
    labels: str = "",
    title: str = "",
    columns: int = 0,
    **look: Any,
) -> Image.Image:
    """A heat on its pictures or, where there are none, on grey; or pictures side by side.

    Args:
        heat: its panels are drawn; may be None.
        pictures: those of a batch, see `batch.meet`; may be None where there is a heat.
        labels: a line for each panel or picture; empty: the heat's own.
        title: stands above all; empty: what the heat is.
        columns: how many stand in a row; 0 chooses.
        **look: that of `animate.panels`, for a heat.

    Raises:
        I2AMError: neither is given, or their numbers or those of the labels do not fit.
    """
    lines = [line.strip() for line in labels.strip().splitlines()]
    if heat is None:
        if not pictures:
            raise I2AMError("a grid needs a heat, pictures or both: connect one of them")
        named = _named(lines, len(pictures)) if lines else [""] * len(pictures)
        return sheet(list(zip(pictures, named, strict=True)), columns or None, title or None)
    pictures = [neutral(heat.size)] if pictures is None else pictures
    check_pictures(heat, pictures)
    heat, pictures = meet(heat, pictures)
    if lines:
        heat = replace(heat, labels=tuple(_named(lines, len(heat.labels))))
    return panels(pictures, heat, columns=columns or None, title=title or None, **look)


def _named(lines: list[str], count: int) -> list[str]:
    if len(lines) != count:
        raise I2AMError(f"{len(lines)} labels were given for {count} panels; give one line for each, or none")
    return lines
