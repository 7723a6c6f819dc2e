"""Which picture belongs to each panel of a heat, and to each image of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from PIL import Image

from ..errors import I2AMError
from ..geometry.shapes import check_shape
from ..levels.heat import Heat
from .lettering import PAPER

T = TypeVar("T")


def meet(heat: Heat, pictures: Sequence[T]) -> tuple[Heat, list[T]]:
    """A picture for each panel of a heat: one for all, one per image, or one per panel; one panel goes on every picture.

    Raises:
        I2AMError: the numbers do not fit; names both.
    """
    panels, images = len(heat.labels), list(dict.fromkeys(heat.images)) or [0]
    if len(pictures) == 1:
        return heat, [pictures[0]] * panels
    if len(pictures) == panels:
        return heat, list(pictures)
    if len(pictures) == len(images) and len(images) > 1:
        return heat, [pictures[images.index(i)] for i in heat.images]
    if panels == 1 and pictures:
        return heat.panels([0] * len(pictures)), list(pictures)
    raise I2AMError(
        f"{len(pictures)} pictures do not fit this {heat.level} {heat.side} of {len(images)} image(s) with {panels} panels "
        f"in all; give one picture, one per image or one per panel"
    )


def one_of(pictures: Sequence[T], image: int, images: int) -> T:
    """The picture of one image of a run, given one for all or one per image.

    Raises:
        I2AMError: there is any other number of them.

    >>> one_of(["first", "second"], 1, 2), one_of(["for all"], 1, 2)
    ('second', 'for all')
    """
    if len(pictures) not in (1, images):
        raise I2AMError(f"{len(pictures)} pictures were given, but the run had {images} image(s); give one, or one per image")
    return pictures[image if len(pictures) > 1 else 0]


def same_size(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """All pictures as RGB, padded with white on the right and below to the largest size."""
    size = (max(p.width for p in pictures), max(p.height for p in pictures))
    out = []
    for picture in pictures:
        canvas = Image.new("RGB", size, PAPER)
        canvas.paste(picture.convert("RGB"), (0, 0))
        canvas.info["cells"] = picture.info.get("cells", ())
        out.append(canvas)
    return out


def check_pictures(heat: Heat, pictures: Sequence[Image.Image]) -> None:
    """Refuse pictures of different sizes, or of another shape than the generated image.

    A reference's own size is often unknown, so its shape is not checked.

    Raises:
        I2AMError: they do not fit; names the sizes.
    """
    sizes = {(p.height, p.width) for p in pictures}
    if len(sizes) != 1:
        raise I2AMError(f"pictures of one batch must have one size, got {len(sizes)} sizes: {sorted(sizes)}")
    if heat.picture == "generated":
        check_shape("picture", next(iter(sizes)), heat.size, "recorded generated image")
