"""The command `convert`: the tensors of any checkpoint file as a safetensors file, which cannot run anything."""

from __future__ import annotations

import json
import logging
import pickle
import pickletools
import sys
import zipfile
from collections import deque
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from tqdm import tqdm

from ..errors import UnsafePickleError, WeightsFileError
from ..models.weights.file import AGAIN, DAMAGED, described, kind_of, load_safely, shown, tensors_of, told, unwrapped

log = logging.getLogger("i2am")

LEGACY_PICKLES = 5  # a file of torch < 1.6: mark, version, system, the object, its storages' keys; then the numbers
COMPUTED = "a name that is only made while unpickling"
STORAGES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
USUAL = {
    "collections.OrderedDict",
    *(f"torch._utils._rebuild_{x}" for x in ("tensor", "tensor_v2", "parameter")),
    *(f"torch.{x}Storage" for x in STORAGES),
}
DTYPES = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
RISK = (
    "Reading this file means unpickling it, and unpickling can run any program with your rights: it could read, change, "
    "delete or send away whatever you can. The names above were found without running anything; harmless names prove "
    "nothing. Go on only if you trust whoever made the file."
)


def add_convert(commands: Any) -> None:
    """Add `convert` to the command line."""
    parser = commands.add_parser(
        "convert",
        help="write the tensors of a checkpoint (.ckpt, .pt, .pth, .bin) as .safetensors",
        description="Writes the tensors of a checkpoint file as a safetensors file, which cannot run anything. A "
        "checkpoint that can only be read by unpickling is listed first, and unpickled only after you agree.",
    )
    parser.add_argument("source", type=Path, metavar="IN", help=".ckpt, .pt, .pth, .bin or .safetensors")
    parser.add_argument("out", type=Path, metavar="OUT", help="the .safetensors file to write")
    parser.add_argument("--yes", action="store_true", help="unpickle without asking; only for files that you trust")
    parser.add_argument("--half", action="store_true", help="write floating-point tensors as float16")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.set_defaults(run=lambda args: convert(args.source, args.out, yes=args.yes, half=args.half, force=args.force))


def convert(source: Path, out: Path, *, yes: bool = False, half: bool = False, force: bool = False) -> int:
    """Write the tensors in ``source`` to ``out``; ask first if that takes unpickling and ``yes`` is not given. Returns 0.

    Raises:
        WeightsFileError: ``source`` cannot be read, consent was not given, or ``out`` cannot be written.
    """
    _check_out(source, out, force)
    try:
        value = load_safely(source)
    except UnsafePickleError:
        names = pickled_names(source)
        _ask(source, names, yes)
        value = _unpickled(source)
    if isinstance(value, nn.Module):
        value = value.state_dict()
    state, around = unwrapped(value)
    tensors, others = tensors_of(source, state)
    size = write_tensors(tensors, out, half=half)
    log.info("%s: %d tensors, %.1f MB (%d bytes)", out, len(tensors), size / 1e6, size)
    left_out = [f"{shown(name)} ({described(x)})" for name, x in (others | around).items()]
    log.info("left out: %s", ", ".join(left_out) or "nothing")
    return 0


def _check_out(source: Path, out: Path, force: bool) -> None:
    if out.suffix.lower() != ".safetensors":
        raise WeightsFileError(f"OUT is {out}, expected a name that ends in .safetensors")
    if not out.parent.is_dir():
        raise WeightsFileError(f"there is no folder {out.parent} to write {out.name} to; make it first")
    if out.exists() and source.exists() and out.samefile(source):
        raise WeightsFileError(f"IN and OUT are the same file, {out}; give another OUT")
    if out.is_dir():
        raise WeightsFileError(f"OUT is {out}, a folder; give the name of a file")
    if out.exists() and not force:
        raise WeightsFileError(f"{out} exists; give another OUT, or --force to replace it")


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


def _ask(path: Path, names: list[str], yes: bool) -> None:
    """Show what a pickle names and what that means, and go on only with consent.

    Raises:
        WeightsFileError: it was not given.
    """
    unusual = [shown(name) for name in names if name not in USUAL]
    log.info("%s holds a pickle that names more than tensors:", path)
    for name in unusual:
        log.info("    %s", name)
    log.info("and of what every checkpoint names: %s", ", ".join(x for x in names if x in USUAL) or "nothing")
    log.info("%s", RISK)
    if yes:
        log.info("--yes was given: unpickling")
        return
    some = ", ".join(unusual[:3]) + (f" and {len(unusual) - 3} more" if len(unusual) > 3 else "")
    if sys.stdin is None or not sys.stdin.isatty():
        raise WeightsFileError(
            f"{path} was not converted: unpickling it could run any program (it names {some}), and there is no terminal to ask "
            f"on; give --yes if you trust the file"
        )
    log.info("Type yes to unpickle it, anything else to stop:")
    if sys.stdin.readline().strip().lower() != "yes":
        raise WeightsFileError(f"{path} was not converted: it names {some}, and the answer was not yes")


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


def _unpickled(path: Path) -> Any:
    """Unpickle without any care; only after consent."""
    lenient = SimpleNamespace(Unpickler=_Unpickler, load=pickle.load, __name__="pickle")
    mmap = kind_of(path) == "zip"
    try:
        return torch.load(path, map_location="cpu", weights_only=False, mmap=mmap, pickle_module=lenient)
    except Exception as error:  # whatever the file's own code raises
        raise WeightsFileError(
            f"{path} could not be unpickled ({told(error)}); it may need the Python packages that made it, or be damaged"
        ) from error


def write_tensors(tensors: dict[str, Tensor], out: Path, *, half: bool = False) -> int:
    """Write a safetensors file, one tensor in memory at a time, and return its size in bytes.

    Each tensor is written whole and contiguous, so that those that shared memory no longer do. The file gets its name
    once it is whole. Format: https://github.com/huggingface/safetensors#format

    Raises:
        WeightsFileError: a tensor is of a kind that the format does not know, or the file cannot be written.
    """
    dtypes = {name: torch.float16 if half and x.is_floating_point() else x.dtype for name, x in tensors.items()}
    for name, x in tensors.items():
        if x.layout != torch.strided or x.is_quantized or x.is_meta or dtypes[name] not in DTYPES:
            raise WeightsFileError(
                f"the tensor {shown(name)} ({x.dtype}, {x.layout}, {x.device}) has no place in a safetensors file; make it a "
                f"dense one of a usual type first"
            )
    names = sorted(tensors, key=lambda name: (-dtypes[name].itemsize, name))  # wide ones first, so that all lie aligned
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].numel() * dtypes[name].itemsize
        header[name] = {"dtype": DTYPES[dtypes[name]], "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    draft = out.with_name(out.name + ".part")
    bar = tqdm(total=end, unit="B", unit_scale=True, desc=out.name, leave=False, disable=None)
    try:
        with bar, draft.open("wb") as file:
            file.write(len(encoded).to_bytes(8, "little") + encoded)
            for name in names:
                written = tensors[name].to(dtypes[name]).contiguous()
                if half:
                    _warn_of_overflow(name, tensors[name], written)
                file.write(written.reshape(-1).view(torch.uint8).numpy().data)
                bar.update(written.nbytes)
        with safe_open(draft, "pt") as whole:
            whole.keys()
        draft.replace(out)
    except (OSError, SafetensorError) as error:
        raise WeightsFileError(f"{out} could not be written ({told(error)}); check the folder and the space left") from error
    finally:
        draft.unlink(missing_ok=True)
    return out.stat().st_size


def _warn_of_overflow(name: str, before: Tensor, after: Tensor) -> None:
    infinite = after.isinf() if before.is_floating_point() else torch.zeros(())
    lost = int((infinite & before.double().isfinite()).sum()) if infinite.any() else 0
    if lost:
        log.warning("%s: %d of %d values are too large for float16 and became infinite", shown(name), lost, before.numel())
