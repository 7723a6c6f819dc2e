"""Batches of pictures between a host's layout and the models' own, and between sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import I2AMError, MaskError
from .resample import Size


def to_size(pictures: Tensor, size: Size) -> Tensor:
    """Pictures (B, H, W, 3 or 4) in 0-1 as (B, 3, h, w) of ``size``; the same size leaves every number as it is.

    Raises:
        I2AMError: they are no batch of RGB pictures.
    """
    if pictures.ndim != 4 or pictures.shape[-1] not in (3, 4):
        raise I2AMError(f"expected pictures of shape (B, H, W, 3), got {tuple(pictures.shape)}")
    moved = pictures[..., :3].movedim(-1, 1).float()
    if tuple(moved.shape[-2:]) == tuple(size):
        return moved
    return torch.nn.functional.interpolate(moved, size, mode="bilinear", antialias=True).clamp(0, 1)


def mask_to_size(mask: Tensor, size: Size) -> Tensor:
    """A mask (B, H, W) or (H, W) in 0-1 as (B, 1, h, w) of ``size``, by area.

    Raises:
        MaskError: it is no mask.
    """
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3:
        raise MaskError(f"expected a mask of shape (B, H, W), got {tuple(mask.shape)}")
    return torch.nn.functional.interpolate(mask[:, None].float(), size, mode="area")


def as_many(batch: Tensor, count: int, name: str) -> Tensor:
    """One of a batch for each of ``count`` images; a single one serves all.

    Raises:
        I2AMError: there are neither one nor ``count``.
    """
    if len(batch) not in (1, count):
        raise I2AMError(f"{name} has {len(batch)} images where other inputs have {count}; give one, or {count}")
    return batch.expand(count, *batch.shape[1:])


def thumbnail(picture: Tensor) -> Tensor:
    """One picture (3, H, W) in 0-1 as (H, W, 3) uint8."""
    return (picture.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).contiguous()
