"""Pictures from files, as a person sees them: upright, without transparency, in 8 bits."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageColor, UnidentifiedImageError
from torch import Tensor

from ..errors import I2AMError
from ..geometry.mask_pictures import DAMAGED, SIXTEEN, upright

WHITE = "white"
ORIENTATION = 0x0112
"""The EXIF tag."""
MOST_PIXELS = 89_478_485
"""Of a picture: beyond them Pillow warns that it may be made to fill the memory."""


def read_upright(path: Path) -> Image.Image:
    """A picture file in the mode that it is stored in, turned as its EXIF data says.

    Raises:
        I2AMError: the file is missing, is no picture, is not whole or is too large to open safely; names it.
    """
    if path.is_dir():
        raise I2AMError(f"{path} is a folder; give a picture file")
    try:
        with Image.open(path) as file:
            if file.width * file.height > MOST_PIXELS:
                raise I2AMError(
                    f"{path} is too large to open safely ({file.width} x {file.height} pixels; the most is "
                    f"{MOST_PIXELS / 1e6:.0f} million); give a smaller picture"
                )
            file.load()
            return upright(file)
    except FileNotFoundError:
        raise I2AMError(f"there is no file {path}") from None
    except UnidentifiedImageError:
        raise I2AMError(f"{path} is not a picture that can be read; give a PNG or JPEG") from None
    except Image.DecompressionBombError as error:
        raise I2AMError(f"{path} is too large to open safely ({error}); give a smaller picture") from error
    except DAMAGED as error:
        raise I2AMError(f"{path} cannot be read as a picture ({error}); it is damaged or not whole: save it again") from error


def without_warnings() -> None:
    """Keep Pillow from warning of large pictures in this whole process: `read_upright` refuses them in words of its own."""
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def is_turned(path: Path) -> bool:
    """Whether a picture file is to be turned as its EXIF data says; one that cannot be read is not."""
    try:
        with Image.open(path) as file:
            return file.getexif().get(ORIENTATION, 1) != 1
    except (*DAMAGED, Image.DecompressionBombError):
        return False


def open_picture(path: Path, background: str = WHITE) -> Image.Image:
    """A picture file as RGB: upright, with what is transparent laid over a colour.

    Args:
        path: the file.
        background: a colour as Pillow names it, such as "white", "grey" or "#f0f0f0".

    Raises:
        I2AMError: as `read_upright`, or there is no such colour.
    """
    return in_colours(read_upright(path), background)


def in_colours(picture: Image.Image, background: str = WHITE) -> Image.Image:
    """A picture in any mode as RGB, with what is transparent laid over a colour.

    Raises:
        I2AMError: there is no such colour.

    >>> in_colours(Image.new("RGBA", (1, 1), (10, 20, 30, 0))).getpixel((0, 0))
    (255, 255, 255)
    """
    below = colour_of(background)
    if picture.mode == "F" or picture.mode.startswith("I"):
        values = np.asarray(picture, dtype=np.float64)
        picture = Image.fromarray(
            (values * 255 / (SIXTEEN if values.max(initial=0) > 255 else 255)).clip(0, 255).astype(np.uint8)
        )
    if "A" in picture.getbands() or "transparency" in picture.info:
        over = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, below), over).convert("RGB")
    return picture.convert("RGB")


def colour_of(name: str) -> tuple[int, int, int, int]:
    """A colour by its name in Pillow, opaque.

    Raises:
        I2AMError: there is no such colour.
    """
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError:
        raise I2AMError(f"there is no colour {name!r}; give a name such as white or grey, or one such as #f0f0f0") from None
    return red, green, blue, 255


def colours(picture: Image.Image) -> Tensor:
    """A picture as (1, H, W, 3) in 0-1, upright, with what is transparent laid over white."""
    return torch.from_numpy(np.array(in_colours(upright(picture)), dtype=np.float32) / 255)[None]
