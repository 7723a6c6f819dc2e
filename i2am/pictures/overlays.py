"""All panels of a heat drawn over their pictures, one picture each and all of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from PIL import Image

from ..levels.heat import Heat, normalise
from .lettering import size_of_text
from .look import AS_IS, Look, caption_of, scale_of
from .marks import enlarge
from .matching import check_pictures, meet, same_size
from .paint import paint
from .sheet import sheet
from .which_overlays import Drawing, by_reference, which_drawings


def overlays(
    pictures: Sequence[Image.Image],
    heat: Heat,
    look: Look = AS_IS,
    *,
    colour_bar: bool = True,
    tick: Callable[[], None] = lambda: None,
) -> list[Image.Image]:
    """Every panel over the picture that belongs to it (see `meet`), in the order of the panels.

    The shares among references come as one picture for each image and time, see `which_drawings`.

    Args:
        pictures: one, one per image or one per panel, of one size.
        heat: whose panels are drawn.
        look: how to draw them; if neither the look nor the heat has a scale, "shared".
        colour_bar: draw the raw range (of shares among references, the key) beside and the caption below, and enlarge pictures
            so that they can be read; otherwise pictures keep their size and show only the heat.
        tick: called after each picture.

    Raises:
        I2AMError: the pictures do not fit the heat.
    """
    check_pictures(heat, pictures)
    drawings = which_drawings if by_reference(heat, look) else _drawings
    out = []
    for drawn, told in drawings(pictures, heat, look, 384 if colour_bar else 1):
        if colour_bar:
            caption, beside = told()
            out.append(sheet([(drawn, caption)], beside=beside))
        else:
            out.append(drawn)
        tick()
    return same_size(out)


def _drawings(pictures: Sequence[Image.Image], heat: Heat, look: Look, min_side: int) -> Iterator[Drawing]:
    """A drawing for each panel, or for each decoded frame of a video's."""
    heat, pictures = meet(heat, pictures, spread=True)
    resolved = look.resolve(heat)
    bases = [enlarge(p, min_side)[0] for p in pictures]
    normal = normalise(heat, (bases[0].height, bases[0].width), resolved.scale)
    text = size_of_text(min(bases[0].size))
    for panel, base in enumerate(bases):

        def told(panel: int = panel, height: int = base.height) -> tuple[str, Image.Image]:
            low, high, flat = scale_of(normal, panel, resolved.scale)
            bar = resolved.bar(height, low, high, invert=heat.invert, flat=flat, text=text)
            return caption_of(heat, panel, resolved), bar

        yield paint(base, heat, normal, panel, resolved), told
