"""Which reference, in colours: the pictures say what the library's numbers say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from edit_run import SHAPES, edit_run
from PIL import Image
from sight import SIGHT, places_of

from i2am.errors import UnavailableError
from i2am.levels.batch import join
from i2am.levels.choice import Choice
from i2am.levels.marginal import level_of, ulam
from i2am.levels.share import mean_shares, share, which_reference
from i2am.pictures.bars import share_bars, stacked_bar
from i2am.pictures.look import Look
from i2am.pictures.overlays import overlays
from i2am.pictures.parts import PALETTE, colour_of_reference, colours_of_parts, told_apart
from i2am.pictures.sheet import in_a_column, in_a_row
from i2am.pictures.which import OPACITY, PALE, paint_which, strength, which_key

CELL = 9
GREY = 90
"""Of the picture below."""


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("image", [0, 1])
def test_each_patch_has_the_colour_of_its_largest_share(count: int, image: int) -> None:
    """At the centres of patches, where resizing leaves the numbers as they are."""
    heat = which_reference(edit_run(SHAPES[:count], images=2, steps=2), Choice(image=image))
    rows, columns = heat.values.shape[1:]
    drawn = np.asarray(paint_which(Image.new("RGB", (columns * CELL, rows * CELL), (GREY,) * 3), heat), np.float32)
    centres = torch.from_numpy(drawn[CELL // 2 :: CELL, CELL // 2 :: CELL].copy())
    most, winner = heat.values.max(0)
    assert len(winner.unique()) > 1
    colours = torch.tensor([colour_of_reference(i) for i in range(count)], dtype=torch.float32)[winner]
    pale = GREY + (255 - GREY) * PALE
    expected = pale + (colours - pale) * (OPACITY * strength(most, count))[..., None]
    torch.testing.assert_close(centres, expected, atol=1.0, rtol=0)


def test_where_all_references_have_an_equal_part_there_is_no_colour() -> None:
    heat = which_reference(edit_run(SHAPES[:2], steps=2))
    even = replace(heat, values=torch.full_like(heat.values, 0.5))
    drawn = np.asarray(paint_which(Image.new("RGB", (48, 64), (20, 160, 40)), even))
    assert np.ptp(drawn, -1).max() == 0


def test_beyond_the_grid_there_is_no_colour() -> None:
    heat = which_reference(edit_run(SHAPES[:2], steps=2))
    values = torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])
    half = replace(heat, values=values, rect=(0.0, 0.0, 0.5, 1.0))
    drawn = np.asarray(paint_which(Image.new("RGB", (40, 40), (80, 80, 80)), half))
    assert (np.ptp(drawn[:, :18], -1) > 50).all()
    assert np.ptp(drawn[:, 22:], -1).max() == 0


def lengths(picture: Image.Image, colours: dict[str, tuple[int, int, int]]) -> dict[str, int]:
    """The longest run of each colour in a row of the picture, in pixels."""
    pixels = np.asarray(picture)
    return {name: int((pixels == colour).all(-1).sum(1).max()) for name, colour in colours.items()}


def test_bars_are_as_long_as_the_shares() -> None:
    heat = share(edit_run(SHAPES[:3], steps=2))
    shares = mean_shares(heat)
    colours = colours_of_parts(heat.labels, 3)
    found = lengths(share_bars(shares, colours, 802, 20), colours)
    assert {name: n / 800 for name, n in found.items()} == pytest.approx(shares, abs=2 / 800)
    found = lengths(stacked_bar(shares, colours, 800, 40), colours)
    assert {name: n / 800 for name, n in found.items()} == pytest.approx(shares, abs=4 / 800)
    assert sum(found.values()) == pytest.approx(800, abs=2)


def test_colours_are_told_apart() -> None:
    parts = colours_of_parts(("a", "b", "prompt", "words seen", "generated", "other"), 2)
    assert len(set(parts.values())) == 6
    assert (parts["a"], parts["b"]) == PALETTE[:2]
    assert colour_of_reference(len(PALETTE)) == PALETTE[0]


@pytest.mark.parametrize("sight", SIGHT)
def test_no_two_colours_of_references_look_alike(sight: str) -> None:
    """A distance of 0.05 would be hard to tell in a legend."""
    assert float(torch.pdist(places_of(PALETTE, sight)).min()) > 0.07


def test_a_legend_says_where_colours_begin_anew() -> None:
    many = [f"r{i}" for i in range(len(PALETTE) + 1)]
    keys = [which_key(names, 300, 20, named=False) for names in (many, many[:-1])]
    row = keys[1].height // len(PALETTE)  # no more than a bar and its gap
    assert keys[0].height > keys[1].height + row


def test_the_key_runs_from_pale_to_the_colour_of_each_reference() -> None:
    key = np.asarray(which_key(["a", "b"], 200, 20, named=False), np.int32)
    for i in range(2):
        row = key[[8, 27][i], 1:-1]
        far = np.abs(row - colour_of_reference(i)).sum(-1)
        assert far[0] > 3 * far[-1]
        assert far[-1] < 60
    assert which_key(["a", "b"], 200, 20).height > key.shape[0]


def test_rows_and_columns_keep_pictures_apart() -> None:
    red, blue = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (50, 40), "blue")
    row = in_a_row([(red, "one"), (blue, "two")], 16, 7, swatches=[(1, 2, 3), None])
    assert row.width == 30 + 7 + 50
    pixels = np.asarray(row)
    assert (pixels[:20, :30] == (255, 0, 0)).all()
    assert (pixels[20:24, :30] == (1, 2, 3)).all()
    assert (pixels[:40, 37:] == (0, 0, 255)).all()
    column = np.asarray(in_a_column([red, blue], 16, ["head", ""]))
    assert (column == (255, 0, 0)).all(-1).sum() == 30 * 20
    assert (column == (0, 0, 255)).all(-1).sum() == 50 * 40


def test_overlays_are_one_picture_for_each_image_and_time() -> None:
    maps = edit_run(SHAPES[:2], images=2, steps=4)
    heat = join([level_of(maps, "TLAM", "which reference", Choice(image=i), groups=2) for i in range(2)], [0, 1])
    assert heat.parts == 2
    pictures = [Image.new("RGB", (96, 128), (60 * i, 90, 120)) for i in range(2)]
    bare = overlays(pictures, heat, colour_bar=False)
    assert len(bare) == 4
    for i, drawn in enumerate(bare):
        assert np.array_equal(drawn, paint_which(pictures[i // 2], heat.panels([2 * i, 2 * i + 1]), Look().opacity))
    told = overlays(pictures, heat)
    assert {p.size for p in told} == {told[0].size}
    assert told[0].width > 384
    assert len(overlays(pictures, heat, Look(colours="viridis"), colour_bar=False)) == 8  # a colour map: panel by panel
    one = which_reference(maps)
    assert len(overlays(pictures, one, colour_bar=False)) == 2  # on every picture


def test_parts_stay_together_or_are_none() -> None:
    heat = share(edit_run(SHAPES[:2], steps=4), groups=2)
    assert [one.parts for one in heat.split()] == [4, 4]
    assert [heat.panels(i).parts for i in ([0], [1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7])] == [0, 0, 4]
    assert told_apart(heat.split()[1].labels) == (
        "steps 2–3 · σ 0.714–0.455",
        ["reference 1", "reference 2", "text", "generated"],
    )
    alone = ulam(edit_run(SHAPES[:2], steps=1), "mass")
    assert [one.labels for one in alone.split()] == [alone.labels]


def test_shares_by_head_are_refused() -> None:
    with pytest.raises(UnavailableError, match="share exists as ULAM, TLAM and LLAM, got HLAM"):
        level_of(edit_run(SHAPES[:2], steps=1), "HLAM", "share")
