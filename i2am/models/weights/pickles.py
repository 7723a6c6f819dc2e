"""What names a checkpoint file's pickles hold, read without running any, and its tensors without them."""

from __future__ import annotations

import logging
import pickle
import pickletools
import zipfile
from collections import deque
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch

from ...errors import WeightsFileError
from .file import AGAIN, DAMAGED, kind_of, shown, told

log = logging.getLogger("i2am")

LEGACY_PICKLES = 5  # a file of torch < 1.6: mark, version, system, the object, its storages' keys; then the numbers


COMPUTED = "a name that is only made while unpickling"


STORAGES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")


USUAL = {
    "collections.OrderedDict",
    *(f"torch._utils._rebuild_{x}" for x in ("tensor", "tensor_v2", "parameter")),
    *(f"torch.{x}Storage" for x in STORAGES),
}


def pickled_names(path: Path) -> list[str]:
    """Everything that the pickles in a file of torch.save would import, sorted; found by reading, nothing is run.

    Raises:
        WeightsFileError: a pickle is damaged.
    """
    names: set[str] = set()
    kind = kind_of(path)
    try:
        if kind == "legacy":
            with path.open("rb") as file:
                for _ in range(LEGACY_PICKLES):
                    names.update(_names_in(file))
        else:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    if entry.filename.lower().endswith(".pkl"):  # torch looks it up whatever its case
                        names.update(_names_in(BytesIO(archive.read(entry))))
    except (zipfile.BadZipFile, OSError, MemoryError, *DAMAGED) as error:
        raise WeightsFileError(f"{path} is damaged or cut off ({told(error)}); {AGAIN}") from error
    return sorted(names)


def _names_in(pickled: IO[bytes]) -> Iterator[str]:
    """Names imported by the next pickle of a stream; a name whose two parts were not just pushed as text counts as computed."""
    pushed: deque[str | None] = deque((None, None), maxlen=2)
    memo: dict[int, str | None] = {}
    arg: Any
    for opcode, arg, _ in pickletools.genops(pickled):
        if opcode.name in ("PROTO", "FRAME"):
            continue
        if opcode.name == "MEMOIZE":
            memo[len(memo)] = pushed[-1]
            continue
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(arg)] = pushed[-1]
            continue
        if opcode.name in ("GLOBAL", "INST"):
            yield ".".join(str(arg).split(" ", 1))
        elif opcode.name == "STACK_GLOBAL":
            module, name = pushed
            yield COMPUTED if module is None or name is None else f"{module}.{name}"
        elif opcode.name in ("EXT1", "EXT2", "EXT4"):
            yield f"extension {arg} of copyreg"
        if opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            pushed.append(memo.get(int(arg)))
        else:
            pushed.append(arg if isinstance(arg, str) and opcode.name.endswith(("UNICODE", "STRING", "UNICODE8")) else None)


class _Absent:
    """Stands for an object whose class is not installed here, such as a callback of Lightning; only its place is kept."""

    def __new__(cls, *_: Any, **__: Any) -> _Absent:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...


class _Unpickler(pickle.Unpickler):
    """Python's own, except that what cannot be imported leaves a gap: a checkpoint needs no training code to be converted."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            if module.partition(".")[0] in ("torch", "builtins", "collections", "numpy"):
                raise
            log.info("not installed here, left out: %s", shown(f"{module}.{name}"))
            return type(f"{module}.{name}", (_Absent,), {})


def unpickled(path: Path) -> Any:
    """Unpickle without any care; only after consent."""
    lenient = SimpleNamespace(Unpickler=_Unpickler, load=pickle.load, __name__="pickle")
    mmap = kind_of(path) == "zip"
    try:
        return torch.load(path, map_location="cpu", weights_only=False, mmap=mmap, pickle_module=lenient)
    except Exception as error:  # whatever the file's own code raises
        raise WeightsFileError(
            f"{path} could not be unpickled ({told(error)}); it may need the Python packages that made it, or be damaged"
        ) from error
