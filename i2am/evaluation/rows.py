"""A row per image, in files that no kill harms: each row is a whole line on disk before the next image is begun."""

from __future__ import annotations

import json
import os
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from ..data.text import not_utf8
from .errors import EvaluationError
from .facts import Key, Row, first_error

BLANK = b" \t\r\n\0"
"""What may stand behind a last line; zeros are what some file systems leave of a write when the power goes."""


def read_rows(folder: Path) -> list[Row]:
    """The rows of all ``*.jsonl`` files of a folder, one per image, by kind and name.

    Of several rows of one image the one with the most values counts, of equals the last. Empty lines, and a last line that a
    kill cut short, are passed over.

    Raises:
        EvaluationError: a line is no row, or the file is no text in UTF-8; names it.
    """
    merged: dict[Key, Row] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for row in _lines(path):
            before = merged.get(row.key)
            if before is None or len(row.values) >= len(before.values):
                merged[row.key] = row
    return [merged[key] for key in sorted(merged)]


class RowWriter:
    """Adds rows to a file; each reaches the disk as a whole line before `add` returns.

    What a kill left of a line at the file's end is cut off first.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        _cut_torn(path)

    def add(self, row: Row) -> None:
        """Add a row."""
        with self._path.open("ab") as file:
            file.write(json.dumps(row.model_dump(mode="json"), ensure_ascii=False, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _lines(path: Path) -> Iterator[Row]:
    """The rows of one file; empty lines, and a last line that a kill cut short, are passed over."""
    content = path.read_bytes()
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise EvaluationError(f"{path} {not_utf8(content)}")
    content = content.removeprefix(BOM_UTF8)
    for number, line in enumerate(content[: _whole(content)].split(b"\n"), 1):
        if not line.strip(BLANK):
            continue
        try:
            yield Row.model_validate_json(line)
        except ValidationError as error:
            why = not_utf8(line) or first_error(error)
            raise EvaluationError(
                f"{path}, line {number} is no row ({why}); delete this line to have its image made again"
            ) from error


def _whole(content: bytes) -> int:
    """The bytes before a last line that was cut short: one without an end, or one that is no JSON."""
    text = content.rstrip(BLANK)
    start = text.rfind(b"\n") + 1
    try:
        json.loads(text[start:])
    except ValueError:
        return start
    end = content.find(b"\n", len(text)) + 1
    return end or start


def _cut_torn(path: Path) -> None:
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = _whole(content)
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
