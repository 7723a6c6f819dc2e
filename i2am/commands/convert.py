"""The command `convert`: the tensors of any checkpoint file as a safetensors file, which cannot run anything."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import UnsafePickleError, WeightsFileError
from ..models.weights.file import described, load_safely, shown, tensors_of, unwrapped
from ..models.weights.pickles import USUAL, pickled_names, unpickled
from ..models.weights.writing import write_tensors

log = logging.getLogger("i2am")

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
        value = unpickled(source)
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
