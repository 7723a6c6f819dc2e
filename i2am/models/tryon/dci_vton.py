"""DCI-VTON (Gou et al. 2023): Paint-by-Example with the garment, already laid on the body, pasted into the hole."""

from __future__ import annotations

from torch import Tensor

from ..family import KEEP_MASK, Family, Pictures


def paste_warped(pictures: Pictures) -> Tensor:
    """The agnostic picture with the warped garment in the hole, (B, 3, H, W) in 0-1."""
    mask = pictures["inpaint_mask"]
    return pictures["agnostic"] * (1 - mask) + pictures["warped"] * mask


DCI_VTON = Family(
    name="dci-vton",
    title="DCI-VTON",
    channels=9,
    inputs=("pasted", KEEP_MASK),
    size=(512, 512),
    needs=("inpaint_mask", "warped"),
    composed={"pasted": paste_warped},
    start="pasted",
    cfg=1.0,
    steps=100,
    crops_reference=True,
    leftovers=("vgg.",),  # the network of its training's perceptual loss
)
