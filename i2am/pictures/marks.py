"""Marks on a picture: crosshairs on cells and pixels, outlines around regions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from ..errors import I2AMError
from ..geometry.cells import Cell, cell_box, pixel_of
from ..geometry.layout import TokenGrid
from .lettering import INK, PAPER, draw_text, line_height, size_of_text, text_width


def marked(picture: Image.Image, grid: TokenGrid, *cells: Cell, min_side: int = 384) -> Image.Image:
    """The picture, enlarged like an overlay, with a framed crosshair on each cell and its pixel x, y before enlarging."""
    out, _ = enlarge(picture, min_side)
    text = size_of_text(min(out.size))
    for cell in cells:
        box = cell_box(grid, *cell, (out.height, out.width))
        draw_marker(out, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box, "white", text)
    for cell in cells:
        x, y = pixel_of(grid, *cell, (picture.height, picture.width))
        _label(out, cell_box(grid, *cell, (out.height, out.width)), f"{x}, {y}", max(12, text - 2))
    return out


def _label(picture: Image.Image, box: tuple[float, float, float, float], label: str, text: int) -> None:
    """Write a label beside a cell, on the side that has room."""
    width, height = round(text_width(label, text)) + 8, line_height(text)
    right = box[2] + 4 + width <= picture.width
    x = round(box[2] + 4 if right else box[0] - 4 - width)
    y = round(min(max(box[1] - height - 2, 0), picture.height - height))
    ImageDraw.Draw(picture).rounded_rectangle((x, y, x + width, y + height), radius=4, fill=INK)
    draw_text(picture, (x + 4, y), label, text, PAPER)


def outlined(picture: Image.Image, grid: TokenGrid, cells: Sequence[Cell], min_side: int = 384) -> Image.Image:
    """The picture, enlarged like an overlay, with a line around the cells taken together."""
    out, _ = enlarge(picture, min_side)
    inside = np.zeros((out.height, out.width), dtype=bool)
    for cell in cells:
        left, top, right, bottom = (max(round(v), 0) for v in cell_box(grid, *cell, (out.height, out.width)))
        inside[top:bottom, left:right] = True
    return draw_outline(out, inside)


def draw_outline(picture: Image.Image, inside: NDArray[np.bool_]) -> Image.Image:
    """The picture with a white line, edged in black, along the border of a region (H, W) of its own size."""
    width = max(2, size_of_text(min(picture.size)) // 6)
    whole = np.pad(inside, 1, mode="edge")  # the picture's own border is not a border of the region
    pixels = np.array(picture.convert("RGB"))
    for reach, colour in ((width + 1, 0), (width // 2, 255)):
        near_in, near_out = _dilated(whole, reach), _dilated(~whole, reach)
        pixels[(near_in & near_out)[1:-1, 1:-1]] = colour
    return Image.fromarray(pixels)


def _dilated(region: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """A region (H, W) grown by ``reach`` rows and columns on every side."""
    out = region.copy()
    for axis in (0, 1):
        before = out.copy()
        for step in range(1, reach + 1):
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            out[tuple(ahead)] |= before[tuple(behind)]
            out[tuple(behind)] |= before[tuple(ahead)]
    return out


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


def check_pixel(picture: Image.Image, x: float, y: float) -> None:
    """Refuse a pixel (x, y) that is not on the picture.

    Raises:
        I2AMError: it lies outside; names the pixel and the picture's size.
    """
    if not (0 <= x < picture.width and 0 <= y < picture.height):
        raise I2AMError(f"pixel ({x:g}, {y:g}) lies outside the {picture.width} x {picture.height} picture; choose one inside")


def draw_marker(
    picture: Image.Image, x: float, y: float, box: tuple[float, float, float, float] | None, colour: str, text: int
) -> None:
    """A crosshair with an open centre, or four arms around a box, in ``colour`` with a black edge."""
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
        I2AMError: the pixel lies outside of the picture, or the box or colour is invalid.
    """
    check_pixel(picture, x, y)
    if box is not None and not (box[0] < box[2] and box[1] < box[3]):
        raise I2AMError(f"a box is (left, top, right, bottom) with left < right and top < bottom, got {box}")
    try:
        ImageColor.getrgb(colour)
    except ValueError as error:
        raise I2AMError(f"{colour!r} is not a colour; use a name or code such as 'white' or '#00e5ff'") from error
    out, factor = enlarge(picture, min_side)
    scaled = None if box is None else (box[0] * factor, box[1] * factor, box[2] * factor, box[3] * factor)
    draw_marker(out, (x + 0.5) * factor, (y + 0.5) * factor, scaled, colour, size_of_text(min(out.size)))
    return out
