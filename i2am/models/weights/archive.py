"""What a file of torch.save holds: one pickle, and beside it the numbers that its tensors refer to."""

from __future__ import annotations

import contextlib
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from .inert import OddFileError, Stored
from .kinds import check_contents
from .machine import Reading, read_pickle
from .zips import Entry, entries_of

MAGIC = 0x1950A86A20F9469CFC6C
"""What torch < 1.6 pickled first."""
MAX_PICKLE = 64 << 20
"""Bytes; a checkpoint of 5,000 tensors has 1 MB."""
MAX_RATIO = 20
"""How many times its own size a packed file may unpack to; weights shrink by a tenth."""
SMALL = 64 << 20
"""Bytes that any file may unpack to."""
MAX_HEAD = 1 << 16
"""Bytes of what stands before the pickle in a file of torch < 1.6."""


@dataclass(frozen=True)
class Archive:
    """A file of torch.save.

    Attributes:
        program: the pickle of what was saved, from its first byte to its last.
        reading: its value, read as data.
        numbers: finds a storage's numbers, mapped from the file where that works.
    """

    program: bytes
    reading: Reading
    numbers: Callable[[Stored], torch.UntypedStorage]


def open_archive(path: Path, kind: str) -> Archive:
    """Find the pickle and the numbers in a file of ``kind`` "zip" or "legacy" (torch < 1.6).

    Raises:
        WeightsFileError: it is a zip file of something else.
        OddFileError: the file could be read in two ways, or is far larger than it looks.
        OSError, ValueError, LookupError, TypeError, RuntimeError, zipfile.BadZipFile: it is damaged.
    """
    return _legacy(path) if kind == "legacy" else _zip(path)


def _zip(path: Path) -> Archive:
    entries, size = entries_of(path), path.stat().st_size
    check_contents(path, list(entries))
    unpacked = sum(entry.size for entry in entries.values())
    if unpacked > max(SMALL, MAX_RATIO * size):
        raise OddFileError(f"it would unpack from {size:,} bytes to {unpacked / 1e9:,.1f} GB")
    pickles = [name for name in entries if name.casefold().endswith("/data.pkl")]
    if len(pickles) != 1:
        raise OddFileError(f"it holds {len(pickles)} pickles named data.pkl, expected one")
    root, held = pickles[0][: -len("data.pkl")], entries[pickles[0]]
    if held.size > MAX_PICKLE:
        raise OddFileError(f"its pickle has {held.size / 1e6:,.0f} MB, which no state dict takes")
    program = held.read()
    if held.checksum not in (0, zlib.crc32(program)):  # 0 where torch.save was told to write no checksums
        raise ValueError("its pickle's checksum is wrong")
    reading = read_pickle(program)
    swapped = _other_order(entries.get(root + "byteorder"))
    mapped = _mapped(path)
    found: dict[str, torch.UntypedStorage] = {}

    def numbers(stored: Stored) -> torch.UntypedStorage:
        if stored.key not in found:
            entry = entries.get(f"{root}data/{stored.key}")
            has, need = 0 if entry is None else entry.size, reading.stored[stored.key].nbytes
            if need > has or entry is None:
                raise ValueError(f"storage {stored.key[:20]} has {has:,} of {need:,} bytes")
            made = _part(path, mapped, entry.start(), has, stored.dtype) if entry.is_stored else _owned(entry.read())
            if swapped:
                made = made.clone()
                made.byteswap(stored.dtype)
            found[stored.key] = made
        return found[stored.key]

    return Archive(program[: reading.end], reading, numbers)


def _other_order(entry: Entry | None) -> bool:
    """Whether the numbers were written on a machine of the other byte order."""
    order = "little" if entry is None or entry.size > len("little") else entry.read().decode("ascii")
    return order != sys.byteorder


def _legacy(path: Path) -> Archive:
    """Five pickles: a mark, a version, facts of the machine, the object, its storages' keys; then the numbers in that order."""
    size = path.stat().st_size
    spans: dict[str, int] = {}
    with path.open("rb") as file:
        (_, mark), (_, version), (_, machine) = (_next(file, MAX_HEAD) for _ in range(3))
        program, reading = _next(file)
        _, keys = _next(file)
        if mark.value != MAGIC or not isinstance(version.value, int) or not isinstance(keys.value, list):
            raise ValueError("what stands before its numbers is not what torch.save writes")
        if isinstance(machine.value, dict) and machine.value.get("little_endian", True) != (sys.byteorder == "little"):
            raise OddFileError("its numbers have the other byte order")
        for key in keys.value:
            stored = reading.stored[key]
            told = file.read(8)
            count, start = int.from_bytes(told, "little"), file.tell()
            if len(told) < 8 or count != stored.count or key in spans:
                raise ValueError(f"storage {key[:20]} has {count:,} of {stored.count:,} numbers")
            if start + stored.nbytes > size:
                raise ValueError(f"it has {size:,} bytes, expected at least {start + stored.nbytes:,}")
            spans[key] = start
            file.seek(start + stored.nbytes)
    mapped = _mapped(path)
    found: dict[str, torch.UntypedStorage] = {}

    def numbers(stored: Stored) -> torch.UntypedStorage:
        whole = reading.stored[stored.key]
        if stored.key not in found:
            found[stored.key] = _part(path, mapped, spans[stored.key], whole.nbytes, whole.dtype)
        return found[stored.key]

    return Archive(program, reading, numbers)


def _next(file: BinaryIO, limit: int = MAX_PICKLE) -> tuple[bytes, Reading]:
    """The next pickle of a file and its value; the file goes on right behind it."""
    start = file.tell()
    content = file.read(limit)
    reading = read_pickle(content)
    file.seek(start + reading.end)
    return content[: reading.end], reading


def _mapped(path: Path) -> torch.UntypedStorage | None:
    """The file in memory, copied where it is written to; None where the system cannot."""
    mapped: Any = None
    with contextlib.suppress(RuntimeError):
        mapped = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
    return mapped  # type: ignore[no-any-return]


def _part(path: Path, mapped: torch.UntypedStorage | None, start: int, size: int, dtype: torch.dtype) -> torch.UntypedStorage:
    if mapped is None:
        with path.open("rb") as file:
            file.seek(start)
            return _owned(file.read(size))
    part = mapped[start : start + size]
    return part if start % dtype.itemsize == 0 else part.clone()  # kernels expect numbers at whole multiples


def _owned(content: bytes) -> torch.UntypedStorage:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).untyped_storage() if content else torch.UntypedStorage(0)
