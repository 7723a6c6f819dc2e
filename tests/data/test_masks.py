"""Masks in every form that people save them in: each means what a person means by it, or is refused by name."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2am.data.checks import check_masks
from i2am.data.masks import mask_tensor, open_hands, open_mask
from i2am.errors import I2AMError, MaskError
from i2am.geometry.mask_pictures import mask_values
from i2am.geometry.masks import as_mask, mask_of, mask_to_score

INSIDE = np.zeros((30, 20), bool)
INSIDE[5:20, 4:15] = True
PHOTO = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
WHITE = (INSIDE * 255).astype(np.uint8)


def palette(colours: list[int]) -> Image.Image:
    picture = Image.fromarray(INSIDE.astype(np.uint8), "P")
    picture.putpalette(colours)
    return picture


def with_alpha(colours: np.ndarray | int) -> Image.Image:
    shown = np.broadcast_to(np.asarray(colours, np.uint8), (30, 20, 3))
    return Image.fromarray(np.dstack([shown, WHITE]))


FORMS = {
    "0 and 1": Image.fromarray(INSIDE.astype(np.uint8)),
    "0 and 255": Image.fromarray(WHITE),
    "one bit": Image.fromarray(INSIDE),
    "16 bits": Image.fromarray((INSIDE * 65535).astype(np.uint16)),
    "0 and 1 in 16 bits": Image.fromarray(INSIDE.astype(np.uint16)),
    "0 and 255 in 16 bits": Image.fromarray(WHITE.astype(np.uint16)),
    "32 bits": Image.fromarray((INSIDE * 255).astype(np.int32)),
    "numbers": Image.fromarray(INSIDE.astype(np.float32)),
    "palette, black and white": palette([0, 0, 0, 255, 255, 255]),
    "palette, two colours": palette([0, 0, 0, 128, 0, 0]),
    "palette, nearly black": palette([0, 0, 0, 1, 1, 1]),
    "colours that are grey": Image.fromarray(WHITE).convert("RGB"),
    "one colour on black": Image.fromarray(np.dstack([WHITE, WHITE * 0, WHITE * 0])),
    "alpha over black": with_alpha(0),
    "alpha over white": with_alpha(255),
    "alpha over a photo": with_alpha(PHOTO),
    "alpha over itself": Image.fromarray(np.dstack([WHITE] * 4)),
    "opaque": Image.fromarray(np.dstack([WHITE] * 3 + [WHITE * 0 + 255])),
    "grey with alpha": Image.fromarray(np.dstack([WHITE * 0, WHITE]), "LA"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_means_the_same(tmp_path: Path, form: str) -> None:
    picture = FORMS[form]
    assert np.array_equal(mask_values(picture), INSIDE.astype(np.float32))
    for read in (as_mask(picture), mask_to_score(picture, "mask"), mask_of(picture, 0, 1, "mask")):
        assert torch.equal(read, torch.from_numpy(INSIDE).float())
    name = tmp_path / ("mask.tiff" if picture.mode in ("F", "I") else "mask.png")
    picture.save(name)
    assert np.array_equal(np.array(open_mask(name)), WHITE)
    assert torch.equal(mask_tensor(open_mask(name)), torch.from_numpy(INSIDE).float()[None])


def test_the_library_refuses_a_photo_as_a_mask_by_name() -> None:
    with pytest.raises(MaskError, match="the inpainting mask is a picture in colours, not a mask"):
        mask_to_score(Image.fromarray(PHOTO), "inpainting mask")


def test_a_jpeg_of_a_mask_and_a_soft_one_stay_shades(tmp_path: Path) -> None:
    Image.fromarray(WHITE).convert("RGB").save(tmp_path / "mask.jpg", quality=80)
    assert np.array_equal(np.array(open_mask(tmp_path / "mask.jpg")) >= 128, INSIDE)
    soft = Image.fromarray(np.linspace(0, 255, 600).round().astype(np.uint8).reshape(30, 20))
    assert np.array_equal(np.array(soft) / np.float32(255), mask_values(soft))


def test_masks_are_turned_as_their_exif_data_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(WHITE).save(tmp_path / "mask.png", exif=exif)
    assert np.array_equal(np.array(open_mask(tmp_path / "mask.png")), np.rot90(WHITE, -1))


WRONG = {
    "a photo": (Image.fromarray(PHOTO), "is a picture in colours, not a mask; .* agnostic picture"),
    "labels": (Image.fromarray((PHOTO[..., 0] % 5).astype(np.uint8), "P"), "map of 5 labels"),
    "nowhere white": (Image.fromarray(INSIDE.astype(np.uint8) * 20), "nowhere white: its brightest value is 20"),
    "two masks": (Image.fromarray(np.dstack([WHITE[::-1]] * 3 + [WHITE])), "holds two masks that differ"),
    "odd numbers": (Image.fromarray(INSIDE.astype(np.float32) * -3), "holds values from -3 to"),
}
WRONG["labels"][0].putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128])


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_mask_is_refused_by_name(tmp_path: Path, case: str) -> None:
    picture, text = WRONG[case]
    path = tmp_path / ("odd.tiff" if picture.mode == "F" else "odd.png")
    picture.save(path)
    with pytest.raises(MaskError, match=text) as error:
        open_mask(path, "--mask")
    assert "--mask" in str(error.value)
    assert path.name in str(error.value)


def test_hands_come_from_a_parse_map(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 20, (30, 20), dtype=np.uint8)
    parse = Image.fromarray(labels, "P")
    parse.putpalette([int(x) for x in np.random.default_rng(2).integers(0, 256, 60)])
    parse.save(tmp_path / "parse.png")
    expected = ((labels == 14) | (labels == 15)) * 255
    assert np.array_equal(np.array(open_hands(tmp_path / "parse.png")), expected)
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    with pytest.raises(MaskError, match=r"photo\.png is not a parse map"):
        open_hands(tmp_path / "photo.png")


# ---------------------------------------------------------------------------------------- whether they fit their pictures


def shown(size: tuple[int, int] = (20, 30), colour: object = (200, 180, 90)) -> Image.Image:
    return Image.new("RGB", size, colour)


def told(caplog: pytest.LogCaptureFixture, **pictures: Image.Image) -> str:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "i2am"):
        check_masks(pictures)
    return caplog.text


def test_right_masks_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    agnostic = np.array(shown())
    agnostic[INSIDE] = 128
    garment = np.array(shown(colour=(255, 255, 255)))
    garment[INSIDE] = (10, 60, 120)
    mask = Image.fromarray(WHITE)
    pictures = {"person": shown(), "agnostic": Image.fromarray(agnostic), "reference": Image.fromarray(garment)}
    assert not told(caplog, inpaint_mask=mask, reference_mask=mask, **pictures)
    assert not told(caplog, inpaint_mask=mask, person=shown())


def test_inverted_masks_are_told(caplog: pytest.LogCaptureFixture) -> None:
    agnostic = np.array(shown())
    agnostic[INSIDE] = 128
    inverted = Image.fromarray(255 - WHITE)
    assert "is it inverted? White = to repaint" in told(caplog, inpaint_mask=inverted, agnostic=Image.fromarray(agnostic))
    assert "black in the middle: is it inverted" in told(caplog, inpaint_mask=inverted, person=shown())
    garment = np.array(shown(colour=(255, 255, 255)))
    garment[INSIDE] = (10, 60, 120)
    assert "is it inverted? White = the object" in told(caplog, reference_mask=inverted, reference=Image.fromarray(garment))


def test_masks_of_another_shape_are_refused_or_told(caplog: pytest.LogCaptureFixture) -> None:
    mask = Image.fromarray(WHITE)
    with pytest.raises(I2AMError, match="the reference_mask is 30 x 20 pixels, but the reference picture is 20 x 30"):
        check_masks({"reference_mask": mask.transpose(Image.Transpose.ROTATE_90), "reference": shown()})
    cropped = told(caplog, inpaint_mask=mask.crop((0, 0, 20, 22)), person=shown())
    assert "inpaint_mask is 20 x 22 pixels, the picture of the person 20 x 30: it is stretched" in cropped
    assert not told(caplog, inpaint_mask=mask.resize((40, 60)), person=shown())


@pytest.mark.parametrize(("shade", "text"), [(0, "all black: nothing is to be repainted"), (255, "all white: nothing")])
def test_an_inpainting_mask_without_an_inside_or_an_outside_is_refused(shade: int, text: str) -> None:
    with pytest.raises(MaskError, match=f"the inpaint_mask is {text}"):
        check_masks({"inpaint_mask": Image.new("L", (20, 30), shade), "person": shown()})
