"""The map of what a person points at on a picture (one point, several, or a region), and that picture with it marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image
from torch import Tensor

from ..geometry.cells import cells_at, cells_under
from ..geometry.masks import mask_of
from ..geometry.pins import pins_of
from ..geometry.points import Point, points_of
from ..geometry.shapes import check_shape
from ..levels.choice import EVERYTHING, Choice
from ..levels.grids import picture_size
from ..levels.heat import Heat
from ..levels.patch import asked_grid, sram
from ..levels.pinned import pins_heat
from ..maps.value import AttributionMaps
from .backdrop import backdrop
from .marks import enlarge, marked, outlined
from .matching import one_of
from .pins import Mark, draw_marks

SRAM_AND_MIRROR = {"SRAM (what it used)": "reference", "mirror (where it went)": "generated"}
"""What a person chooses, and the direction that `sram` calls it."""


def patch_heat(
    maps: AttributionMaps,
    direction: str,
    at: Point,
    choice: Choice = EVERYTHING,
    *,
    points: str = "",
    pictures: Sequence[Image.Image] | None = None,
    region: Tensor | None = None,
    preset: str = "default",
    pins: str = "",
) -> tuple[Heat, Image.Image]:
    """SRAM or mirror of a place on a picture, and that picture with the place marked.

    Args:
        maps: a recording with pairwise maps.
        direction: as in `sram`: "reference" points at the generated picture, "generated" at the reference.
        at: pixel (x, y), used where there are neither points nor a region.
        choice: what to take of the recording; see `sram`.
        points: several pixels, see `points_of`; each gets a panel of its own.
        pictures: the picture pointed at, one or one per image; pixels are in its coordinates. None: in those
            of the recorded picture.
        region: MASK (1 or images, H, W) over that picture; its patches are averaged.
        preset: see `ulam`.
        pins: JSON of named patches and regions, see `pins_of`; those on the picture pointed at go before points, and
            each gets a panel. A region goes before them.

    Raises:
        I2AMError: the place lies outside of what the tokens cover, or pictures or masks do not fit.
        UnavailableError: as `sram`.
    """
    grid = asked_grid(maps, direction, choice, preset=preset)
    asked = "generated" if direction == "reference" else "reference"
    picture = _picture(maps, asked, pictures, choice, picture_size(grid))
    size = (picture.height, picture.width)
    if grid.picture is not None:
        check_shape("picture", size, grid.picture, f"recorded {asked} image")
    if region is not None:
        mask = mask_of(region, choice.image, maps.images, "region")
        check_shape("region", (mask.shape[0], mask.shape[1]), size, f"{asked} image")
        cells = cells_under(mask, grid)
        heat = sram(maps, cells, direction, choice, preset=preset)
        return _noted(heat, grid.rect is None), outlined(picture, grid, cells)
    named = pins_of(pins)
    if named:
        heat, found = pins_heat(maps, named, direction, size, choice, preset=preset)
        marks = [Mark(one.pin.name, one.pin.colour, one.cells) for one in found]
        return _noted(heat, grid.rect is None), draw_marks(enlarge(picture, 384)[0], grid, marks)
    cells = cells_at(points_of(points) or [at], size, grid)
    heat = sram(maps, cells, direction, choice, each=True, preset=preset, size=size)
    return _noted(heat, grid.rect is None), marked(picture, grid, *cells)


def _picture(
    maps: AttributionMaps,
    asked: str,
    pictures: Sequence[Image.Image] | None,
    choice: Choice,
    size: tuple[int, int],
) -> Image.Image:
    """The picture pointed at: the given one of the image, or what the recording kept, at a size (H, W)."""
    if pictures is None:
        kept = backdrop(maps, asked, choice.image if asked == "generated" else choice.reference, size)
        return kept if kept.size == (size[1], size[0]) else kept.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return one_of(pictures, choice.image, maps.images)


def _noted(heat: Heat, unknown: bool) -> Heat:
    """Add a note if the grid's rectangle was unknown and taken to be the whole picture."""
    if not unknown:
        return heat
    note = "it is unknown which part of this picture the tokens cover: all of it is assumed"
    return replace(heat, notes=(*heat.notes, note))
