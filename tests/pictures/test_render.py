"""Overlays: every pixel that a reader would trust is checked against the heat it came from."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawing import bare, blob, heat_fixture, heat_of, photo, pixels  # noqa: F401
from joint_run import JointRun, flux_like
from levels_run import run
from PIL import Image

from i2am.errors import I2AMError
from i2am.levels.heat import Heat, normalise
from i2am.levels.marginal import ulam
from i2am.levels.patch import sram
from i2am.pictures import colours
from i2am.pictures.colours import colourise
from i2am.pictures.overlay import overlay

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
    colours.table_of.cache_clear()
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


@pytest.mark.parametrize("picture", [np.zeros((8, 8, 3), np.uint8), torch.zeros(3, 8, 8), "picture.png"])
def test_what_is_no_picture_is_refused(heat: Heat, picture: object) -> None:
    text = f"got a {type(picture).__name__} and a Heat; Image.fromarray"
    with pytest.raises(I2AMError, match=text):
        overlay(picture, heat)  # type: ignore[arg-type]


def test_swapped_arguments_are_refused(heat: Heat) -> None:
    with pytest.raises(I2AMError, match=r"overlay takes a Pillow picture and a heat, .* got a Heat and a Image"):
        overlay(heat, photo())  # type: ignore[arg-type]


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


def test_a_picture_of_another_shape_is_refused(heat: Heat) -> None:
    """Of a reference only where its size was recorded."""
    wide = Image.new("RGB", (300, 60))
    with pytest.raises(I2AMError, match="the picture is 300 x 60 pixels, but the recorded generated image is"):
        overlay(wide, heat)
    maps = JointRun({"cond": flux_like(3)}).record()
    with pytest.raises(I2AMError, match="the picture is 300 x 60 pixels, but the recorded reference image is 64 x 80"):
        overlay(wide, ulam(maps, "G2R"))
    with pytest.raises(I2AMError, match="the picture is 300 x 60 pixels, but the recorded reference image is 64 x 80"):
        overlay(wide, sram(maps, (0, 0)))
    overlay(wide, ulam(run().maps, "G2R"))  # the reference's own size is unknown
    overlay(Image.new("RGB", (65, 78)), ulam(maps, "G2R"))


def test_what_is_no_look_is_refused(heat: Heat) -> None:
    with pytest.raises(I2AMError, match=r"is a Look, such as Look\(colours='viridis'\), got 'inferno'"):
        overlay(photo(), heat, look="inferno")  # type: ignore[arg-type]
