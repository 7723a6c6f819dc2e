"""`i2am demo`: the bundled models on drawn persons and garments."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..options import number, whole
from .folders import check_out


def _run(args: argparse.Namespace) -> int:
    from ..demo.run import run_demo

    check_out(args.out)
    given = {"seed": args.seed, "steps": args.steps, "cfg": args.cfg, "blocks": args.blocks}
    run_demo(args.out, edit_steps=args.edit_steps, **given)
    return 0


def add_demo(commands: Any) -> None:
    """Add `demo` to the command line."""
    parser = commands.add_parser(
        "demo",
        help="run the bundled models on drawn persons and garments, and show everything about them",
        description="Runs the bundled edit model, with two references, and the bundled try-on model, with one, on the CPU, "
        "records their attention and writes pictures, scores and HTML pages: start with OUT/report.html. It takes one to five "
        "minutes on two cores; --blocks 0 skips the longest part.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder to write to")
    parser.add_argument("--seed", type=whole(), default=7, help="which person, garment and noise, from 0 on")
    parser.add_argument("--steps", type=whole(), default=50, help="DDIM steps of the try-on model")
    parser.add_argument("--edit-steps", type=whole(), default=25, help="Euler steps of the edit model")
    parser.add_argument("--cfg", type=number(), default=5.0, help="scale of classifier-free guidance; 1 runs without")
    parser.add_argument(
        "--blocks", type=whole(), default=12, help="garment blocks to recolour for the causal check; 0 skips it"
    )
    parser.set_defaults(run=_run)
