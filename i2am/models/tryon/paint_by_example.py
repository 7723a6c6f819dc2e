"""Paint-by-Example (Yang et al. 2023): repaints a hole in a picture after one token of the reference."""

from __future__ import annotations

from PIL import Image
from torch import Tensor

from ...geometry.resample import Size
from ..family import KEEP_MASK, Family
from ..resizing import by_area, pillow, smooth


def binary_mask(mask: Tensor, size: Size) -> Tensor:
    """The mask as 0 and 1: the authors turn it round first, so that exactly a half is kept."""
    return 1 - (1 - by_area(mask, size) >= 0.5).to(mask)


def see_bicubic(reference: Tensor, _masks: Tensor | None, _size: Size, seen: Size) -> Tensor:
    """The whole reference as Pillow resizes it by default, which is bicubic since Pillow 7 (nearest before)."""
    return pillow(Image.Resampling.BICUBIC)(reference, seen)


PAINT_BY_EXAMPLE = Family(
    name="paint-by-example",
    title="Paint-by-Example",
    channels=9,
    inputs=("agnostic", KEEP_MASK),
    size=(512, 512),
    needs=("inpaint_mask",),
    resize=smooth,  # the authors' script takes pictures of 512 x 512 alone
    resize_mask=binary_mask,
    see=see_bicubic,
)
