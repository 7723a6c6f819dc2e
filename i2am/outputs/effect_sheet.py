"""The sheet of an effect: the picture before, after, where it changed, and the map that may have foretold it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from ..geometry.resample import area
from ..levels.heat import Heat
from ..numbers import typeset
from ..pictures.backdrop import neutral
from ..pictures.marks import draw_outline
from ..pictures.sheet import framed, in_a_row
from ..scores.effect import Effect
from .sheet_parts import PRINT, drawn, tall

GAP = 28
"""Between two pictures, in pixels."""
CAVEAT = (
    "Both pictures must come from the same noise and settings. Then what differs between the runs caused the change, there "
    "or in what it led to. A cut is nothing the model was trained for, so a picture may also get worse."
)


def effect_sheet(
    change: Heat,
    effect: Effect,
    *,
    before: Image.Image | None = None,
    after: Image.Image | None = None,
    told: Heat | None = None,
    region: Tensor | None = None,
    of: str = "",
    title: str = "What the cut changed",
) -> Image.Image:
    """One picture's effect on one sheet.

    Args:
        change: of `change_heat`.
        effect: its figures.
        before, after: the pictures of both runs; None: they are not known, and the change is drawn on grey.
        told: a map on the generated picture to set beside it.
        region: (H, W), drawn as an outline on the change.
        of: the reference that the map is of.
        title: written above everything.
    """
    base = neutral(change.size) if before is None else before
    pictures = [(tall(one), label) for one, label in ((before, "before"), (after, "after")) if one is not None]
    shown = outlined(drawn(base, change), region)
    pictures.append((shown, f"change\nfrom {float(change.values.min()):.2g} to {float(change.values.max()):.2g}"))
    if told is not None:
        correlation = (effect.told or {}).get(told.side)
        label = f"{told.side}{f' · {of}' * bool(of)}"
        said = "no rank correlation" if correlation is None else f"rank correlation with the change {typeset(correlation, 2)}"
        pictures.append((outlined(drawn(base, told), region), f"{label}\n{said}"))
    return framed(in_a_row(pictures, PRINT, GAP), title, notes_of(effect, of), PRINT)


def notes_of(effect: Effect, of: str = "") -> Sequence[str]:
    """What is written below a sheet."""
    return [" ".join(effect.sentences(of)), CAVEAT]


def outlined(picture: Image.Image, region: Tensor | None) -> Image.Image:
    """The picture with a line around a region (H, W) of it, at any size."""
    if region is None:
        return picture
    inside = area(region[None].float(), (picture.height, picture.width))[0].numpy() >= 0.5
    return draw_outline(picture, np.asarray(inside)) if 0 < inside.sum() < inside.size else picture
