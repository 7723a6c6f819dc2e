"""Pictures that are another one than they are said to be: compared with each other and with what the recording kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import I2AMError
from ..maps.value import AttributionMaps
from ..pictures.backdrop import backdrop_name
from .said import Said
from .thresholds import ALIKE, LESS_ALIKE, SAME_PICTURE, UNLIKE

SIDE = 64
"""Pictures are compared at this size, squashed."""
FLAT = 0.02
"""A picture whose colours vary by less on the mean has nothing to be known by."""


def mistaken(maps: AttributionMaps, generated: Image.Image, references: Sequence[Image.Image | None]) -> Iterator[Said]:
    """A warning for each picture that looks like another one than it should be; none is certain.

    Args:
        generated: the generated picture.
        references: those of the references; None: not known.
    """
    same = f"pictures that differ by at most {SAME_PICTURE:.1%} are the same"
    kept = [maps.thumbnails.get(backdrop_name("reference", i)) for i in range(len(maps.references))]
    small = [None if one is None else Image.fromarray(one.numpy()) for one in kept]
    for i, pair in enumerate(zip(references, small, strict=False)):
        if any(one is not None and apart(generated, one) <= SAME_PICTURE and likeness(generated, one) for one in pair):
            text = f"Check the wires: image is the picture of {_name(maps, i)}. Connect the generated picture, from VAE Decode."
            yield Said("wires", text, same, verdict="image")
    if maps.images > 1:  # the small pictures are those of the first image
        return
    for i, given in enumerate(references):
        likes = [None if given is None or one is None else likeness(given, one) for one in small]
        own = likes[i]
        if own is None:
            continue
        best = max((j for j, like in enumerate(likes) if like is not None), key=lambda j: likes[j] or 0.0)
        like = likes[best] or 0.0
        if like >= ALIKE and own <= like - LESS_ALIKE:
            text = (
                f"Check the wires: the picture given for {_name(maps, i)} is that of {_name(maps, best)}, by the small ones "
                f"that the recording kept. Connect the pictures in the order of the references."
            )
            rule = (
                f"pictures correlate by {like:.2f} with the other and {own:.2f} with their own; told from {LESS_ALIKE:g} apart"
            )
            yield Said("wires", text, rule, {"likeness": own}, "order")
        elif own <= UNLIKE:
            text = (
                f"Check the wires: the picture given for {_name(maps, i)} is another than the recording kept of it. Connect "
                f"the one that the model was given."
            )
            rule = f"a picture that correlates by {UNLIKE:g} or less with the kept one is another (seen: {own:.2f})"
            yield Said("wires", text, rule, {"likeness": own}, "reference")


def check_pictures(maps: AttributionMaps, generated: Image.Image, reference: Image.Image, index: int) -> None:
    """Refuse a generated picture and one of a reference that look wrongly connected.

    Raises:
        I2AMError: says which, as `mistaken` does.
    """
    references = [reference if i == index else None for i in range(len(maps.references))]
    for said in mistaken(maps, generated, references):
        raise I2AMError(said.text)


def apart(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures' colours, 0-1; 1 where their shapes differ."""
    if abs(one.width * other.height - one.height * other.width) > 0.02 * one.width * other.height:
        return 1.0
    return float(np.abs(_squashed(one) - _squashed(other)).mean())


def likeness(one: Image.Image, other: Image.Image) -> float | None:
    """How two pictures correlate, over places and colours, squashed to one shape; None where one of them is plain.

    >>> picture = Image.radial_gradient("L")
    >>> round(likeness(picture, picture.resize((40, 90))), 2), likeness(picture, Image.new("RGB", (9, 9)))
    (1.0, None)
    """
    a, b = (x - x.mean() for x in (_squashed(one), _squashed(other)))
    if min(a.std(), b.std()) < FLAT:
        return None
    return float((a * b).mean() / (a.std() * b.std()))


def _squashed(picture: Image.Image) -> NDArray[np.float32]:
    return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / np.float32(255)


def _name(maps: AttributionMaps, index: int) -> str:
    return "the reference" if len(maps.references) == 1 else f"reference {index + 1}"
