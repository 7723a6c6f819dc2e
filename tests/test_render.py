"""Pictures: every pixel and number that a reader would trust is checked against the heat it came from."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2am import grid, render
from i2am.animate import animation, frames, panels
from i2am.errors import I2AMError
from i2am.grid import draw_text, line_height, sheet, text_width, tick_labels, wrap
from i2am.heat import Heat, normalise
from i2am.layout import TokenGrid
from i2am.render import Look, caption_of, cell_box, colour_bar, colourise, enlarge, marker, overlay

SMALL = 64  # enlarges nothing below


def photo(height: int = 96, width: int = 72, seed: int = 0) -> Image.Image:
    """A picture with middling tones everywhere, so that every change shows."""
    noise = np.random.default_rng(seed).integers(70, 180, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def blob(peak: float = 1e-3, base: float = 2e-4, at: tuple[float, float] = (0.5, 0.5), rows: int = 16) -> torch.Tensor:
    y, x = (torch.arange(rows) + 0.5) / rows, (torch.arange(12) + 0.5) / 12
    return base + (peak - base) * torch.exp(-((y[:, None] - at[0]) ** 2 + (x[None] - at[1]) ** 2) / 0.05)


def heat_of(values: torch.Tensor, **changes: object) -> Heat:
    labels = tuple(f"head {i}" for i in range(len(values)))
    heat = Heat(values, "R2G", "generated", "HLAM", labels, (96, 72), notes=("comparative, not causal",))
    return replace(heat, **changes)  # type: ignore[arg-type]


@pytest.fixture
def heat() -> Heat:
    """Three panels whose peaks are at three places and 1, 2 and 4 high."""
    return heat_of(torch.stack([blob(1e-3 * 2**i, at=(0.3 + 0.2 * i, 0.5)) for i in range(3)]))


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB")).astype(int)


def bare(picture: Image.Image, heat: Heat, panel: int = 0, **style: object) -> np.ndarray:
    """An overlay without bar, caption or enlargement."""
    look: dict = {"colour_bar": False, "caption": False, "min_side": 1, **style}
    return pixels(overlay(picture, heat, panel, **look))


def margin_is_white(picture: Image.Image, width: int = 3) -> bool:
    p = pixels(picture)
    return all((edge == 255).all() for edge in (p[:width], p[-width:], p[:, :width], p[:, -width:]))


# --- colours ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("inferno", (0, 0, 4), (252, 255, 164)),
        ("viridis", (68, 1, 84), (253, 231, 37)),
        ("magma", (0, 0, 4), (252, 253, 191)),
        ("plasma", (13, 8, 135), (240, 249, 33)),
        ("jet", (0, 0, 128), (128, 0, 0)),
    ],
)
def test_colour_maps_are_red_green_blue_and_run_upwards(name: str, low: tuple, high: tuple) -> None:
    out = colourise(torch.tensor([[0.0, 1.0]]), name)
    assert out.dtype == np.uint8
    assert out.shape == (1, 2, 3)
    assert np.abs(out[0, 0].astype(int) - low).max() <= 2
    assert np.abs(out[0, 1].astype(int) - high).max() <= 2


@pytest.mark.parametrize("name", ["inferno", "viridis", "magma", "cividis"])
def test_perceptual_maps_get_lighter_all_the_way(name: str) -> None:
    luminance = colourise(np.linspace(0, 1, 64)[None], name)[0] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > 0).all()


@pytest.mark.parametrize(
    ("values", "name", "message"),
    [
        (np.zeros((2, 2)), "hot-ish", "hot-ish"),
        (np.full((2, 2), 1.5), "inferno", "1.5"),
        (np.array([[np.nan]]), "inferno", "nan"),
        (np.zeros((1, 2, 2)), "inferno", r"\(1, 2, 2\)"),
    ],
)
def test_colourise_refuses(values: np.ndarray, name: str, message: str) -> None:
    with pytest.raises(I2AMError, match=message):
        colourise(values, name)


def test_without_opencv_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    render._table.cache_clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(I2AMError, match="opencv-python"):
        colourise(np.zeros((1, 1)))


# --- overlay: the picture -----------------------------------------------------------------------------------


@pytest.mark.parametrize("style", [{}, {"official": True}, {"contour": 0.5}, {"threshold": 0.4}])
@pytest.mark.parametrize("invert", [False, True])
def test_nothing_changes_outside_of_the_covered_part(heat: Heat, style: dict, invert: bool) -> None:
    part = replace(heat, rect=(0.25, 0.125, 0.75, 1.0), invert=invert)
    picture = photo()
    changed = (bare(picture, part, **style) != pixels(picture)).any(-1)
    outside = np.ones((96, 72), bool)
    outside[12:, 18:54] = False
    assert not changed[outside].any()
    assert changed[~outside].mean() > 0.05


def test_a_rectangle_beyond_the_picture_is_cut_not_squeezed() -> None:
    black = Image.new("RGB", (72, 96))
    whole = bare(black, heat_of(blob()[None])).sum((1, 2))
    beyond = bare(black, heat_of(blob()[None], rect=(0.0, 0.0, 1.0, 2.0))).sum((1, 2))
    assert whole.argmax() == pytest.approx(48, abs=3)
    assert whole[90] < 0.2 * whole.max()
    assert beyond.argmax() > 90  # the blob's centre now lies on the lower edge


def test_opacity_grows_from_the_bare_picture_to_the_colour(heat: Heat) -> None:
    picture = photo()
    values = normalise(heat.panel(0)).values[0].numpy()
    colours = colourise(values).astype(int)
    full = bare(picture, heat, opacity=1.0)
    top, bottom = np.unravel_index(values.argmax(), values.shape), np.unravel_index(values.argmin(), values.shape)
    assert (full[top] == colours[top]).all()
    assert (full[bottom] == pixels(picture)[bottom]).all()
    assert (bare(picture, heat, opacity=0.0) == pixels(picture)).all()
    share = np.abs(bare(picture, heat) - pixels(picture)).sum(-1) / np.abs(colours - pixels(picture)).sum(-1).clip(1)
    low, middle, high = (share[(values > a) & (values < b)].mean() for a, b in ((0.1, 0.2), (0.35, 0.45), (0.8, 1.0)))
    assert low < 0.2 < middle < 0.6 < high <= 0.85


def test_official_is_the_authors_formula(heat: Heat) -> None:
    picture = photo()
    jet = colourise(normalise(heat.panel(1)).values[0], "jet")
    want = np.clip(pixels(picture) * 0.7 + jet * 0.5, 0, 255)
    assert np.abs(bare(picture, heat, 1, official=True) - want).max() <= 1


def test_threshold_keeps_strictly_above(heat: Heat) -> None:
    picture = photo()
    values = normalise(heat.panel(0)).values[0].numpy()
    changed = (bare(picture, heat, threshold=0.4) != pixels(picture)).any(-1)
    assert not changed[values <= 0.4].any()
    assert changed[values > 0.4].all()


def test_shared_scale_differs_from_each_only_where_a_panel_is_weaker(heat: Heat) -> None:
    picture = photo()
    assert (bare(picture, heat, 2, scale="shared") == bare(picture, heat, 2, scale="each")).mean() > 0.99
    weak_each, weak_shared = bare(picture, heat, 0, scale="each"), bare(picture, heat, 0, scale="shared")
    effect = [np.abs(p - pixels(picture)).sum() for p in (weak_each, weak_shared)]
    assert effect[1] < 0.5 * effect[0]


def test_contour_follows_the_crossing_and_no_border() -> None:
    picture = Image.new("RGB", (72, 96), (120, 120, 120))
    ramp = heat_of(torch.linspace(1, 2, 24).expand(1, 32, 24))
    line = (bare(picture, ramp, opacity=0.0, contour=0.5) != 120).any(-1)
    columns = np.flatnonzero(line.any(0))
    assert line[:, columns].mean() > 0.5
    assert line.any(1).all()
    assert columns.min() >= 30
    assert columns.max() <= 41
    white = (bare(picture, ramp, opacity=0.0, contour=0.5) > 220).all(-1)
    assert white.any(1).all()
    assert set(np.flatnonzero(white.any(0))) <= {34, 35, 36, 37}


def test_no_contour_where_nothing_crosses(heat: Heat) -> None:
    picture = photo()
    plain = bare(picture, heat, 0, scale="shared")
    assert (bare(picture, heat, 0, scale="shared", contour=0.9) == plain).all()  # the weak panel stays below
    assert (bare(picture, heat, 2, scale="shared", contour=0.9) != bare(picture, heat, 2, scale="shared")).any()


def test_no_contour_where_values_only_come_near() -> None:
    ripple = 1.498 + 0.00199 * torch.rand(32, 24, generator=torch.Generator().manual_seed(0))
    both = heat_of(torch.stack([ripple, torch.linspace(1, 2, 24).expand(32, 24)]))
    near = normalise(both, scale="shared").values[0]
    assert 0.497 < near.min() < near.max() < 0.503
    picture = photo()
    level = float(near.max()) + 1e-5
    line = bare(picture, both, 0, scale="shared", opacity=0.0, contour=level) != pixels(picture)
    assert not line.any()


def test_flat_maps_get_a_mark_and_no_amplified_noise() -> None:
    picture = photo(256, 192)
    noise = 3e-3 + 1e-7 * torch.rand(1, 16, 12)
    out = overlay(picture, heat_of(noise), colour_bar=False, caption=False, min_side=1)
    changed = (pixels(out) != pixels(picture)).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert rows.min() > 256 * 0.8
    assert columns.max() < 192 * 0.4
    assert rows.max() < 255
    assert columns.min() > 0
    assert out.info["i2am"]["flat"]
    bar = overlay(picture, heat_of(noise), min_side=1)
    assert len(bar.info["i2am"]["ticks"]) == 1


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_other_picture_modes(heat: Heat, mode: str) -> None:
    out = overlay(photo().convert(mode), heat, min_side=1)
    assert out.mode == "RGB"


def test_transparent_pictures_lie_on_white(heat: Heat) -> None:
    clear = Image.new("RGBA", (72, 96), (200, 0, 0, 0))
    assert (bare(clear, heat, opacity=0.0) == 255).all()


def test_the_picture_may_have_another_size_than_the_heat(heat: Heat) -> None:
    big = photo(192, 144)
    changed = np.abs(bare(big, heat, 0) - pixels(big)).sum(-1)
    assert changed.shape == (192, 144)
    y, x = np.average(np.indices(changed.shape).reshape(2, -1), axis=1, weights=changed.ravel())
    assert y == pytest.approx(0.3 * 192, abs=8)
    assert x == pytest.approx(72, abs=4)


# --- overlay: what stands around it -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(128, 96), (64, 64), (512, 384), (20, 300), (300, 20), (1, 1), (7, 900)])
def test_labels_fit_at_any_size(heat: Heat, size: tuple[int, int]) -> None:
    out = overlay(photo(*size), replace(heat, unplaced=(0.1, 0.2, 0.3)))
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
    shared = overlay(photo(), heat, 0, scale="shared", min_side=1).info["i2am"]
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
    head, *notes = caption_of(full, 0, Look.of(full, threshold=0.4)).split("\n")
    assert head == "HLAM R2G-balanced on the generated image · head 0"
    text = " | ".join(notes)
    for part in ("comparative, not causal", "unknown", "12.5%", "1 − min-max", "above 0.4"):
        assert part in text
    sram = replace(heat.panel(0), level="SRAM", side="SRAM", picture="reference", labels=("SRAM",), notes=())
    assert caption_of(sram, 0, Look.of(sram)) == "SRAM on the reference image"


def test_longer_notes_are_drawn_on_more_lines(heat: Heat) -> None:
    short = overlay(photo(), heat, min_side=SMALL)
    long = overlay(photo(), replace(heat, notes=("word " * 60,)), min_side=SMALL)
    assert long.height > short.height + 3 * line_height(12)
    assert margin_is_white(long)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"panel": 3}, "panel 3 does not exist.*has 3"),
        ({"panel": -1}, "panel -1"),
        ({"threshold": 1.0}, "threshold"),
        ({"opacity": 1.2}, "opacity.*1.2"),
        ({"contour": 2.0}, "contour"),
        ({"scale": "both"}, "both"),
        ({"colours": "rainbow"}, "rainbow.*inferno"),
        ({"marks": [(72, 5)]}, "72 x 96"),
    ],
)
def test_overlay_refuses(heat: Heat, arguments: dict, message: str) -> None:
    with pytest.raises(I2AMError, match=message):
        overlay(photo(), heat, **arguments)


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


# --- lettering ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [12, 15, 31])
@pytest.mark.parametrize("text", ["steps 0–9 · σ 14.6", "λ = 3, ×10⁻⁴ ≤ 0.4", "A→B ← ≈ − — ≥", "gjpqy|ÅÉ", "1 ×10⁵"])
def test_ink_stays_within_its_line_and_width(text: str, size: int) -> None:
    width, height = text_width(text, size), line_height(size)
    canvas = Image.new("RGB", (round(width) + 40, height + 40), (255, 255, 255))
    draw_text(canvas, (20, 20), text, size)
    ink = np.argwhere(pixels(canvas).min(-1) < 200)
    assert ink[:, 0].min() >= 20
    assert ink[:, 0].max() < 20 + height
    assert ink[:, 1].min() >= 18
    assert ink[:, 1].max() <= 20 + width + 1
    assert ink[:, 1].max() >= 20 + width - 0.5 * size


@pytest.mark.parametrize("sign", sorted(grid._DRAWN) + sorted(grid._RAISED))
def test_signs_that_the_font_lacks_are_drawn_and_differ(sign: str) -> None:
    def drawn(text: str) -> np.ndarray:
        canvas = Image.new("RGB", (60, 50), (255, 255, 255))
        draw_text(canvas, (5, 5), text, 30)
        return pixels(canvas)

    assert not grid._in_font(sign)
    own = drawn(sign)
    assert (own < 128).any()
    for other in "\ufffe-+0123456789":  # the empty box first
        assert (own != drawn(other)).any()


def test_accented_letters_lose_their_accents_rather_than_become_boxes() -> None:
    assert text_width("Élan ü", 20) == text_width("Elan u", 20)


@pytest.mark.parametrize("width", [30, 90, 400])
@pytest.mark.parametrize(
    "text", ["up_blocks.1.attentions.0.transformer_blocks.0.attn2", "one two three σ 4.9–3.6", "x" * 80, "a\nb c"]
)
def test_wrapped_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    lines = wrap(text, 14, width)
    assert all(text_width(line, 14) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_numbers_are_not_broken_at_their_point() -> None:
    assert wrap("steps 20–29 · σ 4.9–3.6", 14, 140) == ["steps 20–29 · σ", "4.9–3.6"]


# --- sheets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5, 7, 16, 64])
@pytest.mark.parametrize("size", [(24, 16), (40, 90)])
def test_sheet_holds_every_picture_and_label(count: int, size: tuple[int, int]) -> None:
    items = [(photo(*size, seed=i), f"label {i}\ndetail") for i in range(count)]
    out = sheet(items, title="A title", notes=("a note",))
    p, cells = pixels(out), out.info["cells"]
    taken = np.zeros(p.shape[:2], int)
    for (picture, _), (left, top, right, bottom) in zip(items, cells, strict=True):
        assert (p[top:bottom, left:right] == pixels(picture)).all()
        taken[top:bottom, left:right] += 1
        assert (p[top - 6 : top, left:right] == 255).all()  # nothing above reaches down to it
        assert (p[bottom + 2 : bottom + 30, left : left + 40].min(-1) < 120).sum() > 15  # its label
    assert taken.max() == 1
    assert margin_is_white(out, 8)
    assert (p[: cells[0][1]].min(-1) < 120).any()
    assert (p[cells[-1][3] + 40 :].min(-1) < 160).any()
    assert 0.3 < out.width / out.height < 4 or count < 3


def test_sheet_wraps_labels_within_their_column() -> None:
    long = "up_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.and_more"
    out = sheet([(photo(60, 40), long), (photo(60, 40), "")], columns=2)
    (first, second), p = out.info["cells"], pixels(out)
    below = p[first[3] + 1 :].min(-1) < 160
    assert below[:, : second[0] - 6].any()
    assert not below[:, second[0] - 6 :].any()
    assert margin_is_white(out, 8)


def test_sheet_columns_and_mixed_sizes() -> None:
    out = sheet([(photo(h, 40), str(h)) for h in (20, 60, 40, 30)], columns=2)
    tops = [c[1] for c in out.info["cells"]]
    lefts = [c[0] for c in out.info["cells"]]
    assert lefts[0] == lefts[2] < lefts[1] == lefts[3]
    assert max(tops[:2]) < min(tops[2:])
    side = sheet([(photo(40, 40), "x")], side=Image.new("RGB", (9, 80), (1, 2, 3)))
    assert (pixels(side) == (1, 2, 3)).all(-1).sum() == 720
    assert margin_is_white(side, 8)


def test_sheet_refuses() -> None:
    with pytest.raises(I2AMError, match="at least one picture"):
        sheet([])
    with pytest.raises(I2AMError, match="got 0"):
        sheet([(photo(), "")], columns=0)


# --- all panels ---------------------------------------------------------------------------------------------


def cells_of(out: Image.Image) -> list[np.ndarray]:
    return [pixels(out)[top:bottom, left:right] for left, top, right, bottom in out.info["cells"]]


def test_panels_are_the_overlays_of_one_scale(heat: Heat) -> None:
    picture = photo(300, 225)
    out = panels(picture, heat, width=225)
    for panel, got in enumerate(cells_of(out)):
        assert (got == bare(picture, heat, panel, scale="shared")).all()
    each = cells_of(panels(picture, heat, width=225, scale="each"))
    assert (each[0] != cells_of(out)[0]).any()
    assert (each[0] == bare(picture, heat, 0)).all()


@pytest.mark.parametrize("count", [1, 8, 64])
@pytest.mark.parametrize("size", [(64, 64), (1024, 768)])
def test_panels_of_any_number_stay_readable_and_bounded(count: int, size: tuple[int, int]) -> None:
    values = torch.rand(count, 8, 6, generator=torch.Generator().manual_seed(0))
    out = panels(photo(*size), heat_of(values, unplaced=(0.1,) * count), scale="each")
    widths = {right - left for left, _, right, _ in out.info["cells"]}
    assert len(out.info["cells"]) == count
    assert len(widths) == 1
    assert min(widths) >= 150
    assert out.width < 2400
    assert margin_is_white(out, 8)


def test_panels_refuse(heat: Heat) -> None:
    for arguments in ({"columns": 0}, {"scale": "none"}, {"width": 0}, {"threshold": 3.0}):
        with pytest.raises(I2AMError):
            panels(photo(), heat, **arguments)  # type: ignore[arg-type]


# --- animation ----------------------------------------------------------------------------------------------


def test_frames_are_labelled_in_order_and_of_one_size(heat: Heat) -> None:
    uneven = replace(heat, labels=("a", "b " * 80, "c"))
    out = frames(photo(), uneven, min_side=SMALL)
    assert len({f.size for f in out}) == 1
    for panel, frame in enumerate(out):
        assert margin_is_white(frame)
        assert (cells_of(frame)[0] == bare(photo(), heat, panel, scale="shared")).all()
    assert len(out) == 3


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".GIF"])
def test_animation_has_its_frames_and_times(heat: Heat, tmp_path: Path, suffix: str) -> None:
    drawn = frames(photo(), heat, min_side=SMALL)
    path = animation(drawn, tmp_path / "new" / f"a{suffix}", ms=250)
    with Image.open(path) as file:
        assert (file.n_frames, file.info["loop"], file.size) == (3, 0, drawn[0].size)
        for i, frame in enumerate(drawn):
            file.seek(i)
            file.load()
            assert file.info["duration"] == 250
            assert np.abs(pixels(file) - pixels(frame)).mean() < 4
            assert np.abs(pixels(file) - pixels(frame)).mean() < np.abs(pixels(file) - pixels(drawn[i - 1])).mean()


def test_gif_keeps_the_colours_of_the_bar(tmp_path: Path) -> None:
    frame = Image.new("RGB", (300, 320), (255, 255, 255))
    frame.paste(colour_bar(300, 0, 1), (10, 10))
    frame.paste(photo(280, 200), (90, 10))
    with Image.open(animation([frame], tmp_path / "bar.gif")) as file:
        strip, want = pixels(file)[30:290, 12:22].mean(1), pixels(frame)[30:290, 12:22].mean(1)
    smooth = [np.stack([np.convolve(c, np.ones(9) / 9, "valid") for c in s.T]) for s in (strip, want)]
    assert np.abs(smooth[0] - smooth[1]).max() < 10
    assert len(np.unique(strip.round(), axis=0)) > 60


def test_animation_pads_frames_of_other_sizes(tmp_path: Path) -> None:
    path = animation([photo(40, 30), photo(50, 20)], tmp_path / "a.webp")
    with Image.open(path) as file:
        assert file.size == (30, 50)


@pytest.mark.parametrize(
    ("count", "name", "ms", "message"),
    [(0, "a.gif", 400, "none"), (1, "a.mp4", 400, "a.mp4"), (1, "a.gif", 5, "20 ms")],
)
def test_animation_refuses(tmp_path: Path, count: int, name: str, ms: int, message: str) -> None:
    with pytest.raises(I2AMError, match=message):
        animation([photo()] * count, tmp_path / name, ms)
