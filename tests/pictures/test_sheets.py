"""Overlays, sheets and films of whole batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from i2am.errors import I2AMError
from i2am.levels.heat import Heat
from i2am.pictures.film import film, frames
from i2am.pictures.look import Look
from i2am.pictures.overlay import overlay
from i2am.pictures.overlays import overlays
from i2am.pictures.panels import panels, sheet_of


def photo(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((size[1], size[0]), Image.Resampling.BICUBIC)


def heat_of(images: tuple[int, ...]) -> Heat:
    values = torch.rand(len(images), 8, 6, generator=torch.Generator().manual_seed(1))
    values *= torch.linspace(1, 3, len(images)).view(-1, 1, 1)
    labels = tuple(f"panel {i}" for i in range(len(images)))
    return Heat(values, "R2G", "generated", "TLAM", labels, size=(96, 72), images=images)


def same(a: Image.Image, b: Image.Image) -> bool:
    return a.size == b.size and bool((np.asarray(a) == np.asarray(b)).all())


@pytest.mark.parametrize("scale", ["each", "shared"])
@pytest.mark.parametrize("threshold", [None, 0.4])
def test_overlays_are_the_overlay_of_each_panel(scale: str, threshold: float | None) -> None:
    heat = replace(heat_of((0, 1)), scale=scale, threshold=threshold)
    pictures = [photo(0), photo(1)]
    for drawn, picture, panel in zip(overlays(pictures, heat), pictures, (0, 1), strict=True):
        assert same(drawn, overlay(picture, heat, panel))
        assert same(
            drawn, overlay(picture, replace(heat, scale=None, threshold=None), panel, Look(scale=scale, threshold=threshold))
        )


def test_bare_overlays_keep_the_pictures_size() -> None:
    assert [p.size for p in overlays([photo(0)], heat_of((0, 0)), colour_bar=False)] == [(72, 96)] * 2
    drawn = overlays([photo(0)], heat_of((0,)), Look(opacity=0.0), colour_bar=False)
    assert same(drawn[0], photo(0))


def test_every_panel_ticks() -> None:
    ticks: list[None] = []
    overlays([photo(0)], heat_of((0, 0, 0)), tick=lambda: ticks.append(None))
    assert len(ticks) == 3


def test_a_sheet_uses_the_heats_own_threshold_and_scale() -> None:
    heat = heat_of((0, 0))
    asked = panels(photo(0), heat, Look(scale="each", threshold=0.6))
    assert same(panels(photo(0), replace(heat, scale="each", threshold=0.6)), asked)
    assert not same(panels(photo(0), heat), asked)


def test_a_sheet_puts_each_image_under_its_panels() -> None:
    heat = heat_of((0, 0, 1, 1))
    both = sheet_of(heat, [photo(0), photo(1)], look=Look(opacity=0.0), columns=2)
    cells = both.info["cells"]
    crops = [np.asarray(both.crop(cell)) for cell in cells]
    assert (crops[0] == crops[1]).all()
    assert (crops[2] == crops[3]).all()
    assert (crops[0] != crops[2]).any()


def test_labels_are_one_a_panel() -> None:
    heat = heat_of((0, 0))
    assert not same(sheet_of(heat, None, "a\nb"), sheet_of(heat, None))
    with pytest.raises(I2AMError, match="3 labels were given for 2 panels"):
        sheet_of(heat, None, "a\nb\nc")
    with pytest.raises(I2AMError, match="1 labels were given for 2 panels"):
        sheet_of(None, [photo(0), photo(1)], "a")
    with pytest.raises(I2AMError, match="neither heat nor image is connected"):
        sheet_of(None, None)


def test_a_film_plays_images_side_by_side() -> None:
    heat = heat_of((0, 0, 0, 5, 5, 5))
    pictures = [photo(0), photo(1)]
    alone = frames(pictures, heat)
    played = film(pictures, heat)
    assert (len(alone), len(played)) == (6, 3)
    assert len({p.size for p in played}) == 1
    for step, shown in enumerate(played):
        left, right = (shown.crop(cell) for cell in shown.info["cells"])
        assert same(left, alone[step])
        assert same(right, alone[3 + step])
    assert len(film([photo(0)], heat_of((0, 0)))) == 2


def test_pictures_that_cannot_belong_to_the_heat() -> None:
    with pytest.raises(I2AMError, match="96 x 72 pixels, but the recorded generated image is 72 x 96"):
        overlays([photo(0, (72, 96))], heat_of((0,)))
    with pytest.raises(I2AMError, match="one size"):
        overlays([photo(0), photo(1, (48, 36))], heat_of((0, 1)))
    overlays([photo(0, (72, 96))], replace(heat_of((0,)), picture="reference"))  # its own shape is often unknown
