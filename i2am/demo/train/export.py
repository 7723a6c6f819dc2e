"""`python -m i2am.demo.train.export`: a training checkpoint becomes the weights that ship, in fp16, with what they are."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...drawn.seeds import HELD_OUT, SHARD
from ...models.demo.family import WEIGHTS
from ...models.demo.tryon import PARTS, DemoModel
from ...options import number, whole

log = logging.getLogger("i2am")

LIMIT = 12_000_000
"""Bytes that all weights in the folder may take, the reader's included."""


def _halved(state: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    out = {}
    for name, value in state.items():
        half = value.half() if value.is_floating_point() else value
        if not torch.isfinite(half).all():
            raise ValueError(f"{part}: {name} is not finite in fp16; the checkpoint is spoilt")
        out[name] = half.contiguous()
    return out


def export_parts(parts: dict[str, dict[str, Tensor]], folder: Path, about: dict[str, Any]) -> Path:
    """Write unet, vae and encoder as fp16 safetensors with ``about`` as JSON metadata under "i2am".

    Nothing in ``folder`` is replaced unless everything is in order.

    Raises:
        ValueError: a part is missing, not finite, does not fit the demo model, or all weights together pass `LIMIT`.
    """
    with torch.device("meta"):  # only names and shapes are needed
        model = DemoModel.untrained()
    folder.mkdir(parents=True, exist_ok=True)
    drafts: dict[Path, Path] = {}
    try:
        for part in PARTS:
            state = _halved(parts.get(part, {}), part)
            want = getattr(model, part).state_dict()
            wrong = set(want) ^ set(state) or {k for k in want if want[k].shape != state[k].shape}
            if wrong:
                raise ValueError(
                    f"{part} has {len(wrong)} missing, foreign or misshapen keys ({', '.join(sorted(wrong)[:3])} …); "
                    f"export the checkpoint with the code that trained it"
                )
            path = folder / f"{part}.safetensors"
            drafts[path] = path.with_suffix(".part")
            save_file(state, drafts[path], {"i2am": json.dumps(about)})
        kept = [p for p in folder.glob("*.safetensors") if p not in drafts]
        total = sum(p.stat().st_size for p in [*drafts.values(), *kept])
        if total > LIMIT:
            raise ValueError(
                f"the weights take {total / 1e6:.2f} MB in all, at most {LIMIT / 1e6:.0f} MB may ship; shrink the model"
            )
        for path, draft in drafts.items():
            draft.rename(path)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    log.info("the weights in the folder take %.2f MB in all", total / 1e6)
    return folder


def export(checkpoint: Path, vae: Path, folder: Path = WEIGHTS, about: dict[str, Any] | None = None) -> Path:
    """Export the averaged weights of a checkpoint of `train_unet` and an autoencoder, as `DemoModel.load` reads them.

    ``about`` says how the weights were trained; the checkpoint's own numbers of ``samples`` and ``shards`` are added.

    Raises:
        ValueError: see `export_parts`.
    """
    parts: dict[str, dict[str, Tensor]] = {"vae": load_file(vae), "unet": {}, "encoder": {}}
    with safe_open(checkpoint, "pt") as file:
        names = list(file.keys())
        if "samples" not in names:
            raise ValueError(f"{checkpoint} holds no sample count, so it is no checkpoint of the U-Net's training")
        for name in names:
            kind, _, rest = name.partition(".")
            part, _, key = rest.partition(".")
            if kind == "ema" and part in parts:
                parts[part][key] = file.get_tensor(name)
        counts = {name: int(file.get_tensor(name)) for name in ("shards", "samples") if name in names}
    return export_parts(parts, folder, {**(about or {}), **counts})


def main(argv: list[str] | None = None) -> int:
    """Export from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.train.export", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("out/train/supervised.safetensors"))
    parser.add_argument("--vae", type=Path, default=Path("out/train/vae.safetensors"))
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder to write to (default: the package's own)")
    parser.add_argument("--attention-weight", type=number(), default=0.2, help="as given to the training (default 0.2)")
    parser.add_argument("--seed", type=whole(), default=0, help="as given to the training (default 0)")
    parser.add_argument("--shards", type=whole(1), default=32, help="for checkpoints that do not say it (default 32)")
    parser.add_argument("--note", default="", help="anything else that should be known of these weights")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not 0 < args.shards * SHARD <= HELD_OUT:
        parser.error(f"{args.shards} shards of {SHARD} training seeds reach into the held-out ones, or are none")
    about = {"attention_weight": args.attention_weight, "seed": args.seed, "shards": args.shards}
    try:
        export(args.checkpoint, args.vae, args.out, {**about, **({"note": args.note} if args.note else {})})
    except (ValueError, FileNotFoundError) as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
