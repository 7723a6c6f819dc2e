"""The training cache: shards of drawn pairs on disk."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from ...drawn.draw import draw_pairs
from ...drawn.places import GRID, true_places
from ...drawn.seeds import HELD_OUT, SHARD
from ...drawn.spec import draw_pair


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
