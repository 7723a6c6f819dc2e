"""Whether the pictures and masks of a try-on can belong together, found out before anything is computed of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import MaskError
from ..geometry.shapes import check_shape
from .masks import mask_values

log = logging.getLogger("i2am")

STRETCHED = 0.02
"""By how much the ratio of a mask's sides may differ from its picture's before it is told."""
GREY, NEAR = 128, 6
"""What an agnostic picture shows in its hole, of 255, and how near to it counts."""
PLAIN = 24
"""How far pixels may lie from a plain background's colour, of 255."""


def check_masks(pictures: Mapping[str, Image.Image]) -> None:
    """Refuse masks that cannot belong to their pictures, and warn of those that may not.

    Args:
        pictures: by name, upright; masks are "inpaint_mask", "hands_mask" and "reference_mask".

    Raises:
        MaskError: a mask is none, or the inpainting mask is empty or covers everything.
        I2AMError: a mask has another shape than its picture.
    """
    person = next((pictures[name] for name in ("person", "agnostic") if name in pictures), None)
    for name, belongs, of in (
        ("inpaint_mask", person, "picture of the person"),
        ("hands_mask", person, "picture of the person"),
        ("reference_mask", pictures.get("reference"), "reference picture"),
    ):
        if name in pictures and belongs is not None:
            _check_sides(name, pictures[name], belongs, of)
    if "inpaint_mask" in pictures:
        _check_inpaint(_inside(pictures, "inpaint_mask"), pictures.get("agnostic"))
    if "reference_mask" in pictures:
        _check_reference(_inside(pictures, "reference_mask"), pictures.get("reference"))


def _inside(pictures: Mapping[str, Image.Image], name: str) -> NDArray[np.bool_]:
    return mask_values(pictures[name], name) >= 0.5


def _check_sides(name: str, mask: Image.Image, picture: Image.Image, of: str) -> None:
    check_shape(name, (mask.height, mask.width), (picture.height, picture.width), of)
    stretch = (mask.width / mask.height) / (picture.width / picture.height)
    if abs(stretch - 1) > STRETCHED:
        log.warning(
            "the %s is %d x %d pixels, the %s %d x %d: it is stretched to fit; if it was cropped instead, it lies wrong",
            name, mask.width, mask.height, of, picture.width, picture.height,
        )  # fmt: skip


def _check_inpaint(inside: NDArray[np.bool_], agnostic: Image.Image | None) -> None:
    if not inside.any():
        raise MaskError("the inpaint_mask is all black: nothing is to be repainted; paint white what is")
    if inside.all():
        raise MaskError(
            "the inpaint_mask is all white: nothing of the picture would stay, so nothing can be scored; paint black what stays"
        )
    if agnostic is None:
        height, width = inside.shape
        middle = inside[height // 3 : -(height // 3) or None, width // 3 : -(width // 3) or None]
        edge = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
        if edge.mean() > 0.9 and middle.mean() < 0.5:
            log.warning("the inpaint_mask is white at the border and black in the middle: is it inverted? White = to repaint")
        return
    shown = np.asarray(agnostic.convert("RGB")).astype(np.int16)
    hole: NDArray[np.bool_] = np.abs(shown - GREY).max(2) <= NEAR
    _warn_of_inverted("inpaint_mask", "the grey of the agnostic picture", inside, hole, "to repaint")


def _check_reference(inside: NDArray[np.bool_], reference: Image.Image | None) -> None:
    if not inside.any():
        log.warning("the reference_mask is all black, so there is no IMACS_r; paint the object white")
    elif inside.all():
        log.warning("the reference_mask is all white, so there is no IMACS_r; paint black what is not the object")
    elif reference is not None:
        shown = np.asarray(reference.convert("RGB")).astype(np.int16)
        edge = np.concatenate([shown[0], shown[-1], shown[:, 0], shown[:, -1]])
        background = np.median(edge, axis=0)
        if (np.abs(edge - background).max(1) <= PLAIN).mean() > 0.9:  # a plain one
            object_there: NDArray[np.bool_] = np.abs(shown - background).max(2) > PLAIN
            _warn_of_inverted(
                "reference_mask", "what stands out from the reference's background", inside, object_there, "the object"
            )


def _warn_of_inverted(name: str, what: str, inside: NDArray[np.bool_], expected: NDArray[np.bool_], white: str) -> None:
    """Warn of a mask that leaves most of what it should cover outside."""
    if not expected.any() or expected.all():
        return
    fitted = Image.fromarray(inside.astype(np.uint8) * 255).resize(expected.shape[::-1], Image.Resampling.NEAREST)
    covered = float((np.asarray(fitted) > 0)[expected].mean())
    beside = float((np.asarray(fitted) > 0)[~expected].mean())
    if covered < 0.25 and beside > 0.5:
        log.warning(
            "the %s leaves out %.0f %% of %s and covers %.0f %% of the rest: is it inverted? White = %s",
            name, 100 * (1 - covered), what, 100 * beside, white,
        )  # fmt: skip
