"""`python -m i2am.demo.train.edit.export`: a checkpoint becomes the weights that ship, in fp16, with what they are.

A training that is running may be exported at any time: its checkpoint is replaced whole.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ....models.edit.family import WEIGHTS
from ....models.edit.model import FILE, EditModel
from .loop import about_of

log = logging.getLogger("i2am")

LIMIT = 8_000_000
"""Bytes that the file may take."""


def export(checkpoint: Path, folder: Path = WEIGHTS, about: dict[str, Any] | None = None) -> Path:
    """Write a checkpoint's averaged weights as `EditModel.load` reads them, with its samples and recipe and ``about``.

    What lies in ``folder`` is replaced only if everything is in order.

    Raises:
        ValueError: the file is no checkpoint, does not fit the model, is not finite in fp16, or would pass `LIMIT`.
    """
    facts = {**about_of(checkpoint), **(about or {})}
    state = {k[4:]: v.half() for k, v in load_file(checkpoint).items() if k.startswith("ema.")}
    want = EditModel().file_state()
    wrong = set(want) ^ set(state) or {k for k in want if want[k].shape != state[k].shape}
    if wrong:
        raise ValueError(
            f"{checkpoint} has {len(wrong)} missing, foreign or misshapen weights ({', '.join(sorted(wrong)[:3])} …); "
            f"export it with the code that trained it"
        )
    spoilt = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if spoilt:
        raise ValueError(f"{checkpoint}: {spoilt[0]} is not finite in fp16; go back to an earlier checkpoint")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    draft = path.with_suffix(".part")
    try:
        save_file({k: v.contiguous() for k, v in state.items()}, draft, {"i2am": json.dumps(facts)})
        size = draft.stat().st_size
        if size > LIMIT:
            raise ValueError(f"the weights take {size / 1e6:.2f} MB, at most {LIMIT / 1e6:.0f} MB may ship; shrink the model")
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
    log.info("%s after %d samples, %.2f MB", path, facts["samples"], size / 1e6)
    return path


def main(argv: list[str] | None = None) -> int:
    """Export from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.train.edit.export", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("out/train-edit/edit.safetensors"))
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder to write to (default: the package's own)")
    parser.add_argument("--note", default="", help="anything else that should be known of these weights")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        export(args.checkpoint, args.out, {"note": args.note} if args.note else None)
    except (ValueError, FileNotFoundError) as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
