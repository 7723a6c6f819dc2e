"""`python -m i2am.train`: fine-tunes Stable Diffusion 1.5 to the paper's custom try-on model on a VITON-HD folder."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.pictures import without_warnings
from ..errors import I2AMError, in_lines
from ..options import MOST_AT_ONCE, number, whole
from .errors import TrainingError, check_extras

if TYPE_CHECKING:
    from .start import Networks

log = logging.getLogger("i2am")

DESCRIPTION = """\
Fine-tunes Stable Diffusion 1.5 to the paper's custom try-on model: 12 input channels (noisy, agnostic and densepose
latents; the new ones start at zero), attention to every patch of the garment picture instead of to text.

What you need:
  a VITON-HD folder as unpacked       train_pairs.txt and train/image, cloth, agnostic-v3.2, image-densepose
                                      (and agnostic-mask, cloth-mask for the attention losses)
  a Stable Diffusion 1.5 checkpoint   one file, .safetensors or .ckpt
  a CLIP vision model                 its model.safetensors, such as openai/clip-vit-large-patch14's

  python -m i2am.train --data VITON-HD --start v1-5-pruned-emaonly.safetensors --vision clip/model.safetensors --out out/custom

Try the whole pipeline in minutes, on drawn data with a small random model; it needs no files:

  python -m i2am.train --small --out out/train-small

The result is OUT/custom.safetensors, which the node "I2AM Load Try-On" loads. Stop at any time with Ctrl-C; the same
command resumes. Several GPUs: `accelerate launch -m i2am.train ...`.
"""
REAL: dict[str, Any] = {"size": (512, 384), "epochs": 60, "batch": 16, "rate": 1e-5, "workers": min(4, os.cpu_count() or 1)}
"""The paper's size, epochs and batch; the rate is Paint-by-Example's."""
SMALL: dict[str, Any] = {"size": (128, 128), "epochs": 4, "batch": 4, "rate": 1e-3, "workers": 0}
DEMO_PAIRS = 32
MOST_SIDE = 8192
"""Pixels."""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    from ..data.kinds import AUTO, KINDS

    out = argparse.ArgumentParser(
        prog="python -m i2am.train", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    files = out.add_argument_group("what to train on and from")
    files.add_argument("--data", type=Path, metavar="FOLDER", help="the VITON-HD folder, which holds train_pairs.txt")
    files.add_argument("--kind", default=AUTO, choices=(AUTO, *KINDS), help="how it lies on disk (told by what lies there)")
    files.add_argument("--pair-list", type=Path, metavar="FILE", help="a list of pairs to take instead of its own")
    files.add_argument("--start", type=Path, metavar="CHECKPOINT", help="Stable Diffusion 1.5, or a custom model")
    files.add_argument("--vision", type=Path, metavar="FILE", help="CLIP vision model (default: the one in CHECKPOINT)")
    files.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where states, log and checkpoint go")
    files.add_argument("--small", action="store_true", help="drawn data and a small random model where none are given")
    run = out.add_argument_group("how")
    run.add_argument(
        "--size", type=whole(1, MOST_SIDE), nargs=2, metavar=("H", "W"), help="picture size in pixels (default 512 384)"
    )
    run.add_argument("--epochs", type=whole(), help="passes over all pairs (default 60; small 4)")
    run.add_argument("--batch", type=whole(), help="pairs per optimiser step, over all processes (default 16; small 4)")
    run.add_argument("--accumulate", type=whole(), default=1, help="cut each batch into this many parts, for less memory (1)")
    run.add_argument("--rate", type=number(), help="learning rate of AdamW, constant (default 1e-5; small 1e-3)")
    run.add_argument("--drop", type=number(), default=0.1, help="share of pairs trained without reference, for guidance (0.1)")
    run.add_argument("--tv-weight", type=number(), default=0.0, help="weight of attention total variation (0; such as 1)")
    run.add_argument("--alignment-weight", type=number(), default=0.0, help="weight of attribution alignment (0; such as 0.05)")
    run.add_argument("--seed", type=whole(), default=0, help="seed of order, noise, timesteps, dropped references (0)")
    manner = out.add_argument_group("on this machine")
    manner.add_argument("--precision", choices=("auto", "no", "fp16", "bf16"), default="auto", help="mixed precision (auto)")
    manner.add_argument("--recompute", action="store_true", help="gradient checkpointing: less memory, slower")
    manner.add_argument(
        "--workers", type=whole(0, MOST_AT_ONCE), help="processes that read pictures (default up to 4; small 0)"
    )
    manner.add_argument("--save-every", type=whole(), default=500, help="optimiser steps between saved states (500)")
    manner.add_argument("--steps", type=whole(), help="stop after this many optimiser steps in all; the same command resumes")
    manner.add_argument("--half", action="store_true", help="write the checkpoint in fp16, half the size")
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Train from the command line; returns 0, 2 after one clear line about bad input, or 130 when stopped by Ctrl-C."""
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    without_warnings()
    logging.getLogger("accelerate").setLevel(logging.WARNING)  # it logs every file of a saved state
    try:
        check_extras()
        _check(args)
        return _train(args)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command resumes from the last saved state", 130)
    except (I2AMError, OSError) as error:
        return _fail(str(error), 2)
    except Exception as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        return _fail(f"out of GPU memory ({error}); give --accumulate (such as 4), --recompute or --precision bf16", 2)


def _check(args: argparse.Namespace) -> None:
    """Fill in the defaults, and refuse values that make no sense."""
    for name, value in (SMALL if args.small else REAL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if not args.small and (args.data is None or args.start is None):
        raise TrainingError("give --data (a VITON-HD folder) and --start (a checkpoint), or --small to try it on drawn data")
    if args.data is None and args.pair_list is not None:
        raise TrainingError("--pair-list is of a data set: give its folder by --data, or leave it out")
    if args.data is not None and not args.data.is_dir():
        raise TrainingError(f"there is no folder {args.data} (--data); expected a VITON-HD folder")
    for name, least in (("epochs", 1), ("batch", 1), ("accumulate", 1), ("save_every", 1), ("workers", 0), ("seed", 0)):
        if getattr(args, name) < least:
            raise TrainingError(f"--{name.replace('_', '-')} is {getattr(args, name)}; expected at least {least}")
    if args.steps is not None and args.steps < 1:
        raise TrainingError(f"--steps is {args.steps}; expected at least 1")
    if not 0 < args.rate <= 1:
        raise TrainingError(f"--rate is {args.rate:g}; expected more than 0 and at most 1")
    for name, most in (("drop", 1.0), ("tv_weight", 1e6), ("alignment_weight", 1e6)):
        if not 0 <= getattr(args, name) <= most:
            raise TrainingError(f"--{name.replace('_', '-')} is {getattr(args, name):g}; expected 0 to {most:g}")


def _train(args: argparse.Namespace) -> int:
    from ..data.demo_folder import write_demo_folder
    from ..data.training import TrainingPairs
    from .loop import Manner, Recipe, train

    recipe = Recipe(
        size=tuple(args.size),
        epochs=args.epochs,
        batch=args.batch,
        accumulate=args.accumulate,
        rate=args.rate,
        drop=args.drop,
        tv_weight=args.tv_weight,
        alignment_weight=args.alignment_weight,
        seed=args.seed,
    )
    folder = args.data if args.data is not None else write_demo_folder(args.out / "demo-data", DEMO_PAIRS)
    masks = bool(recipe.regularisers)
    data = TrainingPairs(
        folder, recipe.size, masks=masks, kind=args.kind, pair_list=args.pair_list
    )  # before gigabytes are read
    networks = _networks(args)
    data.cloth_side = networks.frozen.cloth_side
    manner = Manner(_precision(args.precision), args.workers, args.save_every, args.steps, args.half, args.recompute)
    log.info("%d pairs, %d epochs of %d steps", len(data), recipe.epochs, len(data) // recipe.batch)
    done = train(networks, data, recipe, args.out, manner)
    if done.checkpoint is not None:
        log.info("wrote %s after %d steps", done.checkpoint, done.step)
        return 0
    log.info("stopped after %d steps, saved in %s; the same command resumes from there", done.step, done.state)
    return 0 if args.steps is not None and done.step >= args.steps else 130


def _networks(args: argparse.Namespace) -> Networks:
    from ..models.weights.file import read_weights
    from .start import small_start, starting_point

    if args.start is None:
        return small_start(args.seed)
    return starting_point(read_weights(args.start), None if args.vision is None else read_weights(args.vision), args.seed)


def _precision(wanted: str) -> str:
    """What "auto" means here: bf16 if the GPU supports it, fp16 on other GPUs, none on the CPU."""
    import torch

    if wanted != "auto":
        return wanted
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _fail(text: str, status: int) -> int:
    """Write a text to stderr; returns the exit status."""
    sys.stderr.write(f"i2am: {in_lines(text)}\n")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
