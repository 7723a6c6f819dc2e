"""A plain folder with a CSV: a row is a pair, its columns the paths of the pictures."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ..errors import DatasetError
from .lists import SPLITS
from .names import alike, unfit
from .pairs import JOINT, PICTURES, Kind, Pair, Which
from .text import read_text

FILE = "pairs.csv"
"""The list, unless the folder holds one CSV alone."""
COLUMNS = {name: name for name in PICTURES} | {
    "image": "person",
    "garment": "reference",
    "cloth": "reference",
    "mask": "inpaint_mask",
    "cloth_mask": "reference_mask",
    "garment_mask": "reference_mask",
    "parse": "hands_mask",
}
"""What columns with paths may be called, and which pictures they are; "parse" is a parse map."""
NEEDED = ("person", "reference")
ANSWERS = {word: answer for answer, words in ((True, "yes true 1"), (False, "no false 0")) for word in words.split()}
"""Of the column "paired"."""
SEPARATORS = ",;\t"


@dataclass(frozen=True)
class Row:
    """One row of the list.

    Attributes:
        number: of its last line in the file, from 1.
        cells: by the name of the column, stripped; empty ones are left out.
    """

    number: int
    cells: Mapping[str, str]

    def picture(self, name: str) -> tuple[str, str] | None:
        """The column that names a picture, and the path in it."""
        return next(
            ((column, self.cells[column]) for column in COLUMNS if COLUMNS[column] == name and column in self.cells), None
        )


def fits(folder: Path) -> bool:
    """Whether a folder holds a CSV that can be its list of pairs."""
    return _list_in(folder) is not None


def csv_pairs(folder: Path, which: Which, split: str) -> list[Pair]:
    """The pairs of a folder with a CSV; see `DataSet.pairs`.

    Columns are the pictures' names (`COLUMNS`), and where they are wanted "name", "paired" (yes or no) and "split" (train or
    test). Without "paired" the persons wear the garments whose files are called like theirs. Paths count from the CSV's folder.

    Raises:
        DatasetError: there is no CSV, it is none, it lacks a column, or it names no such pair.
    """
    if split not in SPLITS:
        raise DatasetError(f"there is no split {split!r}; take {' or '.join(SPLITS)}")
    path = _csv(folder, which)
    rows = [row for row in _rows(path) if row.cells.get("split", split).lower() == split]
    if not rows:
        raise DatasetError(f"{path} names no pair of the split {split!r}; expected rows with person and reference")
    persons, garments = (_names([_path(row, name, path) for row in rows]) for name in NEEDED)
    out: dict[str, Pair] = {}
    for row, person, garment in zip(rows, persons, garments, strict=True):
        pair = _pair(row, person, garment, path)
        before = out.get(pair.name)
        if before is None:
            out[pair.name] = pair
        elif before.files == pair.files and before.lacks == pair.lacks:
            odd = {"listed twice": f"{path.name} names it again in line {row.number}; it is taken once"}
            out[pair.name] = replace(before, odd=odd)
        else:
            raise DatasetError(f"{path}, line {row.number}, names a second pair {pair.name!r}; give them names of their own")
    for name, first in alike(out):
        raise DatasetError(
            f"{path} names pairs {first!r} and {name!r}, which differ in letter case alone and would be one file on many "
            f"systems; give them names of their own in a column name"
        )
    if which not in ("paired", "unpaired"):
        return list(out.values())
    kept = [pair for pair in out.values() if pair.paired == (which == "paired")]
    if not kept:
        raise DatasetError(
            f"{path} names no {which} pair of the split {split!r} among {len(out)}; a column 'paired' with yes or no says "
            f"which they are"
        )
    return kept


def _list_in(folder: Path) -> Path | None:
    found = sorted(path for path in folder.glob("*.csv") if path.is_file())
    named = [path for path in found if path.name == FILE]
    return named[0] if named else found[0] if len(found) == 1 else None


def _csv(folder: Path, which: Which) -> Path:
    if which not in ("paired", "unpaired"):
        given = next((path for path in (folder / which, Path(which)) if path.is_file()), None)
        if given is None:
            raise DatasetError(f"there is no CSV {which}, in {folder} or as a path; mend its name")
        return given
    found = _list_in(folder)
    if found is None:
        raise DatasetError(f"there is no {FILE} in {folder}; expected one with the columns {', '.join(NEEDED)} and others")
    return found


def _rows(path: Path) -> Iterator[Row]:
    lines = read_text(path, f"a CSV with the columns {', '.join(NEEDED)} and others").splitlines()
    if not lines:
        raise DatasetError(f"{path} is empty; expected a row of column names, {', '.join(NEEDED)} among them")
    separator = max(SEPARATORS, key=lines[0].count)
    reader = csv.reader(lines, delimiter=separator)
    try:
        header = [cell.strip().lower() for cell in next(reader)]
        _check_header(header, path)
        for cells in reader:
            if len(cells) > len(header):
                raise DatasetError(f"{path}, line {reader.line_num}, has {len(cells)} cells for {len(header)} columns; mend it")
            row = Row(reader.line_num, {c: cell.strip() for c, cell in zip(header, cells, strict=False) if cell.strip()})
            if row.cells:
                yield row
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}, is no CSV ({error})") from error


def _check_header(header: list[str], path: Path) -> None:
    found = [COLUMNS[column] for column in header if column in COLUMNS]
    lacking = [name for name in NEEDED if name not in found]
    if lacking:
        raise DatasetError(
            f"{path} has no column {' and '.join(lacking)}; its columns are {', '.join(header)}; expected {', '.join(NEEDED)} "
            f"and any of {', '.join(name for name in COLUMNS if name not in NEEDED)}, name, paired, split"
        )
    twice = [name for name, count in Counter(found).items() if count > 1]
    if twice:
        raise DatasetError(f"{path} has several columns for {', '.join(twice)}; keep one")


def _path(row: Row, name: str, path: Path) -> PurePosixPath:
    found = row.picture(name)
    if found is None:
        raise DatasetError(f"{path}, line {row.number}, names no {name}; every row needs {' and '.join(NEEDED)}")
    return PurePosixPath(found[1].replace("\\", "/"))


def _names(paths: list[PurePosixPath]) -> list[str]:
    """Names of pictures: their files' stems, or where two folders have files of one stem, the whole paths."""
    if len({path.stem for path in paths}) == len(set(paths)):
        return [path.stem for path in paths]
    return ["-".join(part for part in path.with_suffix("").parts if part not in ("/", "..")) for path in paths]


def _pair(row: Row, person: str, garment: str, path: Path) -> Pair:
    said = row.cells.get("paired", "").lower()
    if said and said not in ANSWERS:
        raise DatasetError(f"{path}, line {row.number}, has {said!r} in the column paired; expected yes or no")
    paired = ANSWERS[said] if said else person == garment
    files: dict[str, Path] = {}
    lacks: dict[str, Path] = {}
    for name in PICTURES:
        if (found := row.picture(name)) is not None:
            file = path.parent / found[1].replace("\\", "/")
            (files if file.is_file() else lacks)[name] = file
    parsed = frozenset({"hands_mask"} if "parse" in row.cells and "hands_mask" not in row.cells else ())
    name = row.cells.get("name") or (person if paired else f"{person}{JOINT}{garment}")
    if why := unfit(name):
        raise DatasetError(
            f"{path}, line {row.number}: {name[:60]!r} is no name for files, since it {why}; give the pair another "
            f"in a column name"
        )
    return Pair(name, person, garment, paired, files, lacks, parsed)


CSV_FOLDER = Kind(
    name="csv",
    title="a folder with a CSV",
    told_by=f"{FILE}, with the columns {' and '.join(NEEDED)}",
    fits=fits,
    read=csv_pairs,
)
