"""The command line: `python -m i2am demo | run | show | score | convert | bench`, also installed as `i2am`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from .. import __version__
from ..bench import run as bench
from ..errors import I2AMError
from .convert import add_convert
from .run import add_run
from .show import add_score, add_show

DESCRIPTION = """\
I2AM shows why an image-to-image diffusion model (virtual try-on, exemplar inpainting) made what it made:
which parts of the generated picture took from the reference picture, which parts of the reference were used,
when, and by which heads and layers.

Start with:   python -m i2am demo
"""


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _demo(args: argparse.Namespace) -> int:
    from ..demo.run import run_demo

    run_demo(args.out, seed=args.seed, steps=args.steps, cfg=args.cfg, blocks=args.blocks)
    return 0


def _add_demo(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "demo",
        help="run the bundled try-on model on a drawn person and garment, and show everything about it",
        description="Runs the bundled try-on model on the CPU, records its attention and writes pictures, scores and one HTML "
        "page: start with OUT/report.html. It takes one to five minutes on two cores; --blocks 0 skips the longest "
        "part.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder to write to")
    parser.add_argument("--seed", type=int, default=7, help="which person, garment and noise, from 0 on")
    parser.add_argument("--steps", type=int, default=50, help="DDIM steps")
    parser.add_argument("--cfg", type=float, default=5.0, help="scale of classifier-free guidance; 1 runs without")
    parser.add_argument("--blocks", type=int, default=12, help="garment blocks to recolour for the causal check; 0 skips it")
    parser.set_defaults(run=_demo)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(prog="i2am", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"i2am {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    add_run(commands)
    add_show(commands)
    add_score(commands)
    add_convert(commands)
    bench_parser = commands.add_parser(
        "bench",
        help="measure what recording costs: time, memory, size",
        description=bench.__doc__,
    )
    bench.add_arguments(bench_parser)
    bench_parser.set_defaults(run=bench.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, or 2 after one clear line about bad input, or 130 when interrupted."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        sys.stderr.write("i2am: interrupted\n")
        return 130
    except (I2AMError, OSError) as error:
        sys.stderr.write(f"i2am: {' '.join(str(error).split())}\n")
        return 2
