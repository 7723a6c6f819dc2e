"""Masks in every form that people save them in, and what cannot be a mask."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import MaskError
from ..geometry.mask_pictures import Warn, mask_values, upright
from .pictures import read_upright

log = logging.getLogger("i2am")

HANDS = (14, 15)
"""The left and the right arm, with its hand, in VITON-HD's parse maps (the labels of LIP)."""
MOST_LABELS = 20
"""Of these parse maps."""


def open_mask(path: Path, name: str = "mask", warn: Warn = log.warning) -> Image.Image:
    """A mask file as a picture of brightness, mode L, white = 1, upright; see `mask_values`.

    Raises:
        I2AMError: the file is missing or cannot be read.
        MaskError: it is no mask, or it cannot be told what it means.
    """
    values = mask_values(read_upright(path), f"{name} {path}", warn)
    return Image.fromarray((values * 255).round().astype(np.uint8))


def open_hands(path: Path, warn: Warn = log.warning) -> Image.Image:
    """The hands and arms of a parse map without the garment (VITON-HD's image-parse-agnostic-v3.2), white = 1, upright.

    Raises:
        I2AMError: the file is missing or cannot be read.
        MaskError: it is no map of labels.
    """
    picture = read_upright(path)
    labels = np.asarray(picture) if picture.mode in ("P", "L") else None
    if labels is None or labels.max(initial=0) >= MOST_LABELS:
        raise MaskError(
            f"{path} is not a parse map: expected a label of 0 to {MOST_LABELS - 1} per pixel, as a palette or grey picture "
            f"(image-parse-agnostic-v3.2 of VITON-HD); if it shows the hands white on black, give it as --hands"
        )
    if not np.isin(labels, HANDS).any():
        warn("the parse map %s shows no arm (labels %s)", path, " and ".join(map(str, HANDS)))
    return Image.fromarray(np.isin(labels, HANDS).astype(np.uint8) * 255)


def mask_tensor(picture: Image.Image, name: str = "mask") -> Tensor:
    """A mask in a Pillow picture as (1, H, W) in 0-1; see `mask_values`.

    Raises:
        MaskError: it is no mask, or it cannot be told what it means.
    """
    return torch.from_numpy(mask_values(upright(picture), name))[None]
