"""The masks that a recording keeps, which need not be given again."""

from __future__ import annotations

from torch import Tensor

from ..maps.facts import REFERENCE_MASK
from ..maps.value import AttributionMaps

RECORD = "I²AM Record"
INPAINT_FROM = "inpaint_mask_from"
"""Where a run says what its inpainting mask was taken from, in `RunInfo.extra`."""


def kept_reference_mask(maps: AttributionMaps, reference: int = 0) -> Tensor | None:
    """(H, W) in 0-1, 1 = the object on the first reference, as its conditioning brought it; None: nothing was kept.

    Masks of more than 512 pixels along a side were kept smaller.
    """
    picture = None if reference else maps.thumbnails.get(REFERENCE_MASK)
    return None if picture is None else picture[..., 0].float() / 255


def inpaint_mask_from(maps: AttributionMaps) -> str:
    """What gave the recording its inpainting mask, in words."""
    return str(maps.run.extra.get(INPAINT_FROM, RECORD))


def masks_taken(maps: AttributionMaps, inpaint_mask: object, reference_mask: object, reference: int = 0) -> str:
    """Which masks were not given, and are taken from the recording, in words; empty: none."""
    found = []
    if inpaint_mask is None and maps.inpaint_mask is not None:
        found.append(f"the inpainting mask is that of {inpaint_mask_from(maps)}")
    if reference_mask is None and kept_reference_mask(maps, reference) is not None:
        found.append("the reference mask is that of I²AM Try-On Conditioning")
    return "; ".join(found)
