"""The command `convert`: the tensors of any checkpoint file as a safetensors file, which cannot run anything."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import UnsafePickleError, WeightsFileError
from ..models.weights.file import described, found_in, load_safely, opened
from ..models.weights.imports import USUAL, running, unusual
from ..models.weights.kinds import shown
from ..models.weights.pickles import unpickled
from ..models.weights.writing import write_tensors

log = logging.getLogger("i2am")

MOST_NAMES = 500
"""Names that a person can be asked about."""
MOST_LEFT_OUT = 20
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
        description="Writes the tensors of a checkpoint file as a safetensors file, which cannot run anything. The "
        "names in a checkpoint that can only be read by unpickling are listed first, and it is unpickled only after you agree.",
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
        found = load_safely(source, alarm=False)
    except UnsafePickleError:
        archive = opened(source)
        _ask(source, archive.reading.names, yes)
        value = unpickled(source, archive)
        found = found_in(source, value.state_dict() if isinstance(value, nn.Module) else value, Tensor.detach)
    size = write_tensors(found.tensors, out, half=half)
    log.info("%s: %d tensors, %.1f MB (%d bytes)", out, len(found.tensors), size / 1e6, size)
    left_out = [f"{shown(name)} ({described(x)})" for name, x in (found.others | found.around).items()]
    log.info("left out: %s", _some(left_out, MOST_LEFT_OUT) or "nothing")
    if found.named:
        log.info("named there, neither imported nor run: %s", _some([shown(name) for name in found.named], MOST_LEFT_OUT))
    if running(found.named):
        log.warning("%s names what runs programs (%s): load the new file only", source, _some(running(found.named), 3))
    return 0


def _some(told: list[str], most: int) -> str:
    return ", ".join(told[:most]) + (f" and {len(told) - most} more" if len(told) > most else "")


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
    odd = unusual(names)
    if not 0 < len(odd) <= MOST_NAMES:
        raise WeightsFileError(
            f"{path} was not converted: its pickle names {len(odd):,} things beyond tensors, expected 1 to "
            f"{MOST_NAMES} for you to judge; ask its authors for a safetensors file"
        )
    log.info("%s holds a pickle that names more than tensors:", path)
    for name in sorted(odd):
        log.info("    %s", shown(name))
    log.info("and of what every checkpoint names: %s", ", ".join(x for x in sorted(names) if x in USUAL) or "nothing")
    log.info("%s", RISK)
    if yes:
        log.info("--yes was given: unpickling")
        return
    some = _some([shown(name) for name in sorted(odd)], 3)
    if sys.stdin is None or not sys.stdin.isatty():
        raise WeightsFileError(
            f"{path} was not converted: unpickling it could run any program (it names {some}), and there is no terminal to ask "
            f"on; give --yes if you trust the file"
        )
    log.info("Type yes to unpickle it, anything else to stop:")
    if sys.stdin.readline().strip().lower() != "yes":
        raise WeightsFileError(f"{path} was not converted: it names {some}, and the answer was not yes")
