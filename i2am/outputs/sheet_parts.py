"""Pictures of one height and print of one size, for the sheets of a first look."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ..levels.heat import Heat
from ..pictures.marks import enlarge
from ..pictures.overlay import overlay

TALL = 448
"""The height of a sheet's pictures, in pixels."""
PRINT = 25
"""The labels' text size, in pixels: legible when a node shows the sheet at half its size."""


def tall(picture: Image.Image, height: int = TALL) -> Image.Image:
    """A picture resized to a height; small ones keep their pixels sharp."""
    base = enlarge(picture, height)[0] if picture.height < height else picture.convert("RGB")
    return base.resize((max(1, round(base.width * height / base.height)), height), Image.Resampling.LANCZOS)


def drawn(picture: Image.Image, heat: Heat, height: int = TALL) -> Image.Image:
    """A map over a picture of that height, without its caption."""
    return overlay(tall(picture, height), heat, colour_bar=False, caption=False, min_side=1)


def labelled(label: str, heat: Heat, below: Sequence[str]) -> str:
    """A label, and what a reader of the map must know, but for what is said ``below`` the sheet."""
    own = [note for note in heat.notes if note not in below]
    unplaced = [f"{share:.0%} on tokens without a place" for share in heat.unplaced[:1] if share]
    return f"{label}\n{' · '.join([*own, *unplaced]) or ' '}"
