"""Pictures coloured by which reference each place took most from, one for each image and time, with their key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from PIL import Image

from ..levels.heat import Heat
from .lettering import size_of_text
from .look import Look, caption_of
from .marks import enlarge
from .matching import meet
from .parts import told_apart
from .which import paint_which, which_key

Drawing = tuple[Image.Image, Callable[[], tuple[str, Image.Image]]]
"""A picture drawn over, and what gives its caption and what stands beside it, such as a key."""


def by_reference(heat: Heat, look: Look) -> bool:
    """Whether a heat is drawn in a colour for each reference: the shares among references, if no colour map was asked for."""
    return heat.side == "which reference" and heat.parts > 0 and look.colours is None


def which_drawings(pictures: Sequence[Image.Image], heat: Heat, look: Look, min_side: int) -> Iterator[Drawing]:
    """The shares among references on the generated picture: a drawing for each image and time, not each panel.

    Args:
        pictures: one, one per image, or one for each picture drawn; of one size.
        heat: see `which_reference`.
        look: its opacity counts.
        min_side: smaller pictures are enlarged.
    """
    sets = heat.split()
    firsts, pictures = meet(heat.panels(range(0, len(heat.labels), heat.parts)), pictures)
    sets = sets * len(pictures) if len(sets) == 1 and len(firsts.labels) > 1 else sets
    for one, picture in zip(sets, pictures, strict=True):
        base = enlarge(picture, min_side)[0]

        def told(one: Heat = one, text: int = size_of_text(min(base.size))) -> tuple[str, Image.Image]:
            common, names = told_apart(one.labels)
            caption = caption_of(one.panel(0), None, look.resolve(one)).split("\n")
            caption[0] += f" · {common}" if common else ""
            return "\n".join(caption), which_key(names, 12 * text, text)

        yield paint_which(base, one, look.opacity), told
