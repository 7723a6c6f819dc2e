"""A batch of pictures or masks meets a batch of maps: as many of the one as of the other, or one for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import I2AMError, MaskError, UnavailableError
from ..geometry.resample import Size
from ..maps.value import AttributionMaps
from .heat import Heat

T = TypeVar("T")
MaskLike = Tensor | np.ndarray | Image.Image
MOST_STRETCH = 1.5
"""Pictures may be squashed (512 x 512 for a picture shown as 512 x 384); a larger change of shape is another picture."""


def images_of(maps: AttributionMaps, index: int) -> list[int]:
    """The images of a run that an index means: one of them, or all for -1.

    Raises:
        UnavailableError: there is no such image.
    """
    if index == -1:
        return list(range(maps.images))
    if not 0 <= index < maps.images:
        raise UnavailableError(f"image {index} does not exist; the run had {maps.images}, counted from 0 (-1 means all)")
    return [index]


def join(heats: Sequence[Heat], images: Sequence[int]) -> Heat:
    """Heats of the same choice on several images of a batch as one, image after image.

    Labels say which image; notes that not all images share go to the labels of their image.

    Raises:
        I2AMError: there are none, or they are not of one size and kind.
    """
    if not heats or len(heats) != len(images):
        raise I2AMError(f"heats are joined one an image, got {len(heats)} for {len(images)} images")
    if len(heats) == 1:
        return replace(heats[0], images=(images[0],) * len(heats[0].labels))
    kinds = {(h.side, h.picture, h.level, h.size, tuple(h.values.shape)) for h in heats}
    if len(kinds) > 1:
        raise I2AMError(f"only heats of one kind and size can be joined, got {sorted(map(str, kinds))}")
    shared = [note for note in heats[0].notes if all(note in h.notes for h in heats)]
    labels = []
    for heat, image in zip(heats, images, strict=True):
        own = "".join(f": {note}" for note in heat.notes if note not in shared)
        labels += [f"image {image} · {label}{own}" for label in heat.labels]
    return replace(
        heats[0],
        values=torch.cat([h.values for h in heats]),
        labels=tuple(labels),
        notes=tuple(shared),
        unplaced=tuple(u for h in heats for u in h.unplaced),
        images=tuple(i for h, i in zip(heats, images, strict=True) for _ in h.labels),
        queries=tuple(dict.fromkeys(q for h in heats for q in h.queries)),
    )


def meet(heat: Heat, pictures: Sequence[T]) -> tuple[Heat, list[T]]:
    """A picture for each panel of a heat: one for all, one an image, or one a panel; one panel goes on every picture.

    Raises:
        I2AMError: their numbers do not fit, with both.
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
        f"in all; give one picture, one an image or one a panel"
    )


def one_of(pictures: Sequence[T], image: int, images: int) -> T:
    """The picture of one image of a run, out of one for all or one an image.

    Raises:
        I2AMError: there is another number of them.
    """
    if len(pictures) not in (1, images):
        raise I2AMError(f"{len(pictures)} pictures were given, but the run had {images} image(s); give one, or one an image")
    return pictures[image if len(pictures) > 1 else 0]


def as_mask(mask: MaskLike) -> Tensor:
    """A mask as a float tensor: arrays as they are, a Pillow picture's brightness as 0-1."""
    if isinstance(mask, Image.Image):
        mask = np.asarray(mask.convert("L"), dtype=np.float32) / 255
    return torch.as_tensor(mask).detach().float().cpu()


def mask_of(masks: MaskLike, image: int, images: int, name: str) -> Tensor:
    """The (H, W) mask of one image out of a MASK, (1 or images, H, W) or (H, W), or a Pillow picture.

    Raises:
        MaskError: it holds another number of masks, or is no MASK.
    """
    masks = as_mask(masks)
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.ndim == 4 and masks.shape[1] == 1:  # some hosts' nodes hand on (B, 1, H, W)
        masks = masks[:, 0]
    if masks.ndim != 3:
        raise MaskError(f"the {name} has the shape (masks, height, width), got {tuple(masks.shape)}")
    if len(masks) not in (1, images):
        raise MaskError(f"the {name} holds {len(masks)} masks, but the run had {images} image(s); give one, or one an image")
    return masks[image if len(masks) > 1 else 0]


def check_shape(what: str, size: Size, expected: Size, of: str) -> None:
    """Refuse a picture or mask whose shape (H, W) cannot be that of what it is to meet; (0, 0) is an unknown one.

    Raises:
        I2AMError: the ratios of their sides differ by more than `MOST_STRETCH`, with both sizes.
    """
    if min(expected) < 1:
        return
    stretch = (size[1] / size[0]) / (expected[1] / expected[0])
    if not 1 / MOST_STRETCH <= stretch <= MOST_STRETCH:
        raise I2AMError(
            f"the {what} is {size[1]} x {size[0]} pixels, but the {of} is {expected[1]} x {expected[0]}: another shape, so "
            f"they cannot belong together; connect the one that belongs to this {of}"
        )
