"""Pictures and masks from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..errors import I2AMError


def open_picture(path: Path) -> Image.Image:
    """A picture as RGB.

    Raises:
        I2AMError: the file is missing or is not a picture.
    """
    try:
        return Image.open(path).convert("RGB")
    except FileNotFoundError:
        raise I2AMError(f"there is no file {path}") from None
    except UnidentifiedImageError:
        raise I2AMError(f"{path} is not a picture that can be read; give a PNG or JPEG") from None


def colours(picture: Image.Image) -> Tensor:
    """A picture as (1, H, W, 3) in 0-1."""
    return torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float32) / 255)[None]


def grey(picture: Image.Image) -> Tensor:
    """A mask as (1, H, W) in 0-1."""
    return torch.from_numpy(np.asarray(picture.convert("L"), dtype=np.float32) / 255)[None]
