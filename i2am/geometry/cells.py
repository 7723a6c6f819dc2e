"""From the pixels or painted regions of a picture to the cells of a token grid, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ..errors import I2AMError, LayoutError, MaskError
from .layout import WHOLE, TokenGrid
from .masks import check_finite
from .points import Point
from .resample import Size, area
from .thinning import weights_of

Cell = tuple[int, int]


def cells_at(points: Sequence[Point], size: Size, grid: TokenGrid) -> list[Cell]:
    """The (row, column) cells under pixels (x, y) of an (H, W) picture, in order, without duplicates.

    A grid whose rectangle is unknown is taken to cover the whole picture, as when it is drawn.

    Raises:
        LayoutError: a point lies outside of what the tokens cover, or the tokens have no place.

    >>> cells_at([(5, 5), (40, 60), (47, 63)], (64, 48), TokenGrid(4, 3))
    [(0, 0), (3, 2)]
    """
    _check_places(grid)
    on_picture = replace(grid, picture=size, rect=grid.rect or WHOLE)
    return list(dict.fromkeys(on_picture.cell_of(x, y) for x, y in points))


def cells_under(region: Tensor, grid: TokenGrid, name: str = "region") -> list[Cell]:
    """The cells that a painted region (H, W) in 0-1 covers by half or more; if there are none, those it covers most.

    Raises:
        LayoutError: the tokens have no place.
        MaskError: the region, called ``name``, is empty, holds NaN, or lies outside of what the tokens cover.
    """
    _check_places(grid)
    check_finite(region, name)
    if not float(region.max()) > 0:
        raise MaskError(f"the {name} is empty: no pixel of it is 1; paint the patches that you mean")
    share = area(region.clamp(0, 1)[None], (grid.rows, grid.columns), grid.rect or WHOLE)[0]
    share = share / weights_of(grid).view_as(share)  # of a cell that reaches beyond the tokens, what holds some
    most = float(share.max())
    if not most > 0:
        raise MaskError(f"the {name} lies outside of the part of the picture that the tokens cover; paint inside it")
    found: list[list[int]] = (share >= min(0.5, most)).nonzero().tolist()
    return [(a, b) for a, b in found]


def _check_places(grid: TokenGrid) -> None:
    if not grid.placed:
        raise LayoutError(f"none of the {grid.leading} tokens has a place in the picture, so no cells can be chosen")


def cell_box(grid: TokenGrid, row: int, column: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The (left, top, right, bottom) in pixels of one token's cell on a picture of ``size`` (H, W).

    >>> cell_box(TokenGrid(4, 3), 3, 1, (64, 48))
    (16.0, 48.0, 32.0, 64.0)
    """
    if not (0 <= row < grid.rows and 0 <= column < grid.columns):
        raise I2AMError(f"cell ({row}, {column}) lies outside of the {grid.rows} x {grid.columns} token grid, counted from 0")
    left, top, right, bottom = grid.rect or (0.0, 0.0, 1.0, 1.0)
    width, height = (right - left) * size[1] / grid.columns, (bottom - top) * size[0] / grid.rows
    x, y = left * size[1] + column * width, top * size[0] + row * height
    return x, y, x + width, y + height


def pixel_of(grid: TokenGrid, row: int, column: int, size: Size) -> tuple[int, int]:
    """The pixel (x, y) in the middle of one token's cell on a picture of ``size`` (H, W); it lies in that cell.

    >>> pixel_of(TokenGrid(4, 3), 3, 1, (64, 48))
    (24, 56)
    """
    left, top, right, bottom = cell_box(grid, row, column, size)
    return int((left + right) / 2 + 1e-6), int((top + bottom) / 2 + 1e-6)


def place_of(grid: TokenGrid, row: int, column: int, size: Size | None) -> str:
    """How a cell is named wherever a person reads of it: its pixel on a picture of ``size`` (H, W), and the cell.

    Without the picture's size, the cell alone.

    >>> place_of(TokenGrid(4, 3), 3, 1, (64, 48)), place_of(TokenGrid(4, 3), 3, 1, None)
    ('24, 56 (row 3, column 1)', 'row 3, column 1')
    """
    cell = f"row {row}, column {column}"
    if size is None:
        return cell
    x, y = pixel_of(grid, row, column, size)
    return f"{x}, {y} ({cell})"
