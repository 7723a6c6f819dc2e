"""VITON-HD as people have it on disk (Choi et al. 2021), and folders that are laid out like it."""

from __future__ import annotations

from pathlib import Path

from ..errors import DatasetError
from .lists import SPLITS, has_lists, list_of, listed, read_lines
from .pairs import Kind, Pair, Which
from .places import Finder, Place

PLACES: dict[str, Place] = {
    "person": Place(("image",)),
    "agnostic": Place(("agnostic-v3.2", "agnostic")),
    "inpaint_mask": Place(("agnostic-mask", "agnostic_mask"), stems=("{}_mask", "{}"), ending=".png"),
    "densepose": Place(("image-densepose", "densepose")),
    "reference": Place(("cloth",), of="garment"),
    "reference_mask": Place(("cloth-mask", "cloth_mask"), of="garment", stems=("{}", "{}_mask")),
    "hands_mask": Place(("image-parse-agnostic-v3.2",), ending=".png"),
}
"""Below train/ or test/."""
PARSED = ("hands_mask",)
WARPED = {
    paired: {"warped": Place((f"{of}cloth-warp",)), "warped_mask": Place((f"{of}cloth-warp-mask",))}
    for paired, of in ((True, ""), (False, "unpaired-"))
}
"""DCI-VTON's warped garments, for paired pairs and others; they bear the person's name."""
TRUTH = Place(("image-unpaired",), of="pair")
"""The person in another garment, which drawn data sets alone have."""


EXPECTED = "a VITON-HD folder as it unpacks, with {split}_pairs.txt beside {split}/image, {split}/cloth and others"


def fits(folder: Path) -> bool:
    """Whether a folder is laid out like VITON-HD."""
    return any((folder / split / "image").is_dir() for split in SPLITS) or has_lists(folder)


def viton_hd_pairs(folder: Path, which: Which, split: str) -> list[Pair]:
    """The pairs of a VITON-HD folder; see `DataSet.pairs`.

    Raises:
        DatasetError: the list is missing or is none, or the split's folder is missing.
    """
    path, general = list_of(folder, which, split, EXPECTED.format(split=split))
    root = folder / split
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root} with image, cloth and others; unpack the data set whole")
    finders = {paired: Finder(root, _places(paired)) for paired in (True, False)}
    lines = read_lines(path, alone=which != "unpaired")
    pairs = listed(lines, path, which, own=lambda person: person, general=general)
    return [one.pair(finders[one.own].find(one.names), PARSED) for one in pairs]


def _places(paired: bool) -> dict[str, Place]:
    return PLACES | WARPED[paired] | ({} if paired else {"truth": TRUTH})


VITON_HD = Kind(
    name="viton-hd",
    title="VITON-HD",
    told_by="train_pairs.txt or test_pairs.txt beside train/ or test/ with image, cloth and others",
    fits=fits,
    read=viton_hd_pairs,
)
