"""How pictures and masks change their size; each family's file states which of these ways its authors take."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..geometry.resample import Size

Resize = Callable[[Tensor, Size], Tensor]
"""Pictures (B, 3, H, W) or masks (B, 1, H, W) in 0-1 to another (H, W); at their own size every number stays as it is.

The result is contiguous: the autoencoder's group norm on the CPU loses digits on channels-last tensors.
"""


def smooth(x: Tensor, size: Size) -> Tensor:
    """Bilinear with antialias: a picture that shrinks is averaged over all of its old pixels."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x.contiguous()
    return F.interpolate(x, size, mode="bilinear", antialias=True).clamp(0, 1).contiguous()


def linear(x: Tensor, size: Size) -> Tensor:
    """Bilinear between the four nearest old pixels, without antialias.

    >>> linear(torch.tensor([[[[0.0, 0.0, 0.0, 1.0]]]]), (1, 1)).item()
    0.0
    """
    if tuple(x.shape[-2:]) == tuple(size):
        return x.contiguous()
    return F.interpolate(x, size, mode="bilinear").contiguous()


def nearest(x: Tensor, size: Size) -> Tensor:
    """The old pixel below each new one's centre, as Pillow's NEAREST picks it."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x.contiguous()
    return F.interpolate(x, size, mode="nearest-exact").contiguous()


def by_area(x: Tensor, size: Size) -> Tensor:
    """The mean over the area of each new pixel."""
    return F.interpolate(x, size, mode="area").contiguous()


def eight_bit(resize: Resize) -> Resize:
    """The same on pictures of 8 bits, whose values stay whole steps of 1/255."""

    def resized(x: Tensor, size: Size) -> Tensor:
        if tuple(x.shape[-2:]) == tuple(size):
            return x.contiguous()
        return (resize(x, size) * 255).round() / 255

    return resized


def pillow(resample: Image.Resampling) -> Resize:
    """What Pillow makes of pictures of 8 bits; with BILINEAR and BICUBIC it averages where they shrink."""

    def resized(x: Tensor, size: Size) -> Tensor:
        if tuple(x.shape[-2:]) == tuple(size):
            return x.contiguous()
        pixels = (x.clamp(0, 1) * 255).round().byte().movedim(1, -1).cpu().numpy()
        made = [Image.fromarray(np.ascontiguousarray(one)).resize((size[1], size[0]), resample) for one in pixels]
        return torch.from_numpy(np.stack([np.asarray(one) for one in made])).movedim(-1, 1).contiguous().to(x) / 255

    return resized


def binary(resize: Resize, threshold: float = 0.5) -> Resize:
    """A mask that is resized and then cut to 0 and 1; the threshold itself is 1.

    >>> binary(by_area)(torch.tensor([[[[0.4, 0.5, 0.6]]]]), (1, 3)).tolist()
    [[[[0.0, 1.0, 1.0]]]]
    """

    def resized(x: Tensor, size: Size) -> Tensor:
        return (resize(x, size) >= threshold).to(x)

    return resized
