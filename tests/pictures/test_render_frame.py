"""What stands around and on an overlay: the bar with its numbers, captions and markers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawing import SMALL, bare, heat_fixture, margin_is_white, photo, pixels  # noqa: F401
from PIL import Image

from i2am.errors import I2AMError, LayoutError
from i2am.geometry.cells import cell_box
from i2am.geometry.layout import TokenGrid
from i2am.levels.heat import Heat, normalise
from i2am.pictures.bar import colour_bar
from i2am.pictures.lettering import line_height, tick_labels
from i2am.pictures.look import Look, ResolvedLook, caption_of
from i2am.pictures.marks import enlarge, marker
from i2am.pictures.overlay import overlay

# --- overlay: what stands around it -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(128, 96), (64, 64), (512, 384), (20, 300), (300, 20), (1, 1), (7, 900)])
def test_labels_fit_at_any_size(heat: Heat, size: tuple[int, int]) -> None:
    out = overlay(photo(*size), replace(heat, size=size, unplaced=(0.1, 0.2, 0.3)))
    left, top, right, bottom = out.info["i2am"]["box"]
    factor = out.info["i2am"]["factor"]
    assert (right - left, bottom - top) == (size[1] * factor, size[0] * factor)
    assert margin_is_white(out)
    caption, bar = pixels(out)[bottom + 2 :], pixels(out)[:, right + 2 :]
    assert (caption.min(-1) < 100).sum() > 100
    assert (bar.min(-1) < 100).sum() > 50
    assert out.width >= 150


@pytest.mark.parametrize(("size", "factor"), [((128, 96), 4), ((64, 64), 6), ((512, 384), 1), ((383, 500), 2), ((20, 300), 5)])
def test_small_pictures_grow_by_whole_factors(size: tuple[int, int], factor: int) -> None:
    picture, got = enlarge(photo(*size))
    assert got == factor
    assert picture.size == (size[1] * factor, size[0] * factor)


def test_numbers_of_the_bar_are_the_raw_range(heat: Heat) -> None:
    normal = normalise(heat.panel(1), (96, 72))
    each = overlay(photo(), heat, 1, min_side=1).info["i2am"]
    assert (each["low"], each["high"]) == (normal.low[0], normal.high[0])
    assert each["ticks"][0] == (0.0, normal.low[0])
    assert each["ticks"][-1] == (1.0, pytest.approx(normal.high[0]))
    shared = overlay(photo(), heat, 0, Look(scale="shared"), min_side=1).info["i2am"]
    assert shared["high"] == normalise(heat.panel(2), (96, 72)).high[0] > 3 * normalise(heat.panel(0)).high[0]
    turned = overlay(photo(), replace(heat, invert=True), 1, min_side=1).info["i2am"]
    assert turned["ticks"][0][1] == pytest.approx(normal.high[0])
    assert turned["ticks"][-1][1] == normal.low[0]


def test_bar_text_follows_the_numbers_and_colours_do_not() -> None:
    a, b = colour_bar(300, 0.0, 1.0), colour_bar(300, 0.0, 2.0)
    assert a.size == b.size
    differs = (pixels(a) != pixels(b)).any(-1)
    assert differs.any()
    assert np.flatnonzero(differs.any(0)).min() > 14
    assert (pixels(colour_bar(300, 0.0, 1.0, colours="viridis")) != pixels(a)).any(-1)[:, 1:13].mean() > 0.5


def test_bar_greys_out_what_the_threshold_hides() -> None:
    plain, cut = pixels(colour_bar(300, 0, 1)), pixels(colour_bar(300, 0, 1, threshold=0.4))
    height = np.flatnonzero((plain[:, 5] < 250).any(-1))
    line = height.min() + 0.6 * (height.max() - height.min())
    rows = np.flatnonzero((plain != cut).any(-1)[:, 5])
    assert rows.min() == pytest.approx(line, abs=2)
    assert rows.max() >= height.max() - 2


def test_bar_refuses_a_range_that_is_none() -> None:
    with pytest.raises(I2AMError, match="nan"):
        colour_bar(100, float("nan"), 1.0)
    with pytest.raises(I2AMError, match="got 2 to 1"):
        colour_bar(100, 2.0, 1.0)


@pytest.mark.parametrize(
    ("values", "labels", "power"),
    [
        ([0.0, 0.5, 1.0], ["0.00", "0.50", "1.00"], 0),
        ([0.0, 0.0], ["0", "0"], 0),
        ([1.9e-4, 3.26e-3], ["0.19", "3.26"], -3),
        ([0.5, 0.50012], ["0.50000", "0.50012"], 0),
        ([-2.0, 2.0], ["−2.00", "2.00"], 0),
        ([10_000.0, 54_321.0], ["1.00", "5.43"], 4),
        ([100.0, 900.0], ["100", "900"], 0),
    ],
)
def test_tick_labels(values: list[float], labels: list[str], power: int) -> None:
    assert tick_labels(values) == (labels, power)


def test_captions_say_what_a_reader_must_know(heat: Heat) -> None:
    full = replace(heat, rect=None, invert=True, unplaced=(0.125, 0.0, 0.0), side="R2G-balanced")
    head, *notes = caption_of(full, 0, Look(threshold=0.4).resolve(full)).split("\n")
    assert head == "Where it went, by votes, by head (R2G-balanced HLAM) on the generated image · head 0"
    text = " | ".join(notes)
    for part in ("comparative, not causal", "unknown", "12.5%", "1 − min-max", "above 0.4"):
        assert part in text
    sram = replace(heat.panel(0), level="SRAM", side="SRAM", picture="reference", labels=("SRAM",), notes=())
    assert caption_of(sram, 0, Look().resolve(sram)) == "What it used (SRAM) on the reference image"


def test_longer_notes_are_drawn_on_more_lines(heat: Heat) -> None:
    short = overlay(photo(), heat, min_side=SMALL)
    long = overlay(photo(), replace(heat, notes=("word " * 60,)), min_side=SMALL)
    assert long.height > short.height + 3 * line_height(12)
    assert margin_is_white(long)


@pytest.mark.parametrize(
    ("arguments", "look", "message"),
    [
        ({"panel": 3}, {}, "panel 3 does not exist.*has 3"),
        ({"panel": -1}, {}, "panel -1"),
        ({}, {"threshold": 1.0}, "threshold"),
        ({}, {"opacity": 1.2}, "opacity.*1.2"),
        ({}, {"contour": 2.0}, "contour"),
        ({}, {"scale": "both"}, "both"),
        ({}, {"colours": "rainbow"}, "rainbow.*inferno"),
        ({"marks": [(72, 5)]}, {}, "72 x 96"),
    ],
)
def test_overlay_refuses(heat: Heat, arguments: dict, look: dict, message: str) -> None:
    with pytest.raises(I2AMError, match=message):
        overlay(photo(), heat, look=Look(**look), **arguments)


def test_a_look_leaves_open_what_the_heat_decides(heat: Heat) -> None:
    own = replace(heat, threshold=0.3, scale="each", colours="viridis")
    assert Look().resolve(own) == ResolvedLook(0.3, "viridis", 0.8, None, False, "each")
    asked = Look(threshold=0.0, colours="magma", opacity=0.5, contour=True, official=True, scale="shared")
    assert asked.resolve(own) == ResolvedLook(0.0, "magma", 0.5, 0.4, True, "shared")
    assert Look(official=True).resolve(heat, "each") == ResolvedLook(None, "jet", 0.8, None, True, "each")
    assert Look().resolve(heat).scale == "shared"


# --- markers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tone", [0, 128, 255])
@pytest.mark.parametrize("at", [(50, 60), (0, 0), (71, 95)])
def test_marker_shows_on_any_tone_and_leaves_its_pixel_open(tone: int, at: tuple[int, int]) -> None:
    picture = Image.new("RGB", (72, 96), (tone,) * 3)
    out = pixels(marker(picture, *at, min_side=1))
    changed = (out != tone).any(-1)
    reach = np.abs(np.argwhere(changed) - (at[1], at[0])).max()
    assert changed.sum() > 20
    assert reach < 28
    assert (out[at[1], at[0]] == tone).all()
    assert (out == 255).all(-1).any()
    assert (out == 0).all(-1).any()


def test_marker_is_where_the_enlarged_pixel_is() -> None:
    out = pixels(marker(Image.new("RGB", (72, 96), (99, 99, 99)), 20, 70, min_side=288))
    y, x = np.argwhere((out == 255).all(-1)).mean(0)
    assert (x, y) == (pytest.approx(20.5 * 4, abs=1.5), pytest.approx(70.5 * 4, abs=1.5))


def test_marker_box_frames_a_cell_and_leaves_it_clean() -> None:
    picture = Image.new("RGB", (72, 96), (99, 99, 99))
    out = pixels(marker(picture, 21, 45, box=(18, 42, 24, 48), min_side=288))
    assert (out[42 * 4 + 1 : 48 * 4 - 1, 18 * 4 + 1 : 24 * 4 - 1] == 99).all()
    assert (out[42 * 4 - 3 : 42 * 4, 18 * 4 : 24 * 4] == 255).all(-1).any(0).all()  # an unbroken upper side


def test_overlay_marks_are_markers(heat: Heat) -> None:
    picture = photo()
    plain, marked = bare(picture, heat), bare(picture, heat, marks=[(10, 80)])
    where = np.argwhere((plain != marked).any(-1))
    assert len(where) > 20
    assert np.abs(where - (80, 10)).max() < 28


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_a_pixel_of_a_picture_of_unknown_size_is_refused(size: tuple[int, int] | None) -> None:
    with pytest.raises(LayoutError, match="picture size or rectangle is unknown"):
        TokenGrid(4, 3, picture=size).cell_of(1, 2)


def test_cells_tile_the_covered_part() -> None:
    tokens = TokenGrid(4, 3, leading=1, picture=(96, 72), rect=(0.25, 0.0, 1.0, 0.5))
    for row in range(4):
        for column in range(3):
            left, top, right, bottom = cell_box(tokens, row, column, (96, 72))
            assert tokens.cell_of((left + right) / 2, (top + bottom) / 2) == (row, column)
            assert (right - left, bottom - top) == (pytest.approx(18), pytest.approx(12))
    with pytest.raises(I2AMError, match="4 x 3"):
        cell_box(tokens, 4, 0, (96, 72))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": 72, "y": 0}, r"\(72, 0\)"),
        ({"x": 1, "y": 1, "box": (5, 0, 5, 4)}, "left < right"),
        ({"x": 1, "y": 1, "colour": "no colour"}, "no colour"),
    ],
)
def test_marker_refuses(arguments: dict, message: str) -> None:
    with pytest.raises(I2AMError, match=message):
        marker(photo(), **arguments)
