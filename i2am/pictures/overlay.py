"""One panel of a heat drawn on its picture: colour map, blending, contour, colour bar, caption and markers."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ..errors import I2AMError
from ..levels.heat import Heat, normalise
from .lettering import size_of_text
from .look import OPACITY, Look, caption_of, scale_of
from .marks import _check_pixel, draw_marker, enlarge
from .paint import paint
from .sheet import sheet


def overlay(
    picture: Image.Image,
    heat: Heat,
    panel: int = 0,
    *,
    threshold: float | None = None,
    colours: str | None = None,
    opacity: float = OPACITY,
    scale: str | None = None,
    contour: float | bool = False,
    colour_bar: bool = True,
    official: bool = False,
    caption: bool = True,
    marks: Sequence[tuple[float, float]] = (),
    min_side: int = 384,
) -> Image.Image:
    """One panel of a heat over the picture it lies on, with its raw range and what it is.

    Args:
        picture: any size; the heat is fitted to it.
        panel: which panel, counted from 0.
        threshold: hide values up to this part of the range (the paper: 0.4); None takes the heat's own, if any.
        colours: a name of `COLOURS`; None takes the heat's own.
        opacity: of the highest value; lower values are more transparent.
        scale: "each" stretches this panel alone, "shared" uses the range of all panels; None takes the heat's own, else
            "each".
        contour: a level in 0-1 to draw a line at; True means 0.4.
        colour_bar: draw the raw range beside the picture.
        official: the authors' own blending, picture * 0.7 + jet * 0.5.
        caption: write what is shown, and the heat's notes, below.
        marks: pixels (x, y) of ``picture`` to mark.
        min_side: smaller pictures are enlarged by a whole factor, so that labels can be read.

    Returns:
        An RGB picture. Its ``info["i2am"]`` holds ``box`` (left, top, right, bottom of the picture on it),
        ``factor``, ``low``, ``high`` (raw), ``flat`` and ``ticks``.

    Raises:
        I2AMError: an unknown panel, scale or colour map, or a number outside of its range.
    """
    look = Look.of(heat, threshold, colours, opacity, contour, official)
    scale = scale or heat.scale or "each"
    count = len(heat.labels)
    if not 0 <= panel < count:
        raise I2AMError(f"panel {panel} does not exist: this {heat.level} has {count}, counted from 0")
    base, factor = enlarge(picture, min_side)
    place = 0 if scale == "each" else panel
    normal = normalise(heat.panel(panel) if scale == "each" else heat, (base.height, base.width), scale)
    low, high, flat = scale_of(normal, place, scale)
    drawn = paint(base, heat, normal, place, look)
    text = size_of_text(min(base.size))
    for x, y in marks:
        _check_pixel(picture, x, y)
        draw_marker(drawn, (x + 0.5) * factor, (y + 0.5) * factor, None, "white", text)
    bar = look.bar(base.height, low, high, heat.invert, flat, text) if colour_bar else None
    if bar is None and not caption:
        out, box = drawn, (0, 0, *drawn.size)
    else:
        out = sheet([(drawn, caption_of(heat, panel, look) if caption else "")], side=bar)
        box = out.info["cells"][0]
    about = {"factor": factor, "low": low, "high": high, "flat": normal.flat[place]}
    out.info["i2am"] = {**about, "box": box, "ticks": bar.info["ticks"] if bar else ()}
    return out
