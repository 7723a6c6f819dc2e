"""What a data set gives: pairs of a person and a garment, where their pictures lie, and how these are opened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ..errors import DatasetError
from ..geometry.mask_pictures import Warn
from .masks import open_hands, open_mask
from .pictures import open_picture

if TYPE_CHECKING:
    from .findings import Findings

log = logging.getLogger("i2am")

PICTURES: dict[str, str] = {
    "person": "the photo of the person",
    "agnostic": "the person with the garment's area grey",
    "inpaint_mask": "white = to repaint",
    "densepose": "the body's part map",
    "reference": "the photo of the garment",
    "reference_mask": "white = the garment",
    "hands_mask": "white = the person's hands and arms, or a parse map that labels them",
    "warped": "the garment already laid on the body, grey where it is not",
    "warped_mask": "white = the warped garment; cuts it out of a picture with another background",
    "truth": "the person in this garment, where a data set of unpaired pairs has it",
}
"""Every picture of a pair by the library's name, and what it shows."""
MASKS = ("inpaint_mask", "reference_mask", "hands_mask", "warped_mask")
GREY = (128, 128, 128)
"""What "warped" shows where there is no garment."""
JOINT = "+"
"""Between the person's and the garment's name of an unpaired pair."""

Which = str | Path
"""Which pairs: "paired", "unpaired", or a file that lists them."""


@dataclass(frozen=True)
class Pair:
    """A person and a garment of a data set.

    Attributes:
        name: the person's, with the garment's behind `JOINT` where it is not their own; unique in a list, fit for file names.
        person: the person's name in the data set.
        garment: the garment's.
        paired: whether the person's photo shows them in this garment.
        files: where the pictures lie, by their names in `PICTURES`.
        lacks: of the others the first path that was looked for.
        parsed: pictures that lie there as parse maps, of which the mask is made.
        odd: what is wrong with its line in the list, by the kind of problem (see `findings.PROBLEMS`).
    """

    name: str
    person: str
    garment: str
    paired: bool
    files: Mapping[str, Path]
    lacks: Mapping[str, Path] = field(default_factory=dict)
    parsed: frozenset[str] = frozenset()
    odd: Mapping[str, str] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Where a picture lies.

        Raises:
            DatasetError: the pair lacks it; names the first path that was looked for.
        """
        if name in self.files:
            return self.files[name]
        if name not in PICTURES:
            raise DatasetError(f"{self.name} has no picture {name!r}; a pair's pictures are {', '.join(PICTURES)}")
        raise DatasetError(f"{self.name} lacks its {name}: {self.lacking(name)}; add it, or leave the pair out")

    def lacking(self, name: str) -> str:
        """Why a picture that is not in `files` is not there."""
        return f"there is no {self.lacks[name]}" if name in self.lacks else "the data set names no file for it"

    def open(self, names: Iterable[str], warn: Warn = log.warning) -> dict[str, Image.Image]:
        """Pictures by name, upright: in RGB, transparent parts over white, and masks in mode L, white = 1.

        A warped garment that has a mask of its own is cut out of its picture and laid on grey.

        Args:
            names: of pictures.
            warn: is told of masks that may not be meant so.

        Raises:
            DatasetError: the pair lacks one of them.
            I2AMError: a file cannot be read, or the warped garment and its mask are not of one size.
            MaskError: a mask is none.
        """
        return {name: self._opened(name, self.path(name), warn) for name in names}

    def _opened(self, name: str, path: Path, warn: Warn) -> Image.Image:
        if name in self.parsed:
            return open_hands(path, warn)
        if name in MASKS:
            return open_mask(path, name, warn)
        picture = open_picture(path)
        if name == "warped" and "warped_mask" in self.files:
            return _on_grey(picture, path, self._opened("warped_mask", self.files["warped_mask"], warn))
        return picture


def _on_grey(garment: Image.Image, path: Path, mask: Image.Image) -> Image.Image:
    if garment.size != mask.size:
        raise DatasetError(
            f"{path} is {garment.width} x {garment.height} pixels, its mask {mask.width} x {mask.height}; expected one size: "
            f"they are not of one run"
        )
    return Image.composite(garment, Image.new("RGB", garment.size, GREY), mask)


@dataclass(frozen=True)
class Kind:
    """A way in which data sets lie on disk; `kinds.KINDS` lists them.

    Attributes:
        name: on the command line and in nodes, such as "viton-hd".
        title: in running text, such as "VITON-HD".
        told_by: what lies in a folder of this kind, for an error's text.
        fits: whether a folder is of this kind.
        read: folder, which pairs and split ("train" or "test") to the pairs, in the order of their list.
    """

    name: str
    title: str
    told_by: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, Which, str], list[Pair]]


@dataclass(frozen=True)
class DataSet:
    """A folder with a data set in it; see `kinds.open_data_set`."""

    folder: Path
    kind: Kind

    @property
    def title(self) -> str:
        """The kind and the folder's own name, without the way there."""
        return f"{self.kind.title} ({self.folder.absolute().name})"

    def pairs(self, which: Which = "paired", split: str = "test") -> list[Pair]:
        """The pairs of a split, in the order of their list, each once.

        Args:
            which: "paired" (every person with the garment that they wear), "unpaired", or a file that lists pairs: its path,
                or its path in the folder.
            split: "train" or "test".

        Raises:
            DatasetError: there is no such list, it is none, or it names no such pair.
        """
        return self.kind.read(self.folder, which, split)

    def check(
        self,
        pairs: Sequence[Pair],
        needs: Iterable[str] = (),
        takes: Iterable[str] = (),
        progress: bool = False,
    ) -> Findings:
        """Look at every picture that is needed or can be used, and say what is wrong with it; see `inspection.check_pairs`.

        Args:
            pairs: the data set's.
            needs: names in `PICTURES` that a run cannot do without.
            takes: names that it can also use.
            progress: show a bar.
        """
        from .inspection import check_pairs

        return check_pairs(pairs, needs, takes, progress)
