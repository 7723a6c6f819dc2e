"""`python -m i2am.demo.train.edit`: draws the data, trains the edit model from scratch and exports it to OUT/weights.

Stop it at any time and run the same command again: it goes on from its last checkpoint, at most two minutes old,
exactly as if it had not stopped.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, multiprocessing
from tqdm import tqdm

from ....options import MOST_AT_ONCE, number, whole
from .export import export
from .loop import FIRST_SHARDS, Ranks, Recipe, Trainer
from .shards import SHARD, load_vae, shard
from .watch import Watch

log = logging.getLogger("i2am")

PATIENCE = timedelta(days=30)
"""How long one process waits for another that is suspended."""


@dataclass(frozen=True)
class Run:
    """A training under ``name`` below ``out``, up to ``until`` samples, with copies kept at ``snapshots``.

    ``weights`` are what it begins with where it has no checkpoint yet.
    """

    out: Path
    name: str
    recipe: Recipe
    until: int
    snapshots: tuple[int, ...] = ()
    watch_every: int = 5000
    weights: Path | None = None

    @property
    def checkpoint(self) -> Path:
        """Where the training's checkpoint lies."""
        return self.out / f"{self.name}.safetensors"


def train(run: Run, ranks: Ranks) -> None:
    """Train as ``run`` says; rank 0 draws what data is missing, saves, watches and shows progress."""
    torch.set_num_threads(1)
    trainer = Trainer(run.checkpoint, run.recipe, ranks, run.weights)
    first, vae = ranks.rank == 0, load_vae()
    watch = Watch(vae, run.out / f"{run.name}.jsonl") if first and run.watch_every else None
    shards: list[dict[str, Tensor]] = []
    bar = tqdm(total=run.until, initial=trainer.done, desc=run.name, unit="sample", mininterval=10, disable=not first)
    means: dict[str, float] = {}
    while trainer.done < run.until:
        while len(shards) < run.recipe.shards_at(trainer.done):
            if first:
                shard(run.out / "data", len(shards), vae)
            ranks.wait()
            shards.append(shard(run.out / "data", len(shards), vae))
        before = trainer.done
        for key, value in trainer.step(shards).items():
            means[key] = value + 0.98 * (means.get(key, value) - value)
        bar.update(trainer.done - before)
        bar.set_postfix({k: f"{v:.3f}" for k, v in means.items()}, refresh=False)
        if not first:
            continue
        if watch is not None and trainer.done // run.watch_every > before // run.watch_every:
            watch.look(trainer.average, {"samples": trainer.done, **means})
        for mark in run.snapshots:
            if before < mark <= trainer.done:
                trainer.save(run.out / f"{run.name}-{mark}.safetensors")
        trainer.save_if_due()
    bar.close()
    if first:
        trainer.save()


@contextmanager
def _group(rank: int, count: int, meeting: Path) -> Iterator[Ranks]:
    """Join the processes that train together."""
    if count == 1:
        yield Ranks()
        return
    distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=count, timeout=PATIENCE)
    try:
        yield Ranks(rank, count, distributed.all_reduce, distributed.barrier)
    finally:
        distributed.destroy_process_group()


def _process(rank: int, count: int, meeting: Path, run: Run) -> None:
    with _group(rank, count, meeting) as ranks:
        train(run, ranks)


def _train_in(count: int, run: Run) -> None:
    """Train in ``count`` processes, this one included."""
    with tempfile.TemporaryDirectory() as folder:
        given = (count, Path(folder) / "meeting", run)
        spawn = multiprocessing.get_context("spawn")
        others = [spawn.Process(target=_process, args=(rank, *given), daemon=True) for rank in range(1, count)]
        for other in others:
            other.start()
        _process(0, *given)
        for other in others:
            other.join()


def main(argv: list[str] | None = None) -> int:
    """Run the training; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.train.edit", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/train-edit"), help="folder of caches and checkpoints")
    parser.add_argument(
        "--samples", type=whole(), default=Recipe.samples, help=f"edits of the recipe (default {Recipe.samples})"
    )
    parser.add_argument("--until", type=whole(), help="stop after so many of them, with the recipe as it is (default: all)")
    parser.add_argument("--attention-weight", type=number(), default=Recipe.attention_weight, help="0 trains by the flow alone")
    parser.add_argument("--name", default=None, help="checkpoint name (default: edit, or plain without the attention loss)")
    parser.add_argument(
        "--shards", type=whole(1), default=Recipe.shards, help=f"shards of {SHARD} groups (default {Recipe.shards})"
    )
    parser.add_argument("--start", type=Path, metavar="WEIGHTS", help="exported weights to begin with (default: random ones)")
    parser.add_argument("--snapshots", type=whole(), nargs="*", default=[], help="sample counts to keep copies of")
    parser.add_argument(
        "--processes", type=whole(1, MOST_AT_ONCE), default=1, help="processes of one thread each that share every batch"
    )
    parser.add_argument(
        "--watch-every", type=whole(), default=5000, help="samples between two looks at held-out edits; 0: none"
    )
    parser.add_argument("--seed", type=whole(), default=0)
    args = parser.parse_args(argv)
    until = args.samples if args.until is None else args.until
    if not 0 < until <= args.samples:
        parser.error(f"--until is from 1 to the {args.samples} samples, got {until}")
    if args.processes < 1 or args.shards < FIRST_SHARDS:
        parser.error(f"--processes is at least 1 and --shards at least {FIRST_SHARDS}, got {args.processes} and {args.shards}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    recipe = Recipe(args.samples, args.attention_weight, args.seed, shards=args.shards)
    name = args.name or ("edit" if args.attention_weight > 0 else "plain")
    run = Run(args.out, name, recipe, until, tuple(args.snapshots), args.watch_every, args.start)
    try:
        _train_in(args.processes, run)
        log.info("wrote %s", export(run.checkpoint, args.out / "weights"))
    except (ValueError, FileNotFoundError) as error:
        log.error("%s", error)
        return 2
    return 0
