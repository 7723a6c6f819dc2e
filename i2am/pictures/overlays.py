"""All panels of a heat drawn over their pictures, one picture each and all of one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from ..levels.heat import Heat, normalise
from .lettering import size_of_text
from .look import OPACITY, Look, caption_of, scale_of
from .marks import enlarge
from .matching import check_pictures, meet, same_size
from .paint import paint
from .sheet import sheet


def overlays(
    pictures: Sequence[Image.Image],
    heat: Heat,
    *,
    colours: str | None = None,
    opacity: float = OPACITY,
    scale: str | None = None,
    contour: float | bool = False,
    colour_bar: bool = True,
    official: bool = False,
    tick: Callable[[], None] = lambda: None,
) -> list[Image.Image]:
    """Every panel over the picture that belongs to it (`batch.meet`), in the order of the panels.

    Args:
        pictures: one, one an image or one a panel, of one size.
        scale: "each" or "shared"; None takes the heat's own, and "shared" where it has none.
        colour_bar: with the raw range beside and the caption below, enlarged so that they can be read; without, the
            pictures keep their size and show nothing but the heat.
        tick: called after each panel.

    For the other arguments see `render.overlay`.

    Raises:
        I2AMError: the pictures do not fit the heat, or a number outside of its range.
    """
    check_pictures(heat, pictures)
    heat, pictures = meet(heat, pictures)
    look = Look.of(heat, heat.threshold, colours, opacity, contour, official)
    scale = scale or heat.scale or "shared"
    bases = [enlarge(p, 384 if colour_bar else 1)[0] for p in pictures]
    normal = normalise(heat, (bases[0].height, bases[0].width), scale)
    text = size_of_text(min(bases[0].size))
    out = []
    for panel, base in enumerate(bases):
        drawn = paint(base, heat, normal, panel, look)
        if colour_bar:
            low, high, flat = scale_of(normal, panel, scale)
            bar = look.bar(base.height, low, high, heat.invert, flat, text)
            drawn = sheet([(drawn, caption_of(heat, panel, look))], side=bar)
        out.append(drawn)
        tick()
    return same_size(out)
