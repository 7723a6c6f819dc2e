"""One panel of a heat drawn on its picture: colour map, blending, contour, colour bar, caption and markers."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ..errors import I2AMError
from ..levels.heat import Heat, normalise
from .lettering import size_of_text
from .look import AS_IS, Look, caption_of, scale_of
from .marks import check_pixel, draw_marker, enlarge
from .matching import check_pictures
from .paint import paint
from .sheet import sheet


def overlay(
    picture: Image.Image,
    heat: Heat,
    panel: int = 0,
    look: Look = AS_IS,
    *,
    colour_bar: bool = True,
    caption: bool = True,
    marks: Sequence[tuple[float, float]] = (),
    min_side: int = 384,
) -> Image.Image:
    """One panel of a heat over the picture it lies on, with its raw range and a caption.

    Args:
        picture: any size; the heat is fitted to it.
        panel: which panel, counted from 0.
        look: how to draw it; if neither the look nor the heat has a scale, "each": this panel's own range.
        colour_bar: draw the raw range beside the picture.
        caption: write what is shown, and the heat's notes, below.
        marks: pixels (x, y) of ``picture`` to mark.
        min_side: smaller pictures are enlarged by a whole factor, so that labels can be read.

    Returns:
        An RGB picture. Its ``info["i2am"]`` holds ``box`` (left, top, right, bottom of the picture on it),
        ``factor``, ``low``, ``high`` (raw), ``flat`` and ``ticks``.

    Raises:
        I2AMError: an unknown panel, a mark outside of the picture, a picture of another shape than the recorded one, or
            arguments of another type.
    """
    if not (isinstance(picture, Image.Image) and isinstance(heat, Heat)):
        raise I2AMError(
            f"overlay takes a Pillow picture and a heat, such as overlay(picture, ulam(maps, 'R2G')), got a "
            f"{type(picture).__name__} and a {type(heat).__name__}; Image.fromarray makes a picture of an array of uint8"
        )
    if not isinstance(look, Look):
        raise I2AMError(f"how to draw a heat is a Look, such as Look(colours='viridis'), got {look!r}")
    check_pictures(heat, [picture])
    resolved = look.resolve(heat, "each")
    count = len(heat.labels)
    if not 0 <= panel < count:
        raise I2AMError(f"panel {panel} does not exist: this {heat.level} has {count}, counted from 0")
    base, factor = enlarge(picture, min_side)
    alone = resolved.scale == "each"
    place = 0 if alone else panel
    normal = normalise(heat.panel(panel) if alone else heat, (base.height, base.width), resolved.scale)
    low, high, flat = scale_of(normal, place, resolved.scale)
    drawn = paint(base, heat, normal, place, resolved)
    text = size_of_text(min(base.size))
    for x, y in marks:
        check_pixel(picture, x, y)
        draw_marker(drawn, (x + 0.5) * factor, (y + 0.5) * factor, None, "white", text)
    bar = resolved.bar(base.height, low, high, invert=heat.invert, flat=flat, text=text) if colour_bar else None
    if bar is None and not caption:
        out, box = drawn, (0, 0, *drawn.size)
    else:
        out = sheet([(drawn, caption_of(heat, panel, resolved) if caption else "")], beside=bar)
        box = out.info["cells"][0]
    about = {"factor": factor, "low": low, "high": high, "flat": normal.flat[place]}
    out.info["i2am"] = {**about, "box": box, "ticks": bar.info["ticks"] if bar else ()}
    return out
