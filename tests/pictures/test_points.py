"""From pixels and painted regions to patches, and patches marked on their picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from levels_run import FINE, SHIRT, Run, run
from PIL import Image

from i2am.errors import I2AMError
from i2am.geometry.cells import cells_at, cells_under
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.geometry.resample import area
from i2am.levels.choice import Choice
from i2am.levels.heat import Heat
from i2am.levels.marginal import ulam
from i2am.levels.mirror import mirror_of_object
from i2am.levels.patch import asked_grid, sram
from i2am.pictures.marks import draw_outline, marked, outlined
from i2am.pictures.pointed import patch_heat

GRID = TokenGrid(4, 6, picture=(80, 120))
INNER = replace(GRID, rect=(0.25, 0.0, 0.75, 1.0))  # the middle half of the width
PADDED = replace(GRID, rect=(-0.5, 0.0, 1.5, 1.0))  # the picture was padded to twice its width


def test_pixels_count_in_the_picture_at_hand() -> None:
    assert cells_at([(0, 0), (119.9, 79), (25, 45), (21, 41)], (80, 120), GRID) == [(0, 0), (3, 5), (2, 1)]
    assert cells_at([(50, 90)], (160, 240), GRID) == cells_at([(25, 45)], (80, 120), GRID)
    assert cells_at([(31, 0)], (80, 120), INNER) == [(0, 0)]
    assert cells_at([(31, 0)], (80, 120), replace(GRID, rect=None)) == [(0, 1)]


@pytest.mark.parametrize(("point", "grid"), [((120, 0), GRID), ((-1, 5), GRID), ((29, 0), INNER), ((0, 80), PADDED)])
def test_points_outside_are_refused_with_the_size(point: tuple[float, float], grid: TokenGrid) -> None:
    with pytest.raises(I2AMError, match="120 x 80"):
        cells_at([point], (80, 120), grid)


def region(top: int, left: int, bottom: int, right: int) -> torch.Tensor:
    mask = torch.zeros(80, 120)
    mask[top:bottom, left:right] = 1
    return mask


def test_a_region_takes_the_cells_that_it_half_covers() -> None:
    assert cells_under(region(20, 20, 40, 60), GRID) == [(1, 1), (1, 2)]
    assert cells_under(region(20, 10, 40, 49), GRID) == [(1, 0), (1, 1)]  # half of the first, less of the last
    assert cells_under(region(22, 23, 25, 26), GRID) == [(1, 1)]  # smaller than any cell
    assert cells_under(region(0, 30, 80, 40), INNER) == [(0, 0), (1, 0), (2, 0), (3, 0)]
    # cells of 40 x 20 pixels, the first of which lies outside of the picture and the second on its left edge, half outside
    assert cells_under(region(0, 0, 20, 120), PADDED) == [(0, 1), (0, 2), (0, 3), (0, 4)]


def test_regions_that_mean_nothing() -> None:
    with pytest.raises(I2AMError, match="the region is empty"):
        cells_under(region(0, 0, 0, 0), GRID)
    with pytest.raises(I2AMError, match="outside of the part"):
        cells_under(region(0, 0, 80, 30), INNER)


def test_the_area_under_a_rectangle_by_hand() -> None:
    mask = torch.tensor([[[1.0, 0.0, 1.0, 1.0]]])
    assert area(mask, (1, 2)).tolist() == [[[0.5, 1.0]]]
    assert area(mask, (1, 2), (0.25, 0.0, 0.75, 1.0)).tolist() == [[[0.0, 1.0]]]
    assert area(mask, (1, 4), (-0.5, 0.0, 1.5, 1.0)).tolist() == [[[0.0, 0.5, 1.0, 0.0]]]


def changed(before: Image.Image, after: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    assert before.size == after.size
    return np.nonzero((np.asarray(before) != np.asarray(after)).any(-1))


def test_marks_lie_around_their_cells() -> None:
    plain = Image.new("RGB", (480, 480), (90, 120, 90))
    rows, columns = changed(plain, marked(plain, TokenGrid(6, 6), (2, 4)))
    assert (rows.max() < 4 * 80, columns.min() > 3 * 80) == (True, True)
    assert columns.max() > 5 * 80  # its name, x, y, stands beside it
    two = marked(plain, TokenGrid(6, 6), (0, 5), (5, 0))
    rows, columns = changed(marked(plain, TokenGrid(6, 6), (0, 5)), two)
    assert len(rows) > 500  # the second mark, and both names


def test_a_region_is_outlined_and_not_filled() -> None:
    plain = Image.new("RGB", (480, 480), (90, 120, 90))
    drawn = outlined(plain, TokenGrid(6, 6), [(1, 1), (1, 2), (2, 1)])
    rows, columns = changed(plain, drawn)
    assert (rows.min() >= 70, rows.max() <= 250, columns.min() >= 70, columns.max() <= 250) == (True,) * 4
    for x, y in ((120, 120), (200, 120), (120, 200), (160, 120)):  # inside, also between two cells of it
        assert drawn.getpixel((x, y)) == (90, 120, 90)
    assert drawn.getpixel((80, 120)) == (255, 255, 255)


def test_a_region_up_to_the_border_has_no_line_there() -> None:
    plain = Image.new("RGB", (60, 60), (90, 120, 90))
    inside = np.zeros((60, 60), dtype=bool)
    inside[:, :30] = True
    rows, columns = changed(plain, draw_outline(plain, inside))
    assert (columns.min() > 20, columns.max() < 40) == (True, True)
    assert set(rows) == set(range(60))


def test_a_patch_by_pixel_is_the_patch_by_cell() -> None:
    maps = run().maps
    grid = asked_grid(maps)
    assert (grid.rows, grid.columns) == (12, 8)
    at = (5.5 / 8 * 64, 3.5 / 12 * 96)
    heat, picture = patch_heat(maps, "reference", at, Choice(image=1))
    assert torch.equal(heat.values, sram(maps, (3, 5), choice=Choice(image=1)).values)
    assert heat.queries == ((3, 5),)
    assert picture.width * 12 == picture.height * 8


def test_the_mirror_asks_on_the_reference() -> None:
    maps = run().maps
    assert (asked_grid(maps, "generated").rows, asked_grid(maps, "generated").columns) == (3, 5)
    shoes = asked_grid(maps, "generated", Choice(reference=1))
    assert (shoes.rows, shoes.columns) == (4, 2)
    picture = Image.new("RGB", (200, 120))
    heat, _ = patch_heat(maps, "generated", (0, 0), points="[[190, 5], [5, 115]]", pictures=[picture])
    assert heat.queries == ((0, 4), (2, 0))
    assert torch.equal(heat.values, sram(maps, [(0, 4), (2, 0)], "generated", each=True).values)
    with pytest.raises(I2AMError, match="direction"):
        asked_grid(maps, "sideways")


def test_an_unknown_rectangle_is_said() -> None:
    heat: Heat
    maps = run().maps
    assert not any("unknown" in note for note in patch_heat(maps, "reference", (1, 1))[0].notes)
    layers = tuple(
        replace(x, references=tuple(replace(r, grid=replace(r.grid, rect=None)) for r in x.references)) for x in maps.layers
    )
    object.__setattr__(unknown := maps.with_thumbnails({}), "layers", layers)
    heat, _ = patch_heat(unknown, "generated", (1, 1))
    assert any("unknown which part of this picture the tokens cover" in note for note in heat.notes)


def test_the_mirror_of_an_object_is_the_mean_over_its_patches() -> None:
    maps = run().maps
    grid = asked_grid(maps, "generated", Choice(image=1))
    mask = torch.zeros(2, 10 * grid.rows, 10 * grid.columns)
    mask[1, :20, 10:30] = 1
    assert not mask[0].any()
    found = mirror_of_object(maps, mask, Choice(image=1))
    each = sram(maps, [(0, 1), (0, 2), (1, 1), (1, 2)], "generated", Choice(image=1), each=True)
    assert torch.allclose(found.values[0], each.values.mean(0), atol=1e-7)
    with pytest.raises(I2AMError, match="the reference mask is empty"):
        mirror_of_object(maps, mask, Choice(image=0))


def test_the_mirror_of_the_whole_reference_is_balanced_r2g() -> None:
    maps = Run(network=(replace(FINE, heads=1),), steps=1, groups=1).maps
    found = mirror_of_object(maps, torch.ones(1, 30, 50))
    balanced = ulam(maps, "R2G-balanced", placed_only=True).values[0]
    assert float(balanced.std() / balanced.mean()) > 0.05
    assert torch.allclose(found.values[0], balanced / balanced.sum(), atol=1e-6)


def test_a_mask_of_another_picture_is_refused() -> None:
    shirt = Reference(replace(SHIRT.grid, picture=(30, 50)), SHIRT.start, "shirt")
    maps = Run(network=(FINE,), steps=1, groups=1, layout={FINE.name: Layout((shirt,), keys=28)}).maps
    assert mirror_of_object(maps, torch.ones(1, 60, 100)).side == "mirror"
    with pytest.raises(I2AMError, match="the reference mask is 60 x 100 pixels, but the recorded reference image is 50 x 30"):
        mirror_of_object(maps, torch.ones(1, 100, 60))
