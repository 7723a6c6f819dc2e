"""The command line: `python -m i2am COMMAND`, also installed as `i2am`; a file beside this one per command."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..data.pictures import without_warnings
from ..errors import I2AMError, in_lines, shown
from .bench import add_bench
from .cause import add_cause
from .compare import add_compare
from .convert import add_convert
from .demo import add_demo
from .draw_data import add_draw_data
from .evaluate import add_evaluate
from .rank import add_rank
from .run import add_run
from .score import add_score
from .show import add_show

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


class _Shown(logging.Formatter):
    """Messages alone; names out of files in them can neither move a terminal's cursor nor fill its screen."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(prog="i2am", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"i2am {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_demo(commands)
    add_run(commands)
    add_show(commands)
    add_score(commands)
    add_rank(commands)
    add_cause(commands)
    add_evaluate(commands)
    add_compare(commands)
    add_convert(commands)
    add_draw_data(commands)
    add_bench(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its status (0; 1 where `run` could not write all), 2 after bad input, or 130."""
    args = build_parser().parse_args(argv)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Shown())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    without_warnings()
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        sys.stderr.write("i2am: interrupted\n")
        return 130
    except (I2AMError, OSError) as error:
        sys.stderr.write(f"i2am: {in_lines(error)}\n")
        return 2
