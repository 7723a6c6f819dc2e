"""Arguments that several commands have: what to take of a recording, and masks."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..data.masks import mask_tensor, open_mask
from ..errors import I2AMError
from ..levels.choice import Choice, heads_of, steps_of
from ..levels.presets import PRESETS
from ..options import integer, whole

T = TypeVar("T")


Commands = Any  # argparse's own type of sub-commands is private


def pair_of(name: str, separator: str) -> Callable[[str], tuple[int, int]]:
    """A reader of two whole numbers, for argparse.

    >>> pair_of("ROW,COLUMN", ",")("3,12")
    (3, 12)
    """

    def parse(text: str) -> tuple[int, int]:
        try:
            a, b = (integer(part.strip()) for part in text.split(separator))
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {name}, such as 3{separator}12, got {text!r}") from None
        return a, b

    return parse


def typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A reader whose errors argparse shows in its own way."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except I2AMError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add what to take of a recording, which `choice_from` reads, and the preset."""
    group = parser.add_argument_group("what to take", "default: everything, of the conditional branch")
    group.add_argument("--layers", nargs="+", metavar="GLOB", help="layer names or globs, such as 'up_blocks.*'")
    group.add_argument("--heads", type=typed(heads_of), metavar="0,1", help="head numbers")
    group.add_argument("--steps", type=typed(steps_of), metavar="0:10", help="step range, half-open; 0 is the noisiest")
    group.add_argument("--branch", default="cond", choices=("cond", "uncond"))
    group.add_argument("--reference", type=whole(), default=0, metavar="N", help="which reference, from 0")
    group.add_argument("--batch-index", type=whole(), default=0, metavar="N", help="which image of the batch, from 0")
    group.add_argument("--preset", default="default", choices=tuple(PRESETS), help="how layers are scaled and shown")


def add_placed_only(parser: argparse.ArgumentParser) -> None:
    """Add --placed-only."""
    parser.add_argument("--placed-only", action="store_true", help="leave out reference tokens that have no place")


def choice_from(args: argparse.Namespace) -> Choice:
    """What `add_choice` asked for."""
    return Choice(
        branch=args.branch,
        reference=args.reference,
        image=args.batch_index,
        layers=args.layers,
        heads=args.heads,
        steps=args.steps,
    )


def read_mask(path: Path) -> torch.Tensor:
    """A mask file, (H, W) in 0-1; see `mask_values`."""
    return mask_tensor(open_mask(path))[0]
