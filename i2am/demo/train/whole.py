"""`python -m i2am.demo.train`: draws the data, trains the demo model from scratch and exports it to OUT/weights.

Every stage resumes: stop it at any time and run the same command again.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ...models.demo.networks import build_vae
from ...options import MOST_AT_ONCE, number, whole
from .export import export
from .shards import write_shards
from .unet import Cache, Recipe, encode_shard, train_unet
from .vae import train_vae

log = logging.getLogger("i2am")


def _latent_path(folder: Path, index: int) -> Path:
    return folder / f"latents-{index:04d}.safetensors"


def _encode(vae_file: Path, jobs: list[tuple[Path, Path]], device: str, threads: int) -> None:
    torch.set_num_threads(threads)
    vae = build_vae().to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    vae.load_state_dict(load_file(vae_file))
    for source, target in jobs:
        encode_shard(vae, source, target, device)


def _start_from(weights: Path, checkpoint: Path, vae_file: Path) -> None:
    """Turn shipped weights into a checkpoint and an autoencoder to go on from; what lies there already stays."""
    vae_file.parent.mkdir(parents=True, exist_ok=True)
    if not vae_file.exists():
        save_file({k: v.float() for k, v in load_file(weights / "vae.safetensors").items()}, vae_file)
    if checkpoint.exists():
        return
    with safe_open(weights / "unet.safetensors", "pt") as file:
        samples = json.loads((file.metadata() or {}).get("i2am", "{}")).get("samples", 0)
    state = {"samples": torch.tensor(samples)}
    for part in ("unet", "encoder"):
        for key, value in load_file(weights / f"{part}.safetensors").items():
            state[f"raw.{part}.{key}"] = value.float()
            state[f"ema.{part}.{key}"] = value.float()
    save_file(state, checkpoint)
    log.info("going on from %s after %d samples", weights, samples)


def main(argv: list[str] | None = None) -> int:
    """Run the training; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/train"), help="folder of caches and checkpoints")
    parser.add_argument("--shards", type=whole(1), default=32, help="shards of 512 drawn pairs (default 32)")
    parser.add_argument("--vae-samples", type=whole(), default=12_000, help="pictures that the autoencoder sees")
    parser.add_argument("--samples", type=whole(), default=172_800, help="pairs that the U-Net sees (default 172800)")
    parser.add_argument("--attention-weight", type=number(), default=0.2, help="0 trains by diffusion alone")
    parser.add_argument(
        "--attention-samples", type=whole(), help="samples with the attention loss, at most half of all (default: half)"
    )
    parser.add_argument("--name", default=None, help="checkpoint name (default: supervised or plain)")
    parser.add_argument("--snapshots", type=whole(), nargs="*", default=[], help="sample counts to keep copies of")
    parser.add_argument("--start", type=Path, help="go on from the weights in this folder, where no checkpoint lies in --out")
    parser.add_argument("--seed", type=whole(), default=0)
    parser.add_argument("--threads", type=whole(1, MOST_AT_ONCE), default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    taught = args.samples // 2 if args.attention_samples is None else args.attention_samples
    if 2 * taught > args.samples:
        parser.error(f"--attention-samples is at most half of the {args.samples} samples, got {taught}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)

    name = args.name or ("supervised" if args.attention_weight > 0 else "plain")
    checkpoint, vae_file = args.out / f"{name}.safetensors", args.out / "vae.safetensors"
    if args.start is not None:
        _start_from(args.start, checkpoint, vae_file)
    shards = write_shards(args.out / "data", args.shards, args.threads)
    train_vae(shards, vae_file, args.vae_samples, args.seed, args.device)
    jobs = [(shard, _latent_path(args.out / "data", i)) for i, shard in enumerate(shards)]
    missing = [job for job in jobs if not job[1].exists()]
    first = max(0, 3 - (len(jobs) - len(missing)))
    if missing[:first]:
        log.info("encoding the first %d shards", first)
        _encode(vae_file, missing[:first], args.device, args.threads)
    rest = multiprocessing.get_context("spawn").Process(
        target=_encode, args=(vae_file, missing[first:], args.device, 1), daemon=True
    )
    if missing[first:]:
        rest.start()
    recipe = Recipe(args.samples, args.attention_weight, taught, args.seed)
    cache = Cache([target for _, target in jobs], rest.is_alive if missing[first:] else lambda: False)
    try:
        out = train_unet(cache, checkpoint, recipe, args.device, tuple(args.snapshots))
    except FileNotFoundError as error:
        log.error("%s", error)
        return 2
    about = {"attention_weight": args.attention_weight, "attention_samples": taught, "seed": args.seed}
    log.info("wrote %s and %s", out, export(out, vae_file, args.out / "weights", about))
    return 0
