"""Lists of pairs in text files: a line is the person's picture and the garment's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from ..errors import DatasetError
from .pairs import JOINT, Pair, Which
from .text import read_text

WORDS = 2
"""On a line: person and garment."""
COMMENT = "#"
"""Begins a line that is not read."""
EXPECTED = (
    "a person's and a garment's picture on each line, such as 00006_00.jpg 08909_00.jpg, with a space between them, or a tab "
    "where names hold spaces"
)
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Line:
    """One pair of a list, by the pictures' names without folders and endings.

    Attributes:
        person: the person's picture.
        garment: the garment's; None: the line names the person alone.
        number: of the line, from 1.
        more: what stands behind the two names.
    """

    person: str
    garment: str | None
    number: int
    more: str = ""


@dataclass(frozen=True)
class Listed:
    """What a list says of one pair.

    Attributes:
        person: the person's picture.
        garment: the garment's.
        own: whether the person wears it.
        odd: what is wrong with its line, by the kind of problem.
    """

    person: str
    garment: str
    own: bool
    odd: dict[str, str]

    @property
    def name(self) -> str:
        """Unique in a list; see `Pair.name`."""
        return self.person if self.own else f"{self.person}{JOINT}{self.garment}"

    @property
    def names(self) -> dict[str, str]:
        """Whose name the files bear, by `places.Place.of`."""
        return {"person": self.person, "garment": self.garment, "pair": self.name}

    def pair(self, files: tuple[dict[str, Path], dict[str, Path]], parsed: Iterable[str] = ()) -> Pair:
        """The pair, from what `places.Finder.find` gives and the pictures that lie there as parse maps."""
        found, lacking = files
        return Pair(self.name, self.person, self.garment, self.own, found, lacking, frozenset(parsed), self.odd)


def list_of(folder: Path, which: Which, split: str, expected: str) -> tuple[Path, bool]:
    """The file that lists the pairs, and whether it is one of all pairs, not of paired or unpaired ones in particular.

    Args:
        folder: holds the lists.
        which: "paired", "unpaired", or a list's path, also relative to the folder.
        split: "train" or "test".
        expected: what such a folder holds, for an error's text.

    Raises:
        DatasetError: there is none, or no such split.
    """
    if split not in SPLITS:
        raise DatasetError(f"there is no split {split!r}; take {' or '.join(SPLITS)}")
    if which not in ("paired", "unpaired"):
        path = next((path for path in (folder / which, Path(which)) if path.is_file()), None)
        if path is None:
            raise DatasetError(f"there is no list of pairs {which}, in {folder} or as a path; mend its name")
        return path, False
    for path, general in ((folder / f"{split}_pairs_{which}.txt", False), (folder / f"{split}_pairs.txt", True)):
        if path.is_file():
            return path, general
    wanted = f"{split}_pairs.txt"
    hint = f"; it lies in {folder.parent}: give that folder" if (folder.parent / wanted).is_file() else ""
    raise DatasetError(f"there is no {wanted} in {folder}; expected {expected}{hint}")


def has_lists(folder: Path) -> bool:
    """Whether a folder holds a list that `list_of` finds."""
    names = (f"{split}_pairs{which}.txt" for split in SPLITS for which in ("", "_paired", "_unpaired"))
    return any((folder / name).is_file() for name in names)


def read_lines(path: Path, words: int = WORDS, alone: bool = True) -> list[Line]:
    """The lines of a pairs file that name pictures; of paths, both kinds of slash are known, and the file's name counts.

    Names stand apart by tabs where a line holds any, else by spaces. Empty lines and those that begin with "#" are passed over.

    Args:
        path: the file.
        words: the most on a line.
        alone: whether a line may name the person alone.

    Raises:
        DatasetError: it cannot be read, is no text in UTF-8, a line has another form, or no line names a picture.
    """
    out = []
    for number, line in enumerate(read_text(path, EXPECTED).splitlines(), 1):
        found = _words(line)
        if not found or found[0].startswith(COMMENT):
            continue
        if why := _odd(found, line, words, alone):
            raise DatasetError(f"{path}, line {number}, {line.strip()[:60]!r}, {why}; expected {EXPECTED}")
        garment = stem(found[1]) if len(found) > 1 else None
        out.append(Line(stem(found[0]), garment, number, " ".join(found[WORDS:])))
    if not out:
        raise DatasetError(f"{path} names no pair; expected {EXPECTED}")
    return out


def _words(line: str) -> list[str]:
    """The names on a line."""
    return [word for part in line.split("\t") if (word := part.strip())] if "\t" in line else line.split()


def _odd(found: list[str], line: str, words: int, alone: bool) -> str:
    """What is wrong with the form of a line, in words that follow it; "": nothing."""
    for sign, name in ((",", "commas"), (";", "semicolons")):
        parts = line.count(sign)
        if parts and (len(found) == 1 or any(word.startswith(sign) or word.endswith(sign) for word in found)):
            return f"is separated by {name}"
    if len(found) > words:
        return f"holds {len(found)} names"
    if len(found) == 1 and not alone:
        return "holds one name"
    return ""


def stem(word: str) -> str:
    r"""A picture's name without folders and ending.

    >>> stem("image/00006_00.jpg"), stem("test\\cloth\\08909_00.jpg")
    ('00006_00', '08909_00')
    """
    return PureWindowsPath(word).stem


def listed(lines: list[Line], path: Path, which: Which, own: Callable[[str], str], *, general: bool) -> list[Listed]:
    """What a list says of the pairs that were asked for, each once.

    Args:
        lines: of the list.
        path: its file, for the texts.
        which: "paired", "unpaired", or a list's own path, whose pairs are taken as they stand.
        own: a person's picture to the picture of the garment that they wear.
        general: the list is not one of paired pairs in particular: asked for paired ones, its persons alone count.

    Raises:
        DatasetError: there is no such pair in it.
    """
    if which == "paired" and general:
        return [Listed(person, own(person), own=True, odd={}) for person in dict.fromkeys(line.person for line in lines)]
    out: dict[tuple[str, str], Listed] = {}
    for line in lines:
        garment = own(line.person) if line.garment is None else line.garment
        before = out.get((line.person, garment))
        if before is not None:
            before.odd["listed twice"] = f"{path.name} names it again in line {line.number}; it is taken once"
            continue
        wears = garment == own(line.person)
        odd = {}
        if which == "paired" and not wears:
            odd["mismatched pair"] = f"{path.name}, line {line.number}, gives {line.person} the garment {garment} of another"
        if which == "unpaired" and wears:
            odd["mismatched pair"] = f"{path.name}, line {line.number}, gives {line.person} their own garment"
        out[line.person, garment] = Listed(line.person, garment, wears, odd)
    if which == "unpaired" and all(one.own for one in out.values()):
        raise DatasetError(
            f"{path} gives every person their own garment, so it names no unpaired pair; expected a person and another's "
            f"garment a line: give such a list, or take the paired ones"
        )
    return list(out.values())
