"""`i2am draw-data`: a data set of drawn persons and garments."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ..errors import I2AMError
from ..options import whole
from .choosing import Commands
from .folders import check_out

log = logging.getLogger("i2am")

MOST = 1_000_000
"""Pairs and seeds."""


def add_draw_data(commands: Commands) -> None:
    """Add `draw-data` to the command line."""
    parser = commands.add_parser(
        "draw-data",
        help="write a data set of drawn persons and garments, laid out like VITON-HD",
        description="Draws persons and garments and writes them as a data set in VITON-HD's layout, to try training and "
        "evaluation. test_pairs.txt gives every person another's garment, as VITON-HD's does; how they look in it lies in "
        "test/image-unpaired. No test pair is one that the bundled models were trained on. Pictures that exist stay.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument("--pairs", type=whole(), default=32, metavar="N", help="training pairs; 0 writes none")
    parser.add_argument("--test-pairs", type=whole(), default=16, metavar="M", help="test pairs; 0 writes none")
    parser.add_argument("--seed", type=whole(), default=0, help="of the first pair; the others follow")
    parser.set_defaults(run=_draw_data)


def _draw_data(args: argparse.Namespace) -> int:
    for name in ("pairs", "test_pairs", "seed"):
        if not 0 <= (value := getattr(args, name)) <= MOST:
            raise I2AMError(f"--{name.replace('_', '-')} is {value}; expected 0 to {MOST}")
    if not args.pairs and not args.test_pairs:
        raise I2AMError("--pairs and --test-pairs are both 0, so there is nothing to draw; give at least 1 of either")
    if args.test_pairs == 1:
        raise I2AMError("--test-pairs is 1, but an unpaired test takes another's garment; expected 0, or 2 and more")
    check_out(args.folder, "DIR")

    from ..data.demo_folder import write_demo_folder

    write_demo_folder(args.folder, args.pairs, args.test_pairs, args.seed)
    log.info("%s holds %d training and %d test pairs in VITON-HD's layout", args.folder, args.pairs, args.test_pairs)
    return 0
