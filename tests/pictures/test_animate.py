"""All panels of a heat: side by side, and one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing import SMALL, bare, cells_of, heat_fixture, heat_of, margin_is_white, photo, pixels  # noqa: F401
from PIL import Image

from i2am.errors import I2AMError
from i2am.levels.heat import Heat
from i2am.pictures.bar import colour_bar
from i2am.pictures.film import animation, film, frames
from i2am.pictures.look import Look
from i2am.pictures.matching import meet
from i2am.pictures.panels import panels

# --- all panels ---------------------------------------------------------------------------------------------


def test_panels_are_the_overlays_of_one_scale(heat: Heat) -> None:
    picture = photo(300, 225)
    out = panels(picture, heat, width=225)
    for panel, got in enumerate(cells_of(out)):
        assert (got == bare(picture, heat, panel, scale="shared")).all()
    each = cells_of(panels(picture, heat, Look(scale="each"), width=225))
    assert (each[0] != cells_of(out)[0]).any()
    assert (each[0] == bare(picture, heat, 0)).all()


@pytest.mark.parametrize("count", [1, 8, 64])
@pytest.mark.parametrize("size", [(64, 64), (1024, 768)])
def test_panels_of_any_number_stay_readable_and_bounded(count: int, size: tuple[int, int]) -> None:
    values = torch.rand(count, 8, 6, generator=torch.Generator().manual_seed(0))
    out = panels(photo(*size), heat_of(values, unplaced=(0.1,) * count), Look(scale="each"))
    widths = {right - left for left, _, right, _ in out.info["cells"]}
    assert len(out.info["cells"]) == count
    assert len(widths) == 1
    assert min(widths) >= 150
    assert out.width < 2400
    assert margin_is_white(out, 8)


def test_panels_refuse(heat: Heat) -> None:
    for arguments in ({"columns": 0}, {"width": 0}):
        with pytest.raises(I2AMError):
            panels(photo(), heat, **arguments)
    for look in ({"scale": "none"}, {"threshold": 3.0}):
        with pytest.raises(I2AMError):
            panels(photo(), heat, Look(**look))  # type: ignore[arg-type]


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


def of_video(images: Sequence[int], frames: int = 3, panels: int = 1) -> Heat:
    """Panels, all different, of images that are latent frames."""
    values = torch.rand(len(images) * panels, 2, 3, generator=torch.Generator().manual_seed(1))
    labels = tuple(f"{image} {panel}" for image in images for panel in range(panels))
    owners = tuple(image for image in images for _ in range(panels))
    return Heat(values, "R2G", "generated", "TLAM", labels, (8, 12), images=owners, frames=frames)


def grey(count: int) -> list[Image.Image]:
    """Pictures that can be told apart."""
    return [Image.new("RGB", (12, 8), (10 * i, 10 * i, 10 * i)) for i in range(count)]


def test_decoded_frames_meet_the_latent_frames_that_hold_them() -> None:
    nine, heat = grey(9), of_video((0, 1, 2))
    met, found = meet(heat, nine)
    assert (met.labels, found) == (heat.labels, [nine[0], nine[4], nine[8]])
    met, found = meet(heat, nine, spread=True)
    assert found == nine
    assert met.images == (0, 1, 1, 1, 1, 2, 2, 2, 2)
    assert torch.equal(met.values, heat.values[list(met.images)])
    met, found = meet(of_video((1,)), nine, spread=True)
    assert (met.images, found) == ((1,) * 4, nine[1:5])
    assert meet(of_video((1,)), nine)[1] == [nine[4]]
    met, found = meet(of_video((3, 5)), grey(18))
    assert found == [grey(18)[9], grey(18)[17]], "of the second video"
    by_time = of_video((0, 1, 2), panels=3)
    assert meet(by_time, nine, spread=True)[1] == [nine[i] for i in (0, 0, 0, 4, 4, 4, 8, 8, 8)]
    for count in (1, 3):
        assert len(meet(heat, grey(count))[1]) == 3
    for count in (2, 8, 10):
        with pytest.raises(
            I2AMError, match=rf"{count} pictures.*or all 9 frames that the 3 latent frames of a video decode to"
        ):
            meet(heat, grey(count))
    with pytest.raises(I2AMError, match="9 pictures do not fit"):
        meet(of_video((3, 4)), nine)


def test_maps_on_a_reference_of_a_video_take_no_decoded_frames() -> None:
    heat = replace(of_video((0, 1, 2)), picture="reference", side="G2R")
    assert meet(heat, grey(3), spread=True)[1] == grey(3)
    for count in (8, 9):
        with pytest.raises(I2AMError, match=rf"{count} pictures do not fit.*one per image or one per panel$"):
            meet(heat, grey(count), spread=True)


def test_a_video_plays_and_several_play_side_by_side() -> None:
    one = film(grey(9), of_video((0, 1, 2)))
    assert len(one) == 9
    two = film(grey(18), of_video(range(6)))
    assert len(two) == 9
    assert two[0].width > 1.5 * one[0].width
    assert len(film(grey(3), of_video((0, 1, 2)))) == 3
    by_time = film(grey(9), of_video((0, 1, 2), panels=2))
    assert len(by_time) == 2, "over the steps, the latent frames side by side"
