"""The tensors of a checkpoint file, read without running anything that the file might contain."""

from __future__ import annotations

import logging
import math
import re
import struct
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...errors import UnsafePickleError, WeightsFileError
from .archive import Archive, open_archive
from .imports import running, unusual
from .inert import Described, Inert, OddFileError, Stored
from .kinds import AGAIN, kind_of, shown, told
from .names import plain_names

log = logging.getLogger("i2am")

MAX_SHARED = 4
"""How many times the numbers in the file its tensors may be that share or repeat them."""
SMALL = 64 << 20
"""Bytes of tensors that any file may have."""
DAMAGED = (
    zipfile.BadZipFile,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    struct.error,
)


@dataclass(frozen=True)
class Found:
    """What a weights file holds.

    Attributes:
        tensors: of its state dict, by name.
        others: what else is in the state dict.
        around: what lies around the state dict.
        named: classes and functions that it names; none was imported.
    """

    tensors: dict[str, Tensor]
    others: dict[Any, Any] = field(default_factory=dict)
    around: dict[Any, Any] = field(default_factory=dict)
    named: tuple[str, ...] = ()


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a .safetensors, .ckpt, .pt, .pth or .bin file, on the CPU, mapped from the disk where that works.

    A state dict under the key ``state_dict`` (as Lightning writes) is unwrapped, whatever lies around it. Numbers, strings
    and dicts without tensors beside the tensors (``global_step``) are dropped. Names lose what a wrapper put before all of
    them, and averaged weights (EMA) stand in for a U-Net's own that are not there: see `plain_names`.

    Raises:
        UnsafePickleError: the file can only be read by unpickling what may run any program; nothing of it was run.
        WeightsFileError: the file is missing, empty, cut off, of another kind, or holds something else than a state dict.
        OSError: the system does not let us read it.
    """
    path = Path(path)
    found = load_safely(path)
    seen: set[int] = set()
    for name, value in found.others.items():
        if not isinstance(value, (int, float, str, dict, type(None))) or _holds_tensors(value, seen):
            raise WeightsFileError(
                f"{path} holds {shown(name)} ({described(value)}) among its tensors; expected a state dict. Save "
                f"`model.state_dict()`, or keep the tensors alone with: {how_to_convert(path)}"
            )
    if found.named:
        log.info("%s also names %s; none was imported or run", path, listed(found.named, 3))
    return plain_names(path, found.tensors)


def load_safely(path: Path, *, alarm: bool = True) -> Found:
    """What a weights file holds, as `read_weights` finds it; errors as there.

    Args:
        path: of the file.
        alarm: refuse a file that names what runs programs, although nothing is run here.
    """
    if kind_of(path) == "safetensors":
        try:
            return Found(load_file(path))
        except (SafetensorError, *DAMAGED) as error:
            raise WeightsFileError(f"{path} is damaged or cut off ({_lacking(path) or told(error)}); {AGAIN}") from error
    archive = opened(path)
    names, value = archive.reading.names, archive.reading.value
    state, _ = unwrapped(value)
    unsafe = [state.name] if isinstance(state, Inert) else running(names) if alarm else []
    if unsafe:
        raise UnsafePickleError(
            f"{path} is a pickle of more than tensors: it names {listed(unsafe, 1)}, and unpickling that could run any "
            f"program, so nothing of it was read. If you trust who made it, convert it once: {how_to_convert(path)}"
        )
    return found_in(path, value, lambda x: _built(x, archive), unusual(names))


def opened(path: Path) -> Archive:
    """The pickle of a file of torch.save, read as data.

    Raises:
        WeightsFileError: the file is damaged or made to mislead.
    """
    kind = kind_of(path)
    try:
        return open_archive(path, kind)
    except WeightsFileError:
        raise
    except OddFileError as error:
        raise WeightsFileError(
            f"{path} is damaged, cut off or made to mislead: {shown(error)}; get it again from its authors"
        ) from error
    except zipfile.BadZipFile as error:
        raise WeightsFileError(
            f"{path} is cut off or damaged: it begins as a zip file, but after {path.stat().st_size} bytes its list of "
            f"contents is missing or wrong ({told(error)}); {AGAIN}"
        ) from error
    except DAMAGED as error:
        raise WeightsFileError(f"{path} is damaged or cut off ({told(error)}); {AGAIN}") from error


def found_in(path: Path, value: Any, build: Callable[[Any], Tensor], names: Iterable[str] = ()) -> Found:
    """The tensors in what a pickle gave, without gradients, and what lies beside them.

    Raises:
        WeightsFileError: it is no dict, has no tensors, one has no name, or they are far larger than the file.
    """
    state, around = unwrapped(value)
    if not isinstance(state, dict):
        raise WeightsFileError(f"{path} holds one {described(state)}, expected a dict of tensors; save `model.state_dict()`")
    tensors: dict[str, Tensor] = {}
    others = {}
    for name, x in state.items():
        if isinstance(x, Inert) and x.is_tensor:
            raise WeightsFileError(
                f"{path} holds the tensor {shown(name)} of an unusual kind ({described(x)}), which cannot be read without "
                f"unpickling it; save it again as a dense one of a usual type"
            )
        if not isinstance(x, (Tensor, Described)):
            others[name] = x
        elif not isinstance(name, str):
            raise WeightsFileError(f"{path} has a tensor under {shown(name)}, expected a name; save `model.state_dict()`")
        else:
            try:
                tensors[name] = build(x)
            except DAMAGED as error:
                raise WeightsFileError(f"{path} is damaged or cut off at {shown(name)} ({told(error)}); {AGAIN}") from error
    if not tensors:
        seen = ", ".join(f"{shown(name)}: {described(x)}" for name, x in list(state.items())[:5])
        raise WeightsFileError(
            f"{path} holds no tensors at its top level or under 'state_dict' ({seen or 'nothing'}); save the state dict alone"
        )
    _check_claims(path, tensors)
    return Found(tensors, others, around, tuple(names))


def _built(x: Any, archive: Archive) -> Tensor:
    """The tensor of a description, a view of the file's numbers."""
    numbers, full = archive.numbers(x.stored), math.prod(x.size) > 0
    first = x.stored.skipped + x.offset if full else 0
    reach = first + 1 + sum((n - 1) * step for n, step in zip(x.size, x.stride)) if full else 0
    if reach * x.dtype.itemsize > numbers.nbytes():
        raise ValueError("it reaches past its numbers")
    return torch.empty(0, dtype=x.dtype).set_(numbers, first, x.size, x.stride)


def _check_claims(path: Path, tensors: dict[str, Tensor]) -> None:
    """Refuse tensors that repeat a few numbers until they fill a disk."""
    dense = [x for x in tensors.values() if x.layout == torch.strided and not x.is_meta]
    total = sum(x.numel() * x.itemsize for x in dense)
    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in dense}
    held = sum(storages.values())
    if total > max(SMALL, MAX_SHARED * held):
        raise WeightsFileError(
            f"{path} is made to mislead: its tensors would take {total / 1e9:,.1f} GB, but it holds {held / 1e6:,.1f} MB of "
            f"numbers; do not use it"
        )


def _lacking(path: Path) -> str | None:
    """How much of a safetensors file is there, if it is not all."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length)
    ends = [int(end) for end in re.findall(rb'"data_offsets":\s*\[\s*\d+\s*,\s*(\d{1,18})\s*\]', header)]
    need = 8 + length + max(ends, default=0)
    return f"it has {size:,} of {need:,} bytes" if size < need else None


def unwrapped(value: Any) -> tuple[Any, dict[Any, Any]]:
    """The state dict in what a file holds, and what lay around it."""
    if isinstance(value, dict) and isinstance(value.get("state_dict"), (dict, Inert)):
        return value["state_dict"], {name: x for name, x in value.items() if name != "state_dict"}
    return value, {}


def how_to_convert(path: Path) -> str:
    """The command that makes a safetensors file of this one."""
    return f'i2am convert "{path}" "{path.with_suffix(".safetensors")}"'


def described(value: Any) -> str:
    """A value's type in a few words, such as "dict of 3"."""
    if isinstance(value, (Inert, Described, Stored)):
        return shown(value.name) if isinstance(value, Inert) else "tensor" if isinstance(value, Described) else "storage"
    return type(value).__name__ + (f" of {len(value)}" if isinstance(value, (dict, list, tuple, set)) else "")


def listed(names: Sequence[str], most: int) -> str:
    """The first names and how many more there are."""
    some = ", ".join(map(shown, names[:most]))
    return f"{some} and {len(names) - most} more" if len(names) > most else some


def _holds_tensors(value: Any, seen: set[int]) -> bool:
    """Whether there is one inside, however deep; ``seen`` are containers that hold none."""
    todo = [value]
    while todo:
        x = todo.pop()
        if isinstance(x, (Tensor, Described, Stored)):
            return True
        inner = x.values() if isinstance(x, dict) else x.parts if isinstance(x, Inert) else x
        if isinstance(x, (dict, list, tuple, Inert)) and id(x) not in seen:
            seen.add(id(x))
            todo.extend(inner)
    return False
