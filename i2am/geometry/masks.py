"""Masks as tensors, from whatever form they come in."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import MaskError
from .mask_pictures import mask_values, upright

MaskLike = Tensor | np.ndarray | Image.Image


def as_mask(mask: MaskLike, name: str = "mask") -> Tensor:
    """A mask as a float tensor: arrays as they are; a Pillow picture as what it means, see `mask_values`.

    Raises:
        MaskError: it is a picture that is no mask, it cannot be told what it means, or it is of another type.

    >>> as_mask(Image.new("L", (3, 1), 255))
    tensor([[1., 1., 1.]])
    """
    if isinstance(mask, Image.Image):
        mask = mask_values(upright(mask), name)
    try:
        return torch.as_tensor(mask).detach().float().cpu()
    except (TypeError, ValueError) as error:
        raise MaskError(
            f"the {name} is a {type(mask).__name__}, expected a Pillow picture, an array or a tensor; Image.open reads a file"
        ) from error


def mask_of(masks: MaskLike, image: int, images: int, name: str) -> Tensor:
    """The (H, W) mask of one image out of a MASK, (1 or images, H, W) or (H, W), or a Pillow picture.

    Raises:
        MaskError: it holds the wrong number of masks, or is not a MASK.

    >>> tuple(mask_of(torch.ones(2, 64, 48), 1, 2, "inpainting mask").shape)
    (64, 48)
    """
    masks = as_mask(masks, name)
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.ndim == 4 and masks.shape[1] == 1:  # some nodes pass (B, 1, H, W)
        masks = masks[:, 0]
    if masks.ndim != 3:
        raise MaskError(f"the {name} has the shape (masks, height, width), got {tuple(masks.shape)}")
    if len(masks) not in (1, images):
        raise MaskError(f"the {name} holds {len(masks)} masks, but the run had {images} image(s); give one, or one per image")
    return masks[image if len(masks) > 1 else 0]


def check_finite(mask: Tensor, name: str) -> None:
    """Refuse a mask with values that are no numbers.

    Raises:
        MaskError: it holds NaN or infinity.
    """
    if not bool(torch.isfinite(mask).all()):
        raise MaskError(f"the {name} holds NaN or infinity, expected values from 0 to 1; look at the node or code that made it")


def check_range(mask: Tensor, name: str) -> None:
    """Refuse a mask with values outside of 0 to 1.

    Raises:
        MaskError: it has such values, or NaN.
    """
    check_finite(mask, name)
    low, high = float(mask.min()), float(mask.max())
    if low < 0 or high > 1:
        raise MaskError(f"the {name} holds values from {low:g} to {high:g}, expected 0 to 1: scale it")


def mask_to_score(mask: MaskLike, name: str) -> Tensor:
    """One mask, (H, W) in 0-1, with an inside and an outside.

    Raises:
        MaskError: it is not one mask, has values outside 0-1, is empty, or covers everything.
    """
    out = as_mask(mask, name)
    while out.ndim > 2 and out.shape[0] == 1:
        out = out[0]
    if out.ndim != 2:
        raise MaskError(f"the {name} is one mask of shape (H, W), got {tuple(out.shape)}")
    check_range(out, name)
    if not float(out.sum()) > 0:
        raise MaskError(f"the {name} is empty: no pixel is 1, so there is no inside to score")
    if not float((1 - out).sum()) > 0:
        raise MaskError(f"the {name} covers the whole picture: its complement is empty, so there is no outside to score")
    return out


def has_two_sides(mask: Tensor) -> bool:
    """Whether every one of some masks (B, H, W) in 0-1 has an inside and an outside.

    >>> has_two_sides(torch.tensor([[[0.0, 1.0]]])), has_two_sides(torch.ones(1, 2, 2))
    (True, False)
    """
    return bool(((mask.flatten(1).amax(1) > 0) & (mask.flatten(1).amin(1) < 1)).all())
