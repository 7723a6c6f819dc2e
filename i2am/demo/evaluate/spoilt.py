"""`python -m i2am.demo.evaluate.spoilt`: the demo model with noise in the keys of its cross-attention, as a worse model.

Such a model draws as well as before but looks at the wrong places: what a score of the maps ought to tell from the original.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ...models.demo.family import WEIGHTS
from ...models.demo.tryon import PARTS
from ...options import number, whole

log = logging.getLogger("i2am")

KEYS = ".attn2.to_k.weight"
"""How the names of the cross-attentions' key projections end."""


def spoil(out: Path, strength: float, seed: int = 0, weights: Path = WEIGHTS) -> int:
    """Copy the demo model's weights to ``out``, with Gaussian noise added to every key projection of its cross-attention.

    Args:
        out: folder to write to.
        strength: standard deviation of the noise, as a multiple of that of each projection's own weights.
        seed: of the noise.
        weights: folder with the model to spoil.

    Returns:
        How many projections were changed.

    Raises:
        ValueError: the strength is negative, or ``out`` is ``weights``.
    """
    if not 0 <= strength < float("inf"):
        raise ValueError(f"the strength is {strength:g}; expected 0 or more")
    if out.resolve() == weights.resolve():
        raise ValueError(f"{out} holds the model itself; give another folder")
    out.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        if name != "unet":
            shutil.copyfile(weights / f"{name}.safetensors", out / f"{name}.safetensors")
    unet = weights / "unet.safetensors"
    state = load_file(unet)
    with safe_open(unet, "pt") as file:
        about = json.loads((file.metadata() or {}).get("i2am", "{}"))
    generator = torch.Generator().manual_seed(seed)
    spoilt = [name for name in sorted(state) if name.endswith(KEYS)]
    for name in spoilt:
        own = state[name].float()
        state[name] = (own + strength * own.std() * torch.randn(own.shape, generator=generator)).to(state[name].dtype)
    about |= {"spoilt": {"keys": len(spoilt), "strength": strength, "seed": seed}}
    save_file(state, out / "unet.safetensors", {"i2am": json.dumps(about)})
    return len(spoilt)


def main(argv: list[str] | None = None) -> int:
    """Spoil from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.evaluate.spoilt", description=__doc__)
    parser.add_argument("--strength", type=number(), required=True, help="noise as a multiple of the weights' deviation")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=whole(), default=0, help="of the noise (default 0)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        count = spoil(args.out, args.strength, args.seed)
    except ValueError as error:
        log.error("%s", error)
        return 2
    log.info("%s: noise of %g in the keys of %d layers", args.out, args.strength, count)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
