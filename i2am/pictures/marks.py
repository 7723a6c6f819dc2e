"""From what a person points at on a picture, pixels or a painted region, to patches; and those patches marked on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from ..errors import MaskError
from ..geometry.layout import WHOLE, TokenGrid
from ..geometry.resample import Size, area
from ..levels.choice import Point
from .overlay import cell_box, draw_marker, enlarge
from .sheet import INK, PAPER, draw_text, line_height, size_of_text, text_width

Cell = tuple[int, int]


def cells_at(points: Sequence[Point], size: Size, grid: TokenGrid) -> list[Cell]:
    """The (row, column) of the cells under pixels (x, y) of a picture of (H, W), each cell once, in order.

    Where it is unknown which part of the picture the grid covers, it is taken to cover all of it, as it is drawn.

    Raises:
        LayoutError: a point lies outside of what the tokens cover.
    """
    on_picture = replace(grid, picture=size, rect=grid.rect or WHOLE)
    return list(dict.fromkeys(on_picture.cell_of(x, y) for x, y in points))


def cells_under(region: Tensor, grid: TokenGrid, name: str = "region") -> list[Cell]:
    """The cells that a painted region (H, W) in 0-1 covers by half or more; where there is none, those it covers most.

    Raises:
        MaskError: the region, called ``name``, is empty, or lies outside of what the tokens cover.
    """
    if not float(region.max()) > 0:
        raise MaskError(f"the {name} is empty: no pixel of it is 1; paint the patches that you mean")
    share = area(region.clamp(0, 1)[None], (grid.rows, grid.columns), grid.rect or WHOLE)[0]
    most = float(share.max())
    if not most > 0:
        raise MaskError(f"the {name} lies outside of the part of the picture that the tokens cover; paint inside of it")
    found: list[list[int]] = (share >= min(0.5, most)).nonzero().tolist()
    return [(a, b) for a, b in found]


def marked(picture: Image.Image, grid: TokenGrid, *cells: Cell, min_side: int = 384) -> Image.Image:
    """The picture, enlarged like an overlay, with cells marked by a framed crosshair; several are named (row, column)."""
    out, _ = enlarge(picture, min_side)
    text = size_of_text(min(out.size))
    for cell in cells:
        box = cell_box(grid, *cell, (out.height, out.width))
        draw_marker(out, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box, "white", text)
    if len(cells) > 1:
        for cell in cells:
            _name(out, cell_box(grid, *cell, (out.height, out.width)), f"({cell[0]}, {cell[1]})", max(12, text - 2))
    return out


def _name(picture: Image.Image, box: tuple[float, float, float, float], name: str, text: int) -> None:
    """Write a name beside a cell, on the side where there is room."""
    width, height = round(text_width(name, text)) + 8, line_height(text)
    right = box[2] + 4 + width <= picture.width
    x = round(box[2] + 4 if right else box[0] - 4 - width)
    y = round(min(max(box[1] - height - 2, 0), picture.height - height))
    ImageDraw.Draw(picture).rounded_rectangle((x, y, x + width, y + height), radius=4, fill=INK)
    draw_text(picture, (x + 4, y), name, text, PAPER)


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
    whole = np.pad(inside, 1, mode="edge")  # the picture's own border is no border of the region
    pixels = np.array(picture.convert("RGB"))
    for reach, colour in ((width + 1, 0), (width // 2, 255)):
        near_in, near_out = _grown(whole, reach), _grown(~whole, reach)
        pixels[(near_in & near_out)[1:-1, 1:-1]] = colour
    return Image.fromarray(pixels)


def _grown(region: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """A region (H, W) with all pixels that are at most ``reach`` rows and columns away."""
    out = region.copy()
    for axis in (0, 1):
        before = out.copy()
        for step in range(1, reach + 1):
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            out[tuple(ahead)] |= before[tuple(behind)]
            out[tuple(behind)] |= before[tuple(ahead)]
    return out
