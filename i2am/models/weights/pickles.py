"""Checkpoint files that only unpickling can read: what their pickle names, and its value after consent."""

from __future__ import annotations

import logging
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from ...errors import WeightsFileError
from .archive import Archive
from .file import opened
from .inert import STORAGES, Stored
from .kinds import shown, told

log = logging.getLogger("i2am")


def pickled_names(path: Path) -> list[str]:
    """Everything that the pickle in a file of torch.save would import, sorted; found by reading, nothing is run.

    Raises:
        WeightsFileError: the file is damaged or made to mislead.
    """
    return sorted(opened(path).reading.names)


class _Absent:
    """Stands for an object whose class is not installed here, such as a callback of Lightning; only its place is kept."""

    def __new__(cls, *_: Any, **__: Any) -> _Absent:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...


class _Numbers:
    """Stands for the class of a storage; says what its numbers are."""

    def __init__(self, name: str) -> None:
        self.name, self.dtype = name, STORAGES[name]


class _Unpickler(pickle.Unpickler):
    """Python's own, except that storages come from the file at hand, and that what cannot be imported leaves a gap."""

    def __init__(self, archive: Archive) -> None:
        super().__init__(BytesIO(archive.program), encoding="utf-8")
        self.archive = archive

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" in STORAGES:
            return _Numbers(f"{module}.{name}")
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            if module.partition(".")[0] in ("torch", "builtins", "collections", "numpy"):
                raise
            log.info("not installed here, left out: %s", shown(f"{module}.{name}"))
            return type(f"{module}.{name}", (_Absent,), {})

    def persistent_load(self, pid: Any) -> Any:
        kind, what, *more = pid
        if kind == "module":
            return what
        key, _, count, *view = more
        stored = Stored(key, what.dtype, count)
        numbers = self.archive.numbers(stored)
        if view and view[0] is not None:
            first = view[0][1] * what.dtype.itemsize
            numbers = numbers[first : first + view[0][2] * what.dtype.itemsize]
        return torch.storage.TypedStorage(wrap_storage=numbers, dtype=what.dtype, _internal=True)


def unpickled(path: Path, archive: Archive) -> Any:
    """Unpickle, without any care, the very bytes whose names were read; only after consent.

    Raises:
        WeightsFileError: the file's own code failed.
    """
    try:
        return _Unpickler(archive).load()
    except Exception as error:  # whatever the file's own code raises
        raise WeightsFileError(
            f"{path} could not be unpickled ({told(error)}); it may need the Python packages that made it, or be damaged"
        ) from error
