"""Pictures from files: upright, without transparency, in 8 bits, and errors that name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2am.commands.cli import main
from i2am.data.pictures import colours, in_colours, open_picture
from i2am.errors import I2AMError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
TURNS = {  # EXIF's orientations, by what brings the stored pixels upright
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p.transpose(1, 0, 2), 2),
    8: np.rot90,
}


def with_orientation(path: Path, number: int, pixels: np.ndarray = PIXELS) -> Path:
    exif = Image.Exif()
    exif[0x0112] = number
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize("number", TURNS)
def test_pictures_are_turned_as_their_exif_data_says(tmp_path: Path, number: int) -> None:
    shown = open_picture(with_orientation(tmp_path / "a.png", number))
    assert np.array_equal(np.array(shown), TURNS[number](PIXELS))


def test_a_picture_handed_over_unopened_is_turned_too(tmp_path: Path) -> None:
    with Image.open(with_orientation(tmp_path / "a.png", 6)) as picture:
        got = colours(picture)
    assert torch.equal(got, torch.from_numpy(np.rot90(PIXELS, -1).copy())[None] / 255)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_exif_data_that_is_broken_turns_nothing(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff")
    assert np.array_equal(np.array(open_picture(tmp_path / "a.png")), PIXELS)


@pytest.mark.parametrize(("background", "colour"), [("white", (255, 255, 255)), ("#204060", (32, 64, 96))])
def test_what_is_transparent_is_laid_over_a_colour(tmp_path: Path, background: str, colour: tuple[int, int, int]) -> None:
    alpha = np.array([[0, 51, 255, 204]] * 6, dtype=np.uint8)
    Image.fromarray(np.dstack([PIXELS, alpha])).save(tmp_path / "a.png")
    share = alpha[..., None] / 255
    expected = PIXELS * share + np.array(colour) * (1 - share)
    assert np.abs(np.array(open_picture(tmp_path / "a.png", background)).astype(float) - expected).max() <= 1
    grey = Image.new("LA", (2, 2), (10, 0))
    assert in_colours(grey, background).getpixel((0, 0)) == colour
    clear = Image.new("P", (2, 2), 1)
    clear.info["transparency"] = 1
    assert in_colours(clear, background).getpixel((1, 1)) == colour


def test_an_unknown_colour_is_refused() -> None:
    with pytest.raises(I2AMError, match="no colour 'shiny'; give a name such as white"):
        in_colours(Image.new("RGBA", (1, 1)), "shiny")


def test_pictures_of_16_bits_are_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.array_equal(np.array(open_picture(tmp_path / "a.png"))[0, :, 0], [0, 100, 255])


def cut(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.webp"])
def test_a_picture_that_is_not_whole_is_named(tmp_path: Path, name: str) -> None:
    cut(tmp_path / name)
    with pytest.raises(I2AMError, match=f"{name} (cannot be read as a picture|is not a picture)"):
        open_picture(tmp_path / name)


def test_a_decompression_bomb_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(I2AMError, match=r"large\.png is too large to open safely"):
        open_picture(tmp_path / "large.png")


def test_the_commands_read_pictures_that_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut(tmp_path / "cut.png")
    given = ["run", "--model", "none", "--reference", str(tmp_path / "cut.png")]
    assert main(given) == 2
    assert "cut.png cannot be read as a picture" in capsys.readouterr().err
    Image.fromarray(np.dstack([PIXELS, PIXELS[..., :1]])).save(tmp_path / "r.png")
    assert main(["run", "--model", "none", "--reference", str(tmp_path / "r.png"), "--background", "shiny"]) == 2
    assert "no colour 'shiny'" in capsys.readouterr().err
