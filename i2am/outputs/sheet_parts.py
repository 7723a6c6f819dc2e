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
WIDE = 1560
"""How wide a row of pictures may be, in pixels."""
GAP = 28
"""Between two pictures, in pixels."""
CAPTIONS = {
    "mirror": ("where the object went (mirror)", "bright: looked at the patches under its mask most"),
    "R2G": ("where it went, patch against patch (R2G)", "bright: more of the reference's attention than other patches got"),
    "R2G-balanced": (
        "where it went, by votes (R2G-balanced)",
        "each token of the reference has one vote, its plain background's too: may differ from R2G",
    ),
    "G2R": ("what was used (G2R)", "bright: looked at most. Dark: looked at less, not left out: it may have come out well"),
}
"""By map, what it is in plain words beside its name, and how to read it."""


def tall(picture: Image.Image, height: int = TALL) -> Image.Image:
    """A picture resized to a height; small ones keep their pixels sharp."""
    base = enlarge(picture, height)[0] if picture.height < height else picture.convert("RGB")
    return base.resize((max(1, round(base.width * height / base.height)), height), Image.Resampling.LANCZOS)


def drawn(picture: Image.Image, heat: Heat, height: int = TALL) -> Image.Image:
    """A map over a picture of that height, without its caption."""
    return overlay(tall(picture, height), heat, colour_bar=False, caption=False, min_side=1)


def height_for(shapes: Sequence[float], width: int = WIDE) -> int:
    """The height of pictures of these shapes (width ÷ height) that fit into a row side by side, at most `TALL`.

    >>> height_for([0.75] * 4), height_for([2.0] * 3)
    (448, 250)
    """
    return max(1, min(TALL, int((width - GAP * (len(shapes) - 1)) / sum(shapes))))


def labelled(heat: Heat, below: Sequence[str], of: str = "") -> str:
    """The caption of a map of `CAPTIONS`, and what a reader must know of it, but for what is said ``below`` the sheet.

    Args:
        of: the reference that it is of; empty: the run has one.
    """
    head, reading = CAPTIONS[heat.side]
    head = f"{head}, {of}" if of else head
    own = [note for note in heat.notes if note not in below]
    unplaced = [f"{share:.0%} on tokens without a place" for share in heat.unplaced[:1] if round(share, 2) > 0]
    return f"{head}\n{' · '.join([reading, *own, *unplaced])}"
