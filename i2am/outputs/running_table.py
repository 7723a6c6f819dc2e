"""A CSV table that grows by a row at a time, and that people may edit meanwhile: nothing in it is ever lost."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.text import not_utf8
from ..errors import I2AMError
from .locked import locked

MAIN = "name"
"""The column by which a table is known to be one of ours."""
LARGEST = 64_000_000
"""Bytes of a table that is still added to."""
_DELIMITERS = ",;\t"

Value = str | float | int | None


@dataclass(frozen=True)
class RunningTable:
    """A table as it stands after a row was added.

    Attributes:
        columns: as in its first line.
        rows: as many cells each as there are columns.
        notes: what had to be done to add the row.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def numbers(self, column: int) -> list[float]:
        """The finite numbers of a column, down its rows; cells that are none are passed over."""
        found = (number_of(row[column]) for row in self.rows)
        return [x for x in found if x is not None]


def append_row(path: Path, row: Mapping[str, Value]) -> RunningTable:
    """Add a row to a table, which is begun if it is not there.

    Columns that the table has beside the row's stay, empty in this row; columns that it lacks are added at its end. Its
    delimiter (comma, semicolon or tab) stays. What is no such table, such as one whose quotes do not end, is set aside under
    another name, and a new one is begun.

    Args:
        path: the table.
        row: by column; None and numbers that are not finite leave a cell empty.

    Raises:
        I2AMError: another run held the table for too long, or another program keeps it from being written.
    """
    with locked(path):
        try:
            return _append(path, {_cell(column): _cell(value) for column, value in row.items()})
        except PermissionError as error:
            raise I2AMError(
                f"{path.name} cannot be written to; close it in the program that has it open, and run again"
            ) from error


def number_of(cell: str) -> float | None:
    """A cell as a number, if it is a finite one.

    >>> number_of("0.5"), number_of("nan"), number_of("much")
    (0.5, None, None)
    """
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _append(path: Path, row: Mapping[str, str]) -> RunningTable:
    notes: list[str] = []
    found: _Found | None = None
    if path.exists() and path.stat().st_size:
        try:
            found = _read(path)
        except _NoTableError as error:
            aside = _set_aside(path)
            notes.append(f"{path.name} {error}; it lies in {aside.name} now, and a new table was begun")
    if found is None:
        found = _Found(tuple(row), (), ",", "\n", True)
        _replace(path, found, [[*row.values()]])
        return RunningTable(found.columns, (tuple(row.values()),), tuple(notes))
    new = tuple(column for column in row if column not in found.columns)
    columns = found.columns + new
    cells = _in_order(columns, row)
    if new:
        _replace(path, _Found(columns, found.rows, found.delimiter, found.newline, True), [*map(list, found.rows), cells])
        notes.append(f"the column{'s' * (len(new) > 1)} {', '.join(new)} {'were' if len(new) > 1 else 'was'} added")
    else:
        with path.open("ab") as file:
            file.write(("" if found.ended else found.newline).encode() + _lines([cells], found).encode())
            file.flush()
            os.fsync(file.fileno())
    rows = [_filled(x, len(columns)) for x in (*found.rows, cells)]
    return RunningTable(columns, tuple(rows), tuple(notes))


@dataclass(frozen=True)
class _Found:
    """What a file holds, its rows as they are."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    delimiter: str
    newline: str
    ended: bool


class _NoTableError(Exception):
    """A file that is no table of ours; the reason goes on from the file's name."""


def _read(path: Path) -> _Found:
    if not path.is_file():
        raise _NoTableError("is no file")
    if path.stat().st_size > LARGEST:
        raise _NoTableError(f"is over {LARGEST // 1_000_000} MB")
    content = path.read_bytes()
    if why := not_utf8(content):
        raise _NoTableError(why)
    text = content.decode("utf-8-sig")
    for delimiter in _DELIMITERS:
        try:
            lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        except csv.Error:
            continue
        lines = [line for line in lines if any(cell.strip() for cell in line)]
        head = tuple(cell.strip() for cell in lines[0]) if lines else ()
        if MAIN in head:
            newline = "\r\n" if "\r\n" in text else "\n"
            return _Found(head, tuple(map(tuple, lines[1:])), delimiter, newline, text.endswith(("\n", "\r")))
    raise _NoTableError(f"has no line of columns with {MAIN!r} among them, or quotes that do not end")


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.stem} (set aside {number}){path.suffix}")).exists():
        number += 1
    path.rename(aside)
    return aside


def _replace(path: Path, found: _Found, rows: list[list[str]]) -> None:
    """Write a table whole or not at all."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_bytes(_lines([[*found.columns], *rows], found).encode())
    draft.replace(path)


def _lines(rows: list[list[str]], found: _Found) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=found.delimiter, lineterminator=found.newline).writerows(rows)
    return out.getvalue()


def _in_order(columns: tuple[str, ...], row: Mapping[str, str]) -> list[str]:
    left = dict(row)
    return [left.pop(column, "") for column in columns]  # of two columns of one name the first takes the value


def _filled(row: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple([*row, *[""] * count][:count])


def _cell(value: Value) -> str:
    """A value as a cell, which no spreadsheet takes for a formula.

    >>> _cell(0.1), _cell(float("nan")), _cell("=1+1")
    ('0.1', '', "'=1+1")
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float | int):
        return repr(value)
    plain = " ".join(value.encode("utf-8", "replace").decode().replace("\0", " ").split())
    return f"'{plain}" if plain.startswith(("=", "+", "-", "@")) else plain
