"""The picture to draw a map on when none is given: the recording's own thumbnail, or a neutral grey."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ..errors import I2AMError
from ..geometry.resample import Size
from ..geometry.shapes import check_shape
from ..maps.value import AttributionMaps
from .matching import one_of

Given = Sequence[Image.Image] | None
"""The pictures of one reference: one, or one per image of the run; None: not given."""

NEUTRAL = (96, 96, 96)


def neutral(size: Size) -> Image.Image:
    """A grey picture of (H, W)."""
    return Image.new("RGB", (size[1], size[0]), NEUTRAL)


def backdrop_name(picture: str, index: int) -> str:
    """What a thumbnail of a "generated" image or a "reference", counted from 0, is called.

    >>> backdrop_name("reference", 0), backdrop_name("reference", 1)
    ('reference', 'reference 2')
    """
    return picture if index == 0 else f"{picture} {index + 1}"


def backdrop(maps: AttributionMaps, picture: str, index: int, size: Size) -> Image.Image:
    """The kept thumbnail of a "generated" image or a "reference", counted from 0, else a neutral picture of (H, W)."""
    kept = maps.thumbnails.get(backdrop_name(picture, index))
    return neutral(size) if kept is None else Image.fromarray(kept.numpy())


def reference_pictures(maps: AttributionMaps, given: Sequence[Given], image: int) -> list[Image.Image]:
    """A picture for each reference of a run: the given one of the image, else the one that was kept, else grey.

    Args:
        maps: a recording.
        given: of the first reference, the second and so on; those that are missing at the end are not given.
        image: which image of the batch.

    Raises:
        I2AMError: there are pictures of more references than the run had, or one has another shape than was recorded.
    """
    count = len(maps.references)
    last = max((i for i, pictures in enumerate(given, 1) if pictures is not None), default=0)
    if last > count:
        raise I2AMError(
            f"a picture of reference {last} was given, but the run had {count} reference(s); connect the pictures in the order "
            f"of the references, and none beyond them"
        )
    found = []
    for i, reference in enumerate(maps.references):
        pictures = given[i] if i < len(given) else None
        recorded = reference.grid.picture
        if pictures is None:
            found.append(backdrop(maps, "reference", i, recorded or maps.generated_size))
            continue
        picture = one_of(pictures, image, maps.images)
        name = f"reference {i + 1}"
        check_shape(f"picture of {name}", (picture.height, picture.width), recorded or (0, 0), f"recorded {name}")
        found.append(picture)
    return found


def known_references(maps: AttributionMaps, given: Sequence[Given]) -> list[bool]:
    """For each reference of a run, whether its picture is given or was kept; where not, `reference_pictures` has grey."""
    return [
        (i < len(given) and given[i] is not None) or backdrop_name("reference", i) in maps.thumbnails
        for i in range(len(maps.references))
    ]
