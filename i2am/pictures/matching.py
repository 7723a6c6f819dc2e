"""Which picture belongs to each panel of a heat, and to each image of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from PIL import Image

from ..errors import I2AMError, shown
from ..geometry.frames import decoded, image_of, last_of
from ..geometry.shapes import check_shape
from ..levels.heat import Heat
from .lettering import PAPER

T = TypeVar("T")


def meet(heat: Heat, pictures: Sequence[T], *, spread: bool = False) -> tuple[Heat, list[T]]:
    """A picture for each panel of a heat: one for all, one per image, or one per panel; one panel goes on every picture.

    Where the heat's images are latent frames, all frames that they were decoded to fit too: each panel goes on the last one
    of its image. What is given back is paired, panel by panel.

    Args:
        heat: of any panels.
        pictures: for them.
        spread: let a panel go on every decoded frame of its image, where each image has one panel.

    Raises:
        I2AMError: the numbers do not fit; names both.
    """
    heat, pictures = _on_decoded(heat, pictures, spread)
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
        f"in all; give one picture, one per image or one per panel{_or_decoded(heat)}"
    )


def is_film(heat: Heat) -> bool:
    """Whether the panels are a video's latent frames, one each."""
    return heat.frames > 1 and len(set(heat.images)) == len(heat.labels)


def _on_decoded(heat: Heat, pictures: Sequence[T], spread: bool) -> tuple[Heat, list[T]]:
    """The panels and the pictures, paired where these are all frames that a video was decoded to; else as they are."""
    images = heat.images or (0,) * len(heat.labels)
    videos, left = divmod(len(pictures), decoded(heat.frames))
    if not _on_video(heat) or len(pictures) == 1 or left or max(images) >= videos * heat.frames:
        return heat, list(pictures)
    paired = replace(heat, frames=1)
    if not (spread and is_film(heat)):
        return paired, [pictures[last_of(image, heat.frames)] for image in images]
    panel = {image: i for i, image in enumerate(images)}
    chosen = [frame for frame in range(len(pictures)) if image_of(frame, heat.frames) in panel]
    return paired.panels([panel[image_of(frame, heat.frames)] for frame in chosen]), [pictures[frame] for frame in chosen]


def _on_video(heat: Heat) -> bool:
    """Whether the panels lie on a generated video, and not on a reference."""
    return heat.frames > 1 and heat.picture == "generated"


def _or_decoded(heat: Heat) -> str:
    if not _on_video(heat):
        return ""
    return (
        f", or all {decoded(heat.frames)} frames that the {heat.frames} latent frames of a video decode to, as VAE Decode "
        f"gives them"
    )


def picture_of(given: Any, what: str) -> Image.Image:
    """A Pillow picture, or the reason why ``what`` is none.

    Raises:
        I2AMError: it is of another type; says which.
    """
    if isinstance(given, Image.Image):
        return given
    got = f"a {type(given).__name__}" + (f", {shown(repr(given), 100)}" if isinstance(given, str) else "")
    raise I2AMError(
        f"the {what} is a Pillow picture, got {got}; Image.open reads a file, Image.fromarray makes one of an array of uint8"
    )


def pictures_of(given: Any, what: str) -> list[Image.Image]:
    """One Pillow picture or several, as a list.

    Raises:
        I2AMError: it is anything else.

    >>> len(pictures_of(Image.new("RGB", (2, 2)), "reference")), len(pictures_of((), "reference"))
    (1, 0)
    """
    several = given if isinstance(given, list | tuple) else [given]
    return [picture_of(one, what) for one in several]


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
    """Refuse pictures of different sizes, or of another shape than the recorded image that the heat is of.

    A reference's own size is often unknown (see `Heat.sized`); then its shape is not checked.

    Raises:
        I2AMError: they do not fit; names the sizes.
    """
    sizes = {(p.height, p.width) for p in pictures}
    if len(sizes) != 1:
        raise I2AMError(f"pictures of one batch must have one size, got {len(sizes)} sizes: {sorted(sizes)}")
    if heat.picture == "generated" or heat.sized:
        check_shape("picture", next(iter(sizes)), heat.size, f"recorded {heat.picture} image")
