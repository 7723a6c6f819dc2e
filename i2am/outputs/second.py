"""The run that another one is compared with, and what the two are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from ..answers.alike import apart
from ..answers.thresholds import SAME_PICTURE
from ..errors import I2AMError
from ..geometry.shapes import check_shape
from ..levels.comparable import check_comparable
from ..maps.facts import PATCHES
from ..maps.value import AttributionMaps
from ..pictures.backdrop import backdrop_name
from ..pictures.matching import one_of, picture_of, pictures_of

SAME = "both recordings are the same, so every difference is 0"
SAME_IMAGE = "both runs were given one generated picture, though their recordings differ: connect to each its own"
STAND_INS = "the second run kept no pictures of its references: those of the first are shown for it"
FACTS = {"model": "{}", PATCHES: "{}", "sampler": "{}", "steps": "{} steps", "cfg": "cfg {:g}", "seed": "seed {}"}
"""What a run is told from another by, and how it is written."""


@dataclass(frozen=True)
class SecondRun:
    """A run to compare another one with.

    Attributes:
        maps: its recording.
        generated: its generated picture, of the image that is looked at.
        references: a picture for each of its references; None: those that were kept with its maps, else the first run's.
    """

    maps: AttributionMaps
    generated: Image.Image
    references: Image.Image | Sequence[Image.Image] | None = None

    @classmethod
    def of(cls, maps: AttributionMaps, pictures: Sequence[Image.Image], image: int) -> SecondRun:
        """The run of one image of a batch, given one picture for all or one per image.

        Raises:
            I2AMError: the numbers do not fit; says that it is of the second run.
        """
        if image >= maps.images:
            raise I2AMError(
                f"image {image} is compared, but the second run had {maps.images} image(s), counted from 0; choose one that "
                f"both runs had"
            )
        try:
            return cls(maps, one_of(pictures, image, maps.images))
        except I2AMError as error:
            raise I2AMError(f"of the second run: {error}") from error

    def checked(self, first: AttributionMaps) -> SecondRun:
        """The same, if it can be compared with the first run.

        Raises:
            I2AMError: the picture has another shape than the second run recorded, or something is of another type.
            UnavailableError: see `check_comparable`.
        """
        check_comparable(first, self.maps)
        picture = picture_of(self.generated, "generated picture of the second run")
        check_shape(
            "picture of the second run",
            (picture.height, picture.width),
            self.maps.generated_size,
            "second run's recorded image",
        )
        return self

    def pictures(self, first: AttributionMaps, shown: Sequence[Image.Image]) -> list[Image.Image]:
        """A picture for each reference: the given ones, those of the first run where both saw the same, else the kept ones.

        Args:
            first: the first run's recording.
            shown: the first run's pictures of its references, which stand in where none is known.
        """
        if self.references is not None:
            return pictures_of(self.references, "picture of a reference of the second run")
        if same_references(first, self.maps):
            return list(shown)
        kept, names = self.maps.thumbnails, _names(self.maps)
        return [
            Image.fromarray(kept[name].numpy()) if name in kept else picture for name, picture in zip(names, shown, strict=True)
        ]

    def notes(self, first: AttributionMaps, generated: Image.Image | None = None) -> list[str]:
        """What a reader must know of the two.

        Args:
            first: the first run's recording.
            generated: its generated picture.
        """
        if first == self.maps:
            return [SAME]
        twice = generated is not None and apart(generated, self.generated) == 0
        known = self.references is not None or set(_names(self.maps)) <= set(self.maps.thumbnails)
        return [*other_references(first, self.maps), *([SAME_IMAGE] if twice else []), *([] if known else [STAND_INS])]


def check_second(second: object) -> None:
    """Refuse what is no second run.

    Raises:
        I2AMError: it is of another type, such as the maps alone.
    """
    if not isinstance(second, SecondRun):
        raise I2AMError(
            f"a second run is given as SecondRun(maps, picture), its recording and its generated picture, got a "
            f"{type(second).__name__}"
        )


def check_together(maps: object, image: object) -> None:
    """Refuse a second run of which only the recording or only the picture was given.

    Raises:
        I2AMError: one of them is missing.
    """
    if (maps is None) != (image is None):
        there, missing = ("maps_2", "image_2") if image is None else ("image_2", "maps_2")
        raise I2AMError(
            f"{there} is connected, but {missing} is not: a second run is compared with both its maps and its picture; connect "
            f"{missing}, or neither"
        )


def _names(maps: AttributionMaps) -> list[str]:
    """What the small pictures of its references are called."""
    return [backdrop_name("reference", i) for i in range(len(maps.references))]


def other_references(first: AttributionMaps, second: AttributionMaps) -> list[str]:
    """Which references are other pictures in the second run, by the small ones that both kept."""
    kept = [
        [None if name not in maps.thumbnails else Image.fromarray(maps.thumbnails[name].numpy()) for name in _names(maps)]
        for maps in (first, second)
    ]
    said = []
    for i, own in enumerate(kept[1]):
        same = [j for j, other in enumerate(kept[0]) if own and other and apart(own, other) <= SAME_PICTURE]
        if same and i not in same:
            said.append(
                f"reference {i + 1} of the second run is reference {same[0] + 1} of the first: record both with the references "
                f"in the same order, else other places are compared"
            )
        elif own and kept[0][i] and i not in same:
            said.append(
                f"reference {i + 1} is another picture in the second run, so a patch of it need not show the same thing"
            )
    return said


def same_references(first: AttributionMaps, second: AttributionMaps) -> bool:
    """Whether the small pictures of all references are kept with both runs, and are the same."""
    kept = [maps.thumbnails for maps in (first, second)]
    return all(name in kept[0] and name in kept[1] and torch.equal(kept[0][name], kept[1][name]) for name in _names(first))


def _fact(maps: AttributionMaps, name: str) -> object:
    return maps.run.extra.get(name, "") if name == PATCHES else getattr(maps.run, name)


def run_names(first: AttributionMaps, second: AttributionMaps) -> tuple[str, str]:
    """What to call two runs: "first" and "second", with those facts that tell them apart, such as "first (cfg 1)"."""
    seen = [[(name, _fact(maps, name)) for name in FACTS] for maps in (first, second)]
    apart = [name for (name, a), (_, b) in zip(*seen, strict=True) if a != b]
    told = [
        [FACTS[name].format(value) for name, value in facts if name in apart and value is not None and value != ""]
        for facts in seen
    ]
    names = [f"{name} ({', '.join(facts)})" if facts else name for name, facts in zip(("first", "second"), told, strict=True)]
    return names[0], names[1]
