"""The training cache: shards of drawn pairs on disk, and which seeds belong to training."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from .draw import draw_pairs
from .spec import draw_pair

HELD_OUT = 10_000_000
"""Seeds from here on are never trained on; `is_held_out` is what evaluation asserts."""
SHARD = 512
GRID = (32, 24)
"""Rows and columns of the latent, at which the true correspondence is cached."""


def is_held_out(seed: int) -> bool:
    """Whether a seed is outside training's range."""
    return seed >= HELD_OUT


def true_places(truth: Tensor, visible: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """True place per cell of ``grid``, (B, 2, rows, columns) in reference pixels, and its coverage (B, 1, rows, columns)."""
    share = torch.nn.functional.adaptive_avg_pool2d(visible, grid)
    mean = torch.nn.functional.adaptive_avg_pool2d(truth * visible, grid) / share.clamp_min(1e-6)
    return mean, share


def _quantise(picture: Tensor) -> Tensor:
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def _write_shard(job: tuple[int, Path]) -> Path:
    index, path = job
    torch.set_num_threads(1)
    parts: dict[str, list[Tensor]] = {}
    for first in range(index * SHARD, (index + 1) * SHARD, 8):
        d = draw_pairs([draw_pair(seed) for seed in range(first, first + 8)])
        place, share = true_places(d.truth, d.visible, GRID)
        row = {
            "person": _quantise(d.person),
            "agnostic": _quantise(d.agnostic),
            "densepose": _quantise(d.densepose),
            "densepose_blank": _quantise(d.densepose_blank),
            "reference": _quantise(d.reference),
            "inpaint": _quantise(d.inpaint_mask),
            "place": place.half(),
            "share": share.half(),
        }
        for name, value in row.items():
            parts.setdefault(name, []).append(value)
    draft = path.with_suffix(".part")
    save_file({name: torch.cat(values) for name, values in parts.items()}, draft)
    draft.rename(path)
    return path


def shard_path(folder: Path, index: int) -> Path:
    """Where shard ``index`` lies; it holds training seeds ``index * SHARD`` to ``(index + 1) * SHARD - 1``."""
    return folder / f"pairs-{index:04d}.safetensors"


def write_shards(folder: Path, count: int, workers: int) -> list[Path]:
    """Draw what is missing of the first ``count`` shards, in ``workers`` processes; finished shards are kept."""
    if (count * SHARD) > HELD_OUT:
        raise ValueError(f"{count} shards would reach into the held-out seeds, which begin at {HELD_OUT}")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [shard_path(folder, i) for i in range(count)]
    jobs = [(i, p) for i, p in enumerate(paths) if not p.exists()]
    if jobs:
        with multiprocessing.get_context("spawn").Pool(min(workers, len(jobs))) as pool:
            list(tqdm(pool.imap(_write_shard, jobs), total=len(jobs), desc="drawing pairs", unit="shard"))
    return paths


def read_shard(path: Path) -> dict[str, Tensor]:
    """One shard; pictures stay uint8."""
    return load_file(path)
