"""Batches of pictures and masks: from a host's layout to the models' own."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import I2AMError, MaskError
from ..geometry.resample import Size
from .resizing import Resize, by_area, smooth


def to_size(pictures: Tensor, size: Size, resize: Resize = smooth) -> Tensor:
    """Pictures (B, H, W, 3 or 4) in 0-1 as (B, 3, h, w) of ``size``, contiguous; the same size leaves every number as it is.

    What is transparent (the fourth channel, 0 = clear) is laid over white.

    Raises:
        I2AMError: they are not a batch of pictures in colours.
    """
    return resize(channels_first(pictures), size)


def channels_first(pictures: Tensor) -> Tensor:
    """Pictures (B, H, W, 3 or 4) in 0-1 as (B, 3, H, W), contiguous; what is transparent is laid over white.

    Raises:
        I2AMError: they are not a batch of pictures in colours.
    """
    if pictures.ndim != 4 or pictures.shape[-1] not in (3, 4):
        raise I2AMError(f"expected pictures of shape (B, H, W, 3), got {tuple(pictures.shape)}")
    moved = pictures.movedim(-1, 1).float()
    if moved.shape[1] == 4:
        moved = moved[:, :3] * moved[:, 3:] + (1 - moved[:, 3:])
    return moved.contiguous()


def mask_to_size(mask: Tensor, size: Size, resize: Resize = by_area) -> Tensor:
    """A mask as `one_channel` takes it, resized to (B, 1, h, w).

    Raises:
        MaskError: it is not a mask in 0-1.
    """
    return resize(one_channel(mask), size)


def one_channel(mask: Tensor, name: str = "mask") -> Tensor:
    """A mask (B, H, W), (H, W) or (B, 1, H, W) in 0-1 as (B, 1, H, W).

    Raises:
        MaskError: it is not a mask in 0-1.
    """
    shape = tuple(mask.shape)
    mask = mask[:, 0] if len(shape) == 4 and shape[1] == 1 else mask  # some nodes pass (B, 1, H, W)
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or not mask.numel():
        raise MaskError(f"the {name} has the shape {shape}, expected (B, H, W)")
    low, high = float(mask.min()), float(mask.max())
    if not 0 <= low <= high <= 1:
        raise MaskError(f"the {name} holds values from {low:g} to {high:g}, expected 0 to 1: scale it")
    return mask[:, None].float()


def as_many(batch: Tensor, count: int, name: str) -> Tensor:
    """A batch of ``count``; a single one is repeated.

    Raises:
        I2AMError: there is neither one nor ``count``.
    """
    if len(batch) not in (1, count):
        raise I2AMError(f"{name} has {len(batch)} images where other inputs have {count}; give one, or {count}")
    return batch.expand(count, *batch.shape[1:])


def thumbnail(picture: Tensor) -> Tensor:
    """One picture (3, H, W) in 0-1 as (H, W, 3) uint8."""
    return (picture.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).contiguous()
