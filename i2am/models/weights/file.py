"""The tensors of a checkpoint file, read without running anything that the file might contain."""

from __future__ import annotations

import pickle
import pickletools
import re
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...errors import UnsafePickleError, WeightsFileError

PICKLED = (".ckpt", ".pt", ".pth", ".bin")
ENDINGS = (".safetensors", *PICKLED)
AGAIN = "download or copy it again"
LEGACY_MARK = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # the number that torch.save pickled first before it wrote zip files
OTHERS = {b"GGUF": "a GGUF file", b"\x1f\x8b": "a gzip archive", b"7z\xbc\xaf": "a 7z archive", b"Rar!": "a RAR archive"}
REFUSED = re.compile(
    r"GLOBAL (?P<name>\S+)|Unsupported operand (?P<opcode>\d+)|(?P<other>Trying to call reduce .*|Can only .* but got .*"
    r"|Only persistent_load .*|persistent_load id must .*|``torch\.\S+`` must be imported .*)"
)
DAMAGED = (RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError, struct.error)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a .safetensors, .ckpt, .pt, .pth or .bin file, on the CPU, mapped from the disk where that works.

    A state dict under the key ``state_dict`` (as Lightning writes) is unwrapped. Numbers, strings and dicts without
    tensors beside the tensors (``global_step``) are dropped.

    Raises:
        UnsafePickleError: the file can only be read by unpickling what may run any program; nothing of it was run.
        WeightsFileError: the file is missing, empty, cut off, of another kind, or holds something else than a state dict.
        OSError: the system does not let us read it.
    """
    path = Path(path)
    state, _ = unwrapped(load_safely(path))
    tensors, others = tensors_of(path, state)
    for name, value in others.items():
        if not (isinstance(value, (int, float, str, dict, type(None))) and not _holds_tensors(value)):
            raise WeightsFileError(
                f"{path} holds {shown(name)} ({described(value)}) among its tensors; expected a state dict. Save "
                f"`model.state_dict()`, or keep the tensors alone with: {how_to_convert(path)}"
            )
    return tensors


def load_safely(path: Path) -> Any:
    """What a weights file holds, as `read_weights` finds it; errors as there."""
    kind = kind_of(path)
    try:
        if kind == "safetensors":
            return load_file(path)
        for mmap in (True, False) if kind == "zip" else (False,):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # about the pickle's protocol; the error says it better
                    return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
            except RuntimeError:
                if not mmap:
                    raise
    except (SafetensorError, pickle.UnpicklingError, *DAMAGED) as error:
        found = _refused(str(error))
        if found is None:
            raise WeightsFileError(f"{path} is damaged or cut off ({told(error)}); {AGAIN}") from error
        raise UnsafePickleError(
            f"{path} is a pickle of more than tensors: it names {found}, and unpickling that could run any program, so "
            f"nothing of it was read. If you trust who made it, convert it once: {how_to_convert(path)}"
        ) from error


def kind_of(path: Path) -> str:
    """What a weights file is by its bytes: ``safetensors``, ``zip``, ``packed zip`` (compressed) or ``legacy`` (torch < 1.6).

    Raises:
        WeightsFileError: it is none of these, or its name says otherwise.
    """
    if path.is_dir():
        raise WeightsFileError(f"{path} is a folder; give one weights file ({', '.join(ENDINGS)})")
    if not path.is_file():
        raise WeightsFileError(f"there is no file {path}; check its name and folder")
    if path.suffix.lower() not in ENDINGS:
        raise WeightsFileError(f"{path} ends in '{path.suffix}'; expected one of {', '.join(ENDINGS)}")
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise WeightsFileError(f"{path} is empty (0 bytes); {AGAIN}")
    if head[:4] == b"PK\x03\x04":
        kind = _kind_of_zip(path)
    elif head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100 << 20:
        kind = "safetensors"  # asked before pickles: the length in front of its header may begin with their mark
    elif head[:1] == b"\x80":
        kind = _kind_of_pickle(path, head)
    else:
        raise WeightsFileError(f"{path} is {_foreign(head, path)}")
    if (kind == "safetensors") != (path.suffix.lower() == ".safetensors"):
        what, ending = ("a safetensors file", ".safetensors") if kind == "safetensors" else ("a file of torch.save", ".ckpt")
        raise WeightsFileError(f"{path} is {what}, but its name ends in '{path.suffix}'; rename it to {path.stem}{ending}")
    return kind


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, *DAMAGED) as error:
        size = path.stat().st_size
        raise WeightsFileError(
            f"{path} is cut off or damaged: it begins as a zip file, but after {size} bytes its list of contents is missing or "
            f"wrong ({told(error)}); {AGAIN}"
        ) from error
    inside = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") for name in inside):
        raise WeightsFileError(
            f"{path} is a TorchScript program, expected a state dict; load it with torch.jit.load and save its state_dict()"
        )
    if not any(name.endswith("/data.pkl") for name in inside):
        seen = ", ".join(map(shown, inside[:3])) + (f" and {len(inside) - 3} more" if len(inside) > 3 else "")
        raise WeightsFileError(
            f"{path} is a zip archive of something else ({seen or 'nothing'}), expected one of torch.save; if the weights are "
            f"in it, unpack it and give that file"
        )
    return "zip" if all(entry.compress_type == zipfile.ZIP_STORED for entry in entries) else "packed zip"  # no mmap of that


def _kind_of_pickle(path: Path, head: bytes) -> str:
    if LEGACY_MARK not in head[:32]:
        raise WeightsFileError(
            f"{path} is a Python pickle that torch.save did not write (no mark of it); ask for a safetensors file"
        )
    if tarfile.is_tarfile(path):  # torch < 2.6 unpickles these without care, weights_only or not (CVE-2025-32434)
        raise WeightsFileError(f"{path} is a tar file posing as one of torch.save; do not use it")
    return "legacy"


def _foreign(head: bytes, path: Path) -> str:
    """What a file that is no weights file looks like, and what to do."""
    size, start = path.stat().st_size, head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, what in OTHERS.items():
        if head.startswith(magic):
            return f"{what}, expected one of {', '.join(ENDINGS)}; unpack or convert it to one of these first"
    if start.startswith(b"version https://git-lfs"):
        return f"a git-lfs pointer ({size} bytes of text), not the weights; run `git lfs pull` or download the file itself"
    if start[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"a web page ({size} bytes), not weights; download the file itself (the site may want you to log in first)"
    if all(c >= 32 or c in b"\t\n\r\f" for c in head) and "\ufffd" not in head[:4000].decode("utf-8", "replace")[:-1]:
        line = start.splitlines()[0] if start else b""
        return f"text ({size} bytes, '{shown(line.decode('utf-8', 'replace'))[:60]}'), not weights; {AGAIN}"
    return f"no weights file (it begins with the bytes {head[:8].hex(' ')}); choose another, or {AGAIN}"


def unwrapped(value: Any) -> tuple[Any, dict[Any, Any]]:
    """The state dict in what a file holds, and what lay around it."""
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        return value["state_dict"], {name: x for name, x in value.items() if name != "state_dict"}
    return value, {}


def tensors_of(path: Path, state: Any) -> tuple[dict[str, Tensor], dict[Any, Any]]:
    """The tensors of a state dict, without gradients, and its other entries.

    Raises:
        WeightsFileError: it is no dict, has no tensors, or one has no name.
    """
    if not isinstance(state, dict):
        raise WeightsFileError(f"{path} holds one {described(state)}, expected a dict of tensors; save `model.state_dict()`")
    tensors = {name: x.detach() for name, x in state.items() if isinstance(x, Tensor)}
    if not tensors:
        seen = ", ".join(f"{shown(name)}: {described(x)}" for name, x in list(state.items())[:5])
        raise WeightsFileError(
            f"{path} holds no tensors at its top level or under 'state_dict' ({seen or 'nothing'}); save the state dict alone"
        )
    for name in tensors:
        if not isinstance(name, str):
            raise WeightsFileError(f"{path} has a tensor under {shown(name)}, expected a name; save `model.state_dict()`")
    return tensors, {name: x for name, x in state.items() if not isinstance(x, Tensor)}


def how_to_convert(path: Path) -> str:
    """The command that makes a safetensors file of this one."""
    return f'i2am convert "{path}" "{path.with_suffix(".safetensors")}"'


def described(value: Any) -> str:
    """A value's type in a few words, such as "dict of 3"."""
    return type(value).__name__ + (f" of {len(value)}" if isinstance(value, (dict, list, tuple, set)) else "")


def shown(text: object) -> str:
    """A name out of a file we do not trust, such that it cannot move a terminal's cursor."""
    return str(text)[:200].encode("unicode_escape").decode("ascii")


def told(error: BaseException) -> str:
    """An error of another library on one short line."""
    return shown(f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": "))


def _holds_tensors(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return isinstance(value, Tensor) or any(map(_holds_tensors, inner))


def _refused(text: str) -> str | None:
    """What the safe unpickler refused, out of the text of its error; None if the text says something else."""
    match = REFUSED.search(text)
    if match is None:
        return None
    if match["opcode"]:
        opcode = next((op for op in pickletools.opcodes if op.code == chr(int(match["opcode"]))), None)
        return None if opcode is None else f"things by {opcode.name}, a step of pickle protocol {opcode.proto}"
    return shown(match["name"] or match["other"])
