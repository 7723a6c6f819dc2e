"""`i2am compare`: evaluations side by side, and whether IMACS follows quality in them."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ..options import number, whole
from .choosing import Commands
from .folders import check_out

log = logging.getLogger("i2am")


def add_compare(commands: Commands) -> None:
    """Add `compare` to the command line."""
    from ..data.kinds import AUTO, KINDS

    parser = commands.add_parser(
        "compare",
        help="evaluations side by side: the table, and whether IMACS follows quality",
        description="Reads folders that `i2am evaluate` wrote and makes results.csv, results.json and report.html: the paper's "
        "table 2 over these runs with the paper's reported figures beside it, correlations between IMACS and quality with "
        "bootstrap intervals, scatter plots, other lambdas and thresholds, and images to look at.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a folder that `i2am evaluate` wrote to, or NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--data", type=Path, help="the data set's folder, to show persons, references and masks beside the maps"
    )
    parser.add_argument(
        "--kind",
        default=AUTO,
        choices=(AUTO, *KINDS),
        help="how --data lies on disk, as for `i2am evaluate` (default: told by what lies there)",
    )
    parser.add_argument("--pair-list", type=Path, metavar="FILE", help="the list of pairs that the runs were evaluated with")
    parser.add_argument("--examples", type=whole(), default=3, help="images of the best, the worst and the oddest (default 3)")
    parser.add_argument("--resamples", type=whole(), default=2000, help="draws of the bootstrap (default 2000)")
    parser.add_argument("--confidence", type=number(), default=0.95, help="of its intervals (default 0.95)")
    parser.add_argument("--seed", type=whole(), default=0, help="of the bootstrap (default 0)")
    parser.set_defaults(run=_compare)


def _compare(args: argparse.Namespace) -> int:
    from ..data.kinds import AUTO, open_data_set
    from ..errors import I2AMError
    from ..evaluation.compare.correlation import Bootstrap
    from ..evaluation.compare.results import compare, write

    if not 0 < args.confidence < 1:
        raise I2AMError(f"--confidence is a part of 1 such as 0.95, got {args.confidence:g}")
    if not 100 <= args.resamples <= 1_000_000:
        raise I2AMError(f"--resamples is a number from 100 to 1000000, got {args.resamples}")
    if not 0 <= args.examples <= 50:
        raise I2AMError(f"--examples is a number from 0 to 50, got {args.examples}")
    check_out(args.out)
    if (args.out / "run.json").is_file():
        raise I2AMError(f"--out is {args.out}, which holds an evaluation; give a folder of its own")
    if args.data is None and (args.pair_list is not None or args.kind != AUTO):
        raise I2AMError("--kind and --pair-list say how to read the data set: give its folder by --data, or leave them out")
    data = None if args.data is None else open_data_set(args.data, args.kind)  # before the bootstrap, which takes long
    if args.pair_list is not None and not any(path.is_file() for path in (args.data / args.pair_list, args.pair_list)):
        raise I2AMError(f"there is no list of pairs {args.pair_list}, in {args.data} or as a path; mend --pair-list")
    how = Bootstrap(args.resamples, args.confidence, args.seed)
    found = compare(args.runs, how=how, data=data, pair_list=args.pair_list, count=args.examples, progress=True)
    for one in found.unlike:
        log.warning("the runs are not alike: %s", one)
    for answer in found.answers:
        log.info(
            "does IMACS follow quality over %ss, %s, preset %s? %s: %s",
            answer.level,
            answer.of,
            answer.preset,
            answer.answer,
            answer.text,
        )
    for path in write(found, args.out):
        log.info("wrote %s", path)
    return 0
