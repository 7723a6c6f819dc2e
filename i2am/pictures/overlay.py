"""One panel of a heat drawn on its picture: colour map, blending, contour, colour bar, caption and markers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from ..errors import I2AMError
from ..geometry.layout import TokenGrid
from ..levels.heat import THRESHOLD, Heat, Normalised, box_of, normalise
from ..levels.heat import threshold as keep_above
from .sheet import BASELINE, INK, PAPER, QUIET, draw_text, line_height, power_text, sheet, size_of_text, text_width, tick_labels

COLOURS = ("inferno", "viridis", "magma", "plasma", "cividis", "turbo", "jet")
OFFICIAL = (0.7, 0.5)
"""The shares of picture and colours in the authors' own overlays."""
OPACITY = 0.8
FULL, FADE = 0.6, 1.5
"""Opacity grows as (value / FULL) ** FADE up to the value FULL: low values show the picture, high ones their colour."""

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise I2AMError("drawing needs OpenCV, which is not installed: install opencv-python") from error
    return cv2


@lru_cache(maxsize=len(COLOURS))
def _table(colours: str) -> Bytes:
    if colours not in COLOURS:
        raise I2AMError(f"no colour map is called {colours!r}; choose one of {', '.join(COLOURS)}")
    cv2 = _opencv()
    steps = np.arange(256, dtype=np.uint8)[:, None]
    table: Bytes = cv2.applyColorMap(steps, getattr(cv2, f"COLORMAP_{colours.upper()}"))[:, 0, ::-1]
    return table


def colourise(values: Tensor | NDArray[Any], colours: str = "inferno") -> Bytes:
    """Colours of values in 0-1: (H, W) becomes (H, W, 3), uint8 RGB.

    Raises:
        I2AMError: an unknown colour map, or values that are not finite numbers in 0-1.
    """
    array = values.detach().float().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values, np.float32)
    if array.ndim != 2:
        raise I2AMError(f"values to colour must have the shape (H, W), got {tuple(array.shape)}")
    if array.size and not (np.isfinite(array).all() and array.min() >= -1e-4 and array.max() <= 1 + 1e-4):
        seen = f"{array.min():g} to {array.max():g}"
        raise I2AMError(f"values to colour must be in 0-1, got {seen}; normalise them first")
    colour: Bytes = _table(colours)[np.clip(array * 255 + 0.5, 0, 255).astype(np.uint8)]
    return colour


def enlarge(picture: Image.Image, min_side: int = 384) -> tuple[Image.Image, int]:
    """The picture as RGB and, where its shorter side is below ``min_side`` pixels, larger by a whole factor.

    Very long pictures grow less: their longer side stays below 4 ``min_side``.

    Returns:
        The picture and the factor.
    """
    if min(picture.size) < 1:
        raise I2AMError(f"a picture to draw on needs at least one pixel, got {picture.width} x {picture.height}")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, PAPER), layer)
    picture = picture.convert("RGB")
    short, long = min(picture.size), max(picture.size)
    factor = max(1, min(math.ceil(min_side / short), 4 * min_side // long))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
    return picture, factor


def cell_box(grid: TokenGrid, row: int, column: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The (left, top, right, bottom) in pixels of one token's cell on a picture of ``size`` (H, W)."""
    if not (0 <= row < grid.rows and 0 <= column < grid.columns):
        raise I2AMError(f"cell ({row}, {column}) lies outside of the {grid.rows} x {grid.columns} token grid")
    left, top, right, bottom = grid.rect or (0.0, 0.0, 1.0, 1.0)
    width, height = (right - left) * size[1] / grid.columns, (bottom - top) * size[0] / grid.rows
    x, y = left * size[1] + column * width, top * size[0] + row * height
    return x, y, x + width, y + height


def _line_cover(values: Floats, level: float, width: float) -> Floats:
    """(H, W) in 0-1: how much of each pixel an iso-line at ``level``, ``width`` pixels wide, covers.

    The distance to the line is |value − level| / |gradient|, trusted only near a true crossing.
    """
    if min(values.shape) < 2:
        return np.zeros_like(values)
    cv2 = _opencv()
    slope_y, slope_x = np.gradient(values)
    distance = np.abs(values - level) / np.maximum(np.hypot(slope_x, slope_y), 1e-6)
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * math.ceil(width / 2) + 3,) * 2)
    above = (values > level).astype(np.uint8)
    near = cv2.dilate(above, reach) & cv2.dilate(1 - above, reach)
    cover: Floats = (np.clip(width / 2 + 0.5 - distance, 0, 1) * near).astype(np.float32)
    return cover


def _mix(base: Floats, colour: Floats | tuple[int, int, int], share: Floats) -> Floats:
    mixed: Floats = base + (np.asarray(colour, np.float32) - base) * share[..., None]
    return mixed


@dataclass(frozen=True)
class Look:
    """How values are drawn, checked once; `Look.of` takes the arguments of `overlay`."""

    threshold: float | None
    colours: str
    opacity: float
    contour: float | None
    official: bool

    @classmethod
    def of(
        cls,
        heat: Heat,
        threshold: float | None = None,
        colours: str | None = None,
        opacity: float = OPACITY,
        contour: float | bool = False,
        official: bool = False,
    ) -> Look:
        """Check the arguments and fill in what they leave open from the heat."""
        threshold = heat.threshold if threshold is None else threshold
        if threshold is not None and not 0 <= threshold < 1:
            raise I2AMError(f"threshold is a part of the range, 0 or more and below 1, got {threshold}")
        if not 0 <= opacity <= 1:
            raise I2AMError(f"opacity is between 0 and 1, got {opacity}")
        level = None if contour is False else THRESHOLD if contour is True else contour
        if level is not None and not 0 < level < 1:
            raise I2AMError(f"contour is a level between 0 and 1, or True for 0.4, got {contour}")
        name = colours if colours is not None else "jet" if official else heat.colours
        _table(name)
        return cls(threshold, name, opacity, level, official)

    def bar(self, height: int, low: float, high: float, invert: bool, flat: bool, text: int) -> Image.Image:
        """The colour bar that belongs to this look."""
        marks = {"threshold": self.threshold, "contour": self.contour}
        return colour_bar(height, low, high, colours=self.colours, invert=invert, flat=flat, text=text, **marks)


def _blend(picture: Floats, values: Floats, look: Look, text: int) -> Floats:
    """Values (H, W) in 0-1 over the part (H, W, 3) of a picture that they cover."""
    shown = values if look.threshold is None else keep_above(torch.from_numpy(values), look.threshold).numpy()
    colour = colourise(shown, look.colours).astype(np.float32)
    if look.official:
        out = picture * OFFICIAL[0] + colour * OFFICIAL[1]
    else:
        strength: Floats = look.opacity * np.minimum(shown / np.float32(FULL), 1) ** np.float32(FADE)
        out = _mix(picture, colour, strength)
    if look.contour is not None:  # a white line with dark edges
        width = max(1.6, text / 8)
        out = _mix(out, (0, 0, 0), 0.7 * _line_cover(values, look.contour, width + 2))
        out = _mix(out, (255, 255, 255), _line_cover(values, look.contour, width))
    return np.clip(out + 0.5, 0, 255)


def _flat_mark(picture: Image.Image, text: int) -> None:
    """Write "flat" into the picture's lower left corner."""
    inset, pad = round(text * 0.5), round(text * 0.45)
    width, height = math.ceil(text_width("flat", text)) + 2 * pad, line_height(text) + round(text * 0.2)
    box = (inset, picture.height - inset - height, inset + width, picture.height - inset)
    ImageDraw.Draw(picture).rounded_rectangle(box, radius=height // 3, fill=INK, outline=PAPER)
    draw_text(picture, (inset + pad, box[1] + round(text * 0.1)), "flat", text, PAPER)


def paint(picture: Image.Image, heat: Heat, normal: Normalised, panel: int, look: Look) -> Image.Image:
    """One panel on a picture of the size that the heat was normalised at, without bar and caption."""
    text = size_of_text(min(picture.size))
    if normal.flat[panel]:
        out = picture.copy()
        _flat_mark(out, text)
        return out
    left, top, right, bottom = box_of(heat.rect, (picture.height, picture.width))
    part = (slice(max(top, 0), bottom), slice(max(left, 0), right))
    pixels = np.array(picture)
    values = normal.values[panel].detach().float().cpu().numpy()[part]
    pixels[part] = _blend(pixels[part].astype(np.float32), values, look, text).astype(np.uint8)
    return Image.fromarray(pixels)


def colour_bar(
    height: int,
    low: float,
    high: float,
    *,
    colours: str = "inferno",
    invert: bool = False,
    threshold: float | None = None,
    contour: float | None = None,
    flat: bool = False,
    text: int = 15,
) -> Image.Image:
    """A vertical scale with raw values at its ticks; ``info["ticks"]`` lists (place in 0-1, raw value).

    ``threshold`` greys out what is hidden, ``contour`` marks the line's level, ``flat`` shows one value and
    no colours, ``invert`` puts the lowest raw value at the upper end.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise I2AMError(f"a colour bar runs from a low to a high raw value, got {low:g} to {high:g}")
    count = 1 if flat else 5 if height > 12 * text else 3 if height > 6 * text else 2
    places = [0.5] if flat else [i / (count - 1) for i in range(count)]
    raw = [low + (1 - t if invert else t) * (high - low) for t in places]
    labels, power = tick_labels(raw)
    small = max(12, text - 1)
    head = power_text(power)
    bar, tick, half = round(text * 0.95), round(text * 0.35), line_height(small) // 2
    top = line_height(small) + half if head else half
    length = max(height - top - half, 3 * text)
    columns = bar + 2 * tick
    width = columns + math.ceil(max(text_width(s, small) for s in labels))
    out = Image.new("RGB", (max(width, math.ceil(text_width(head, small))), top + length + half), PAPER)
    draw = ImageDraw.Draw(out)
    draw_text(out, (0, 0), head, small, QUIET)
    t = np.linspace(1, 0, length, dtype=np.float32)[:, None]
    strip = np.full((length, 1, 3), 225, np.float32) if flat else colourise(t, colours).astype(np.float32)
    if threshold is not None and not flat:
        strip = _mix(strip, PAPER, 0.85 * (t <= threshold).astype(np.float32))
    out.paste(Image.fromarray(np.repeat(strip, bar, 1).astype(np.uint8)), (0, top))
    draw.rectangle((0, top, bar - 1, top + length - 1), outline=QUIET)
    if contour is not None and not flat:
        y = top + round((1 - contour) * (length - 1))
        draw.rectangle((0, y - 2, bar - 1, y + 2), fill=INK)
        draw.rectangle((0, y - 1, bar - 1, y + 1), fill=PAPER)
    for place, label in zip(places, labels, strict=True):
        y = top + round((1 - place) * (length - 1))
        draw.line((bar, y, bar + tick - 1, y), fill=QUIET)
        draw_text(out, (columns, y - round(small * (BASELINE - 0.35))), label, small, INK)
    out.info["ticks"] = tuple(zip(places, raw, strict=True))
    return out


def caption_of(heat: Heat, panel: int | None, look: Look) -> str:
    """A line that says what a heat shows, then its notes, a line each; panel None speaks of all panels."""
    words = [heat.level] + [heat.side] * (heat.side != heat.level)
    head = f"{' '.join(words)} on the {heat.picture} image"
    if panel is not None and heat.labels[panel] not in ("", heat.level):
        head += f" · {heat.labels[panel]}"
    notes = list(heat.notes)
    if heat.rect is None:
        notes.append("where the tokens lie on this picture is unknown: stretched over all of it")
    if panel is not None and heat.unplaced:
        notes.append(f"{heat.unplaced[panel]:.1%} of the attention is on tokens without a place")
    if heat.invert:
        notes.append("inverted: 1 − min-max")
    if look.threshold is not None:
        notes.append(f"shown: above {look.threshold:g} of the range")
    return "\n".join([head, *notes])


def scale_of(normal: Normalised, panel: int, scale: str) -> tuple[float, float, bool]:
    """The raw low and high that one panel's colours stand for, and whether there is nothing but one value."""
    if scale == "each":
        return normal.low[panel], normal.high[panel], normal.flat[panel]
    return min(normal.low), max(normal.high), all(normal.flat)


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


def _check_pixel(picture: Image.Image, x: float, y: float) -> None:
    if not (0 <= x < picture.width and 0 <= y < picture.height):
        raise I2AMError(f"pixel ({x:g}, {y:g}) lies outside of the {picture.width} x {picture.height} picture")


def draw_marker(
    picture: Image.Image, x: float, y: float, box: tuple[float, float, float, float] | None, colour: str, text: int
) -> None:
    """A crosshair that leaves its middle open, or four arms around a box, in ``colour`` with a black edge."""
    core, arm, gap = max(2, round(text / 5)), round(text * 1.1), round(text * 0.35)
    left, top, right, bottom = (round(v) for v in box or (x - gap, y - gap, x + gap, y + gap))
    cx, cy = round(x) - core // 2, round(y) - core // 2
    bars = [
        (left - arm, cy, left, cy + core),
        (right, cy, right + arm, cy + core),
        (cx, top - arm, cx + core, top),
        (cx, bottom, cx + core, bottom + arm),
    ]
    if box is not None:
        bars += [
            (left - core, top - core, right + core, top),
            (left - core, bottom, right + core, bottom + core),
            (left - core, top, left, bottom),
            (right, top, right + core, bottom),
        ]
    draw, edge = ImageDraw.Draw(picture), max(1, core // 2)
    for grow, fill in ((edge, "black"), (0, colour)):
        for a, b, c, d in bars:
            draw.rectangle((a - grow, b - grow, c - 1 + grow, d - 1 + grow), fill=fill)


def marker(
    picture: Image.Image,
    x: float,
    y: float,
    *,
    box: tuple[float, float, float, float] | None = None,
    colour: str = "white",
    min_side: int = 384,
) -> Image.Image:
    """The picture, enlarged like an overlay, with a crosshair at pixel (x, y).

    Args:
        box: (left, top, right, bottom) in pixels of ``picture``, to be framed; see `cell_box`.
        colour: any colour name that Pillow knows; the edge is black.

    Raises:
        I2AMError: the pixel lies outside of the picture, or a box or colour that is none.
    """
    _check_pixel(picture, x, y)
    if box is not None and not (box[0] < box[2] and box[1] < box[3]):
        raise I2AMError(f"a box is (left, top, right, bottom) with left < right and top < bottom, got {box}")
    try:
        ImageColor.getrgb(colour)
    except ValueError as error:
        raise I2AMError(f"{colour!r} is no colour; use a name such as 'white' or '#00e5ff'") from error
    out, factor = enlarge(picture, min_side)
    scaled = None if box is None else (box[0] * factor, box[1] * factor, box[2] * factor, box[3] * factor)
    draw_marker(out, (x + 0.5) * factor, (y + 0.5) * factor, scaled, colour, size_of_text(min(out.size)))
    return out
