"""The images of a batch: which ones an index selects, and how their heats are joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ..errors import I2AMError, UnavailableError
from ..geometry.frames import name_of
from ..maps.value import AttributionMaps
from .heat import Heat


def images_of(maps: AttributionMaps, index: int) -> list[int]:
    """The images of a run that an index selects: one, or all for -1.

    Raises:
        UnavailableError: there is no such image.
    """
    if index == -1:
        return list(range(maps.images))
    if not 0 <= index < maps.images:
        raise UnavailableError(f"image {index} does not exist; the run had {maps.images}, counted from 0 (-1 means all)")
    return [index]


def over_frames(maps: AttributionMaps, of: Callable[[int], Heat]) -> Heat:
    """A map of the first picture of a run; where its images are latent frames, the mean over those of the first video.

    Args:
        maps: of the run.
        of: gives the map of an image, of one kind and size for all.
    """
    heats = [of(image) for image in range(maps.frames)]
    if len(heats) == 1:
        return heats[0]
    unplaced = zip(*(heat.unplaced for heat in heats), strict=True)
    return replace(
        heats[0],
        values=torch.stack([heat.values for heat in heats]).mean(0),
        unplaced=tuple(sum(each) / len(each) for each in unplaced),
    )


def join(heats: Sequence[Heat], images: Sequence[int], frames: int = 1) -> Heat:
    """Join heats of the same choice on several images of a batch, image after image.

    Labels name the image; notes that not all images share move to the labels of their image. Where the images are latent
    ``frames`` of a video, the heat knows it, so that it meets decoded ones.

    Raises:
        I2AMError: there are none, or they are not of one size and kind.
    """
    if not heats or len(heats) != len(images):
        raise I2AMError(f"heats are joined one per image, got {len(heats)} for {len(images)} images")
    if len(heats) == 1:
        return replace(heats[0], images=(images[0],) * len(heats[0].labels), frames=frames)
    kinds = {(h.side, h.picture, h.level, h.size, tuple(h.values.shape)) for h in heats}
    if len(kinds) > 1:
        raise I2AMError(f"only heats of one kind and size can be joined, got {sorted(map(str, kinds))}")
    shared = [note for note in heats[0].notes if all(note in h.notes for h in heats)]
    labels = []
    for heat, image in zip(heats, images, strict=True):
        own = "".join(f": {note}" for note in heat.notes if note not in shared)
        labels += [f"{name_of(image, frames, max(images) + 1)} · {label}{own}" for label in heat.labels]
    return replace(
        heats[0],
        values=torch.cat([h.values for h in heats]),
        labels=tuple(labels),
        notes=tuple(shared),
        unplaced=tuple(u for h in heats for u in h.unplaced),
        images=tuple(i for h, i in zip(heats, images, strict=True) for _ in h.labels),
        queries=tuple(dict.fromkeys(q for h in heats for q in h.queries)),
        frames=frames,
    )
