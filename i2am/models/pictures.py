"""Batches of pictures: from a host's layout to the models' own, and from one size to another."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import I2AMError, MaskError
from ..geometry.resample import Size


def to_size(pictures: Tensor, size: Size) -> Tensor:
    """Pictures (B, H, W, 3 or 4) in 0-1 as (B, 3, h, w) of ``size``; the same size leaves every number as it is.

    Raises:
        I2AMError: they are not a batch of RGB pictures.
    """
    if pictures.ndim != 4 or pictures.shape[-1] not in (3, 4):
        raise I2AMError(f"expected pictures of shape (B, H, W, 3), got {tuple(pictures.shape)}")
    moved = pictures[..., :3].movedim(-1, 1).float()
    if tuple(moved.shape[-2:]) == tuple(size):
        return moved
    return torch.nn.functional.interpolate(moved, size, mode="bilinear", antialias=True).clamp(0, 1)


def to_size_cropped(pictures: Tensor, masks: Tensor, size: Size, grow: float = 0.15) -> Tensor:
    """Pictures (B, H, W, 3) cut to what their masks cover, brought to ``size``: (B, 3, h, w).

    Args:
        pictures: in 0-1.
        masks: (B or 1, H, W) in 0-1; 0.5 and more is covered.
        size: of the result, in pixels.
        grow: by what share of its size the box grows around its centre; DCI-VTON's authors draw it from 0.1 to 0.2.

    Raises:
        MaskError: a mask is empty, or of another size than the pictures.
        I2AMError: they are not a batch of RGB pictures, or there is neither one mask nor one per picture.
    """
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.shape[1:] != pictures.shape[1:3]:
        raise MaskError(
            f"the reference mask is {masks.shape[-2]} x {masks.shape[-1]} pixels, its picture {pictures.shape[1]} x "
            f"{pictures.shape[2]}; give a mask of the picture's own size"
        )
    masks = as_many(masks, len(pictures), "reference_mask")
    cut = []
    for one, mask in zip(pictures, masks, strict=True):
        rows, columns = _box(mask, grow)
        cut.append(to_size(one[None, rows, columns], size))
    return torch.cat(cut)


def _box(mask: Tensor, grow: float) -> tuple[slice, slice]:
    """Rows and columns of the box around what a mask (H, W) covers, grown around its centre."""
    covered = (mask >= 0.5).nonzero()
    if not len(covered):
        raise MaskError("the reference mask is empty: no pixel is 1, so there is nothing to cut the reference to; paint it")
    first, last = covered.amin(0).tolist(), (covered.amax(0) + 1).tolist()
    more = [grow * (b - a) / 2 for a, b in zip(first, last)]
    rows, columns = (
        slice(max(0, round(a - m)), min(side, round(b + m))) for a, b, m, side in zip(first, last, more, mask.shape)
    )
    return rows, columns


def mask_to_size(mask: Tensor, size: Size) -> Tensor:
    """A mask (B, H, W) or (H, W) in 0-1 as (B, 1, h, w) of ``size``, by area.

    Raises:
        MaskError: it is not a mask.
    """
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3:
        raise MaskError(f"expected a mask of shape (B, H, W), got {tuple(mask.shape)}")
    return torch.nn.functional.interpolate(mask[:, None].float(), size, mode="area")


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
