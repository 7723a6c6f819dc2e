"""DCI-VTON (Gou et al. 2023): Paint-by-Example with the garment, already laid on the body, pasted into the hole.

Its authors have two versions of it, which differ in the pictures alone. In version 1 the U-Net sees the paste-in with the
person's hands over it, and the sampler starts from the paste-in without them. In version 2 the hands are not in the hole.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from ...errors import I2AMError, MaskError
from ...geometry.resample import Size
from ..family import KEEP_MASK, Family, Pictures
from ..resizing import binary, linear, nearest, pillow

GREY = 0.5
"""What "warped" shows where there is no garment."""
GROWN = 0.15
"""By what share of its size the box around the garment grows; the authors draw it from 0.1 to 0.2 for each picture."""

picture_to = pillow(Image.Resampling.BILINEAR)
mask_to = binary(nearest)


def paste(pictures: Pictures) -> Tensor:
    """What the sampler starts from, (B, 3, H, W): the warped garment in the hole.

    With "hands_mask" (version 1) around it is the person. Otherwise it is added to the agnostic picture, which is grey in the
    hole (version 2; an agnostic picture made of the person gives the same as version 1 without hands).

    Raises:
        I2AMError: there is a "hands_mask", but no "person".
    """
    mask, warped = pictures["inpaint_mask"], pictures["warped"]
    if "hands_mask" not in pictures:
        return pictures["agnostic"] + (warped - GREY) * mask
    if "person" not in pictures:
        raise I2AMError("hands_mask is for DCI-VTON's version 1, which starts from the person: connect person too")
    return warped * mask + pictures["person"] * (1 - mask)


def paste_below_hands(pictures: Pictures) -> Tensor:
    """What the U-Net sees, (B, 3, H, W): the same, with the hands of the agnostic picture over it where they are given."""
    pasted = paste(pictures)
    if "hands_mask" not in pictures:
        return pasted
    hands = pictures["hands_mask"]
    return pasted * (1 - hands) + pictures["agnostic"] * hands


def see_garment(reference: Tensor, masks: Tensor | None, size: Size, seen: Size) -> Tensor:
    """The reference at the generated picture's size, cut to its mask, and brought to what the encoder takes.

    The last step is torchvision's on tensors: without antialias as in the authors' version, with it from 0.17 on.

    Raises:
        MaskError: a mask is empty, or of another size than its picture.
    """
    if masks is not None and masks.shape[2:] != reference.shape[2:]:
        raise MaskError(
            f"the reference mask is {masks.shape[-2]} x {masks.shape[-1]} pixels, its picture {reference.shape[2]} x "
            f"{reference.shape[3]}; give a mask of the picture's own size"
        )
    whole = picture_to(reference, size)
    if masks is None:
        return linear(whole, seen)
    boxes = [_box(mask[0]) for mask in mask_to(masks, size)]
    return torch.cat([linear(one[None, :, rows, columns], seen) for one, (rows, columns) in zip(whole, boxes, strict=True)])


def _box(mask: Tensor) -> tuple[slice, slice]:
    """Rows and columns of the box around what a mask (H, W) covers, grown around its middle pixel."""
    covered = mask.nonzero()
    if not len(covered):
        raise MaskError("the reference mask is empty: no pixel is 1, so there is nothing to cut the reference to; paint it")
    sides = []
    for first, last, side in zip(covered.amin(0).tolist(), covered.amax(0).tolist(), mask.shape):
        middle = GROWN * ((first + last) // 2)
        begin, end = first * (1 + GROWN) - middle, last * (1 + GROWN) - middle + 1
        sides.append(slice(int(max(begin, 0)), int(min(end, side))))
    return sides[0], sides[1]


DCI_VTON = Family(
    name="dci-vton",
    title="DCI-VTON",
    channels=9,
    inputs=("pasted", KEEP_MASK),
    size=(512, 512),
    shown=(512, 384),
    needs=("inpaint_mask", "warped"),
    takes=("hands_mask",),
    composed={"pasted": paste_below_hands, "paste_in": paste},
    start="paste_in",
    cfg=1.0,
    steps=100,
    sampler="plms",
    resize=picture_to,
    resize_mask=mask_to,
    see=see_garment,
    crops_reference=True,
    leftovers=("vgg.",),  # the network of its training's perceptual loss
)
