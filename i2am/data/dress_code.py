"""DressCode as people have it on disk (Morelli et al. 2022): three categories, each with photos of persons and garments.

A person's photo is X_0.jpg, that of the garment that they wear X_1.jpg. The data set itself has no inpainting masks; the
places are those of people who made some (CatVTON's agnostic_masks, LaDI-VTON's masks, DCI-VTON's warped garments, IDM-VTON's
image-densepose).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import DatasetError
from .lists import Line, Listed, has_lists, list_of, listed, read_lines
from .pairs import Kind, Pair, Which
from .places import Finder, Place

CATEGORIES = ("upper_body", "lower_body", "dresses")
PERSON, GARMENT = "_0", "_1"
"""How the stems of photos end."""
PLACES: dict[str, Place] = {
    "person": Place(("images",)),
    "agnostic": Place(("agnostic", "agnostic-v3.2")),
    "inpaint_mask": Place(("agnostic_masks", "agnostic-mask", "agnostic_mask"), stems=("{}", "{}_mask"), ending=".png"),
    "densepose": Place(("image-densepose",)),
    "reference": Place(("images",), of="garment"),
    "reference_mask": Place(("masks", "cloth_mask", "cloth-mask"), of="garment", ending=".png"),
}
"""Below a category's folder."""
WARPED = {"warped": Place(("warped_cloth",)), "warped_mask": Place(("warped_mask",), ending=".png")}
"""Garments that persons wear, warped; they bear the person's name."""
EXPECTED = "a category of DressCode as it unpacks, with its lists such as test_pairs_paired.txt beside images"


def fits(folder: Path) -> bool:
    """Whether a folder is DressCode's, or one of its categories."""
    return bool(_categories(folder))


def dress_code_pairs(folder: Path, which: Which, split: str) -> list[Pair]:
    """The pairs of all categories, one category after the other; see `DataSet.pairs`.

    A list of its own may name the category third in its lines.

    Raises:
        DatasetError: there is no category, or a list is missing or is none.
    """
    roots = _categories(folder)
    if not roots:
        raise DatasetError(
            f"there is none of {', '.join(CATEGORIES)} with a folder images in {folder}; unpack the data set whole"
        )
    if which in ("paired", "unpaired"):
        return [pair for root in roots for pair in _listed(root, *list_of(root, which, split, EXPECTED), which)]
    path, _ = list_of(folder, which, split, EXPECTED)
    return _of_own_list(path, which, roots)


def _of_own_list(path: Path, which: Which, roots: list[Path]) -> list[Pair]:
    lines: dict[Path, list[Line]] = {root: [] for root in roots}
    finders = {root: Finder(root, {"person": PLACES["person"]}) for root in roots}
    for line in read_lines(path, words=3):
        lines[_owner(line, path, finders)].append(line)
    return [pair for root, of in lines.items() if of for pair in _pairs(root, listed(of, path, which, _own, general=False))]


def _listed(root: Path, path: Path, general: bool, which: Which) -> list[Pair]:
    lines = read_lines(path, alone=which != "unpaired")
    return _pairs(root, listed(lines, path, which, _own, general=general))


def _pairs(root: Path, lines: Iterable[Listed]) -> list[Pair]:
    """A category's pairs; the category's name stands before theirs."""
    finders = {paired: Finder(root, PLACES | (WARPED if paired else {})) for paired in (True, False)}
    return [
        replace(pair, name=f"{root.name}-{pair.name}") for one in lines for pair in [one.pair(finders[one.own].find(one.names))]
    ]


def _own(person: str) -> str:
    """The photo of the garment that a person wears."""
    return person.removesuffix(PERSON) + GARMENT


def _owner(line: Line, path: Path, finders: Mapping[Path, Finder]) -> Path:
    """The category of a line: the one that it names, or the first that has the person's photo."""
    if not line.more:
        return next((root for root, finder in finders.items() if finder.find({"person": line.person})[0]), next(iter(finders)))
    named = next((root for root in finders if root.name == line.more), None)
    if named is None:
        there = ", ".join(root.name for root in finders)
        raise DatasetError(f"{path}, line {line.number}, names the category {line.more!r}; expected one of {there}")
    return named


def _categories(folder: Path) -> list[Path]:
    found = [folder / name for name in CATEGORIES if (folder / name / "images").is_dir()]
    if not found and (folder / "images").is_dir() and has_lists(folder):
        return [folder]
    return found


DRESS_CODE = Kind(
    name="dress-code",
    title="DressCode",
    told_by=f"{', '.join(CATEGORIES)}, or one of them, with images and lists of pairs",
    fits=fits,
    read=dress_code_pairs,
)
