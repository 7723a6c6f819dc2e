"""`i2am bench`: what recording costs, by itself and in an evaluation."""

from __future__ import annotations

import argparse
import json
import logging

from ..bench import run as bench
from ..errors import I2AMError
from .choosing import Commands

log = logging.getLogger("i2am")

OTHERS = ("joint", "cuts", "memory", "size", "width", "tokens")


def add_bench(commands: Commands) -> None:
    """Add `bench` to the command line."""
    parser = commands.add_parser("bench", help="measure what recording costs: time, memory, size", description=bench.__doc__)
    bench.add_arguments(parser)
    parser.add_argument(
        "--evaluation",
        action="store_true",
        help="measure instead what recording and scoring add to the bundled model's sampling in `i2am evaluate`, by its "
        "defaults, in processor time; --steps are pairs, --tiny takes 4 sampler steps",
    )
    parser.set_defaults(run=_bench)


def _bench(args: argparse.Namespace) -> int:
    if not args.evaluation:
        return bench.run(args)
    given = [name for name in OTHERS if getattr(args, name)]
    if given or args.device not in ("auto", "cpu"):
        named = [f"--{name}" for name in given] or [f"--device {args.device}"]
        raise I2AMError(f"{', '.join(named)} cannot be used with --evaluation, which runs on the processor; leave it out")

    import torch

    from ..evaluation.cost import cost_lines, measure_cost
    from ..evaluation.errors import check_extras

    check_extras()
    if args.threads:
        torch.set_num_threads(args.threads)
    figures = measure_cost(args.steps, 4 if args.tiny else None)
    for line in cost_lines(figures).splitlines():
        log.info("%s", line)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0
