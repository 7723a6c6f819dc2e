"""`i2am demo`: the bundled model on a drawn person and garment."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def _run(args: argparse.Namespace) -> int:
    from ..demo.run import run_demo

    run_demo(args.out, seed=args.seed, steps=args.steps, cfg=args.cfg, blocks=args.blocks)
    return 0


def add_demo(commands: Any) -> None:
    """Add `demo` to the command line."""
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
    parser.set_defaults(run=_run)
