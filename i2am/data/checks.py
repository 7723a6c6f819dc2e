"""Whether the pictures and masks of a try-on can belong together, found out before anything is computed of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import I2AMError, MaskError
from ..geometry.mask_pictures import Warn, mask_values
from ..geometry.shapes import check_shape

log = logging.getLogger("i2am")

Array = NDArray[np.int16]
Where = NDArray[np.bool_]

CHECKED = ("inpaint_mask", "reference_mask")
"""Masks whose content is checked."""
STRETCHED = 0.02
"""By how much the ratio of a mask's sides may differ from its picture's before it is told."""
GREY, NEAR = 128, 6
"""What an agnostic picture shows in its hole, of 255, and how near to it counts."""
PLAIN = 24
"""How far pixels may lie from a plain background's colour, of 255."""
ANOTHER = 40
"""How far pixels of two photos lie apart, of 255, that show different things."""
MOST_ANOTHER = 0.15
"""The share of such pixels that two pictures of one photo may have."""
MOST_OUTSIDE = {"inpaint_mask": 0.15, "reference_mask": 0.4}
"""The share of what a mask should cover that it may leave out: shadows of garments count as their objects."""
FEW = 0.05
"""The share of pixels below which two pictures are the same."""
LEAST = 0.01
"""The share of the picture that must be there of what a mask should cover; less is noise."""
SIDE = 256
"""Pixels of the longer side at which pictures are compared."""


@dataclass(frozen=True)
class Doubt:
    """Something that pictures show which they should not.

    Attributes:
        kind: of problem, a name in `findings.PROBLEMS`.
        picture: the picture's name.
        said: what was seen, and what it may mean.
        error: as what a single run raises it; None: it warns.
    """

    kind: str
    picture: str
    said: str
    error: type[I2AMError] | None = None


def check_masks(pictures: Mapping[str, Image.Image]) -> None:
    """Refuse masks that cannot belong to their pictures, and warn of those that may not.

    Args:
        pictures: by name, upright; masks are "inpaint_mask", "hands_mask" and "reference_mask".

    Raises:
        MaskError: a mask is none, or the inpainting mask is empty or covers everything.
        I2AMError: a mask has another shape than its picture.
    """
    for doubt in doubts(pictures):
        if doubt.error is not None:
            raise doubt.error(doubt.said)
        log.warning("%s", doubt.said)


def doubts(pictures: Mapping[str, Image.Image], warn: Warn = log.warning) -> Iterator[Doubt]:
    """What makes it doubtful that pictures and masks belong together; see `check_masks`.

    Raises:
        MaskError: a mask is none.
    """
    shapes = list(_of_shapes(pictures))
    yield from shapes
    misshapen = {doubt.picture for doubt in shapes if doubt.error is not None}
    names = [name for name in CHECKED if name in pictures and name not in misshapen]
    masks = {name: mask_values(pictures[name], name, warn) >= 0.5 for name in names}
    if "inpaint_mask" in masks:
        yield from _of_inpaint(masks["inpaint_mask"], pictures.get("agnostic"), pictures.get("person"))
    if "reference_mask" in masks:
        yield from _of_reference(masks["reference_mask"], pictures.get("reference"))


def _of_shapes(pictures: Mapping[str, Image.Image]) -> Iterator[Doubt]:
    person = next((pictures[name] for name in ("person", "agnostic") if name in pictures), None)
    for name, belongs, of in (
        ("inpaint_mask", person, "picture of the person"),
        ("hands_mask", person, "picture of the person"),
        ("reference_mask", pictures.get("reference"), "reference picture"),
    ):
        if name in pictures and belongs is not None:
            yield from _of_sides(name, pictures[name], belongs, of)


def _of_sides(name: str, mask: Image.Image, picture: Image.Image, of: str) -> Iterator[Doubt]:
    try:
        check_shape(name, (mask.height, mask.width), (picture.height, picture.width), of)
    except I2AMError as error:
        yield Doubt("another shape", name, str(error), type(error))
        return
    stretch = (mask.width / mask.height) / (picture.width / picture.height)
    if abs(stretch - 1) > STRETCHED:
        said = (
            f"the {name} is {mask.width} x {mask.height} pixels, the {of} {picture.width} x {picture.height}: it is stretched "
            f"to fit; if it was cropped instead, it lies wrong"
        )
        yield Doubt("stretched", name, said)


def _of_inpaint(inside: Where, agnostic: Image.Image | None, person: Image.Image | None) -> Iterator[Doubt]:
    if not inside.any():
        said = "the inpaint_mask is all black: nothing is to be repainted; paint white what is"
        yield Doubt("empty mask", "inpaint_mask", said, MaskError)
    elif inside.all():
        said = (
            "the inpaint_mask is all white: nothing of the picture would stay, so nothing can be scored; paint black what stays"
        )
        yield Doubt("full mask", "inpaint_mask", said, MaskError)
    elif agnostic is None:
        yield from _of_border(inside)
    else:
        yield from _of_hole(inside, agnostic, person)


def _of_border(inside: Where) -> Iterator[Doubt]:
    height, width = inside.shape
    middle = inside[height // 3 : -(height // 3) or None, width // 3 : -(width // 3) or None]
    edge = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if edge.mean() > 0.9 and middle.mean() < 0.5:
        said = "the inpaint_mask is white at the border and black in the middle: is it inverted? White = to repaint"
        yield Doubt("inverted mask", "inpaint_mask", said)


def _of_hole(inside: Where, agnostic: Image.Image, person: Image.Image | None) -> Iterator[Doubt]:
    """Of the agnostic picture's hole against the mask, and of the picture around it against the photo."""
    size = _small(agnostic.size)
    shown = _pixels(agnostic, size)
    grey: Where = np.abs(shown - GREY).max(2) <= NEAR
    hole = grey
    if person is not None:
        photo = _pixels(person, size)
        hole = grey & (np.abs(photo - GREY).max(2) > NEAR)  # a grey wall is no hole
    covered = _fitted(inside, size)
    found = list(_of_covered("inpaint_mask", "the grey of the agnostic picture", covered, hole, "to repaint"))
    yield from found
    if person is None or found:
        return
    another: Where = np.abs(shown - photo).max(2) > ANOTHER
    kept = ~(hole | covered)
    if kept.any() and another[kept].mean() > MOST_ANOTHER:
        said = (
            f"the agnostic picture differs from the photo of the person on {100 * another[kept].mean():.0f} % of what stays: "
            f"do they show one person?"
        )
        yield Doubt("mismatched picture", "agnostic", said)
    elif covered.any() and (another | grey)[covered].mean() < FEW:
        said = "the agnostic picture shows the photo of the person where the inpaint_mask is white: the garment is still there"
        yield Doubt("mismatched picture", "agnostic", said)


def _of_reference(inside: Where, reference: Image.Image | None) -> Iterator[Doubt]:
    if not inside.any():
        said = "the reference_mask is all black, so there is no IMACS_r; paint the object white"
        yield Doubt("empty mask", "reference_mask", said)
    elif inside.all():
        said = "the reference_mask is all white, so there is no IMACS_r; paint black what is not the object"
        yield Doubt("full reference mask", "reference_mask", said)
    elif reference is not None:
        size = _small(reference.size)
        shown = _pixels(reference, size)
        edge = np.concatenate([shown[0], shown[-1], shown[:, 0], shown[:, -1]])
        background = np.median(edge, axis=0)
        if (np.abs(edge - background).max(1) <= PLAIN).mean() > 0.9:  # a plain one
            there: Where = np.abs(shown - background).max(2) > PLAIN
            what = "what stands out from the reference's background"
            yield from _of_covered("reference_mask", what, _fitted(inside, size), there, "the object")


def _of_covered(name: str, what: str, inside: Where, expected: Where, white: str) -> Iterator[Doubt]:
    """Of a mask that leaves out what it should cover; all (H, W)."""
    if not LEAST < expected.mean() < 1:
        return
    out, beside = 1 - float(inside[expected].mean()), float(inside[~expected].mean())
    if out > 0.75 and beside > 0.5:
        said = (
            f"the {name} leaves out {100 * out:.0f} % of {what} and covers {100 * beside:.0f} % of the rest: is it inverted? "
            f"White = {white}"
        )
        yield Doubt("inverted mask", name, said)
    elif out > MOST_OUTSIDE[name]:
        yield Doubt("mismatched picture", name, f"the {name} leaves out {100 * out:.0f} % of {what}: do they belong together?")


def _small(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) with `SIDE` at most."""
    scale = min(1.0, SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _pixels(picture: Image.Image, size: tuple[int, int]) -> Array:
    """(H, W, 3) of 255, at a size (width, height)."""
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST).convert("RGB")).astype(np.int16)


def _fitted(inside: Where, size: tuple[int, int]) -> Where:
    """A mask (H, W) at a size (width, height)."""
    picture = Image.fromarray(inside.astype(np.uint8) * 255)
    fitted: Where = np.asarray(picture.resize(size, Image.Resampling.NEAREST)) > 0
    return fitted
