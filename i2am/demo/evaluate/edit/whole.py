"""`python -m i2am.demo.evaluate.edit`: measures the edit model on held-out pairs and writes the figures as JSON.

Stop it at any time and run the same command again: it goes on from the units of a few pairs that it has finished.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing
from tqdm import tqdm

from ....models.edit.family import WEIGHTS
from ....options import MOST_AT_ONCE, whole
from ...edit_model import EditTryOn
from ..reader import Reader
from .cases import check_apart
from .figures import figures, hash_of, setup
from .work import Plan, Unit, is_done, measure, save

log = logging.getLogger("i2am")

UNITS, FILE = Path("out/evaluate-edit"), Path("out/evaluation-edit.json")


class Worker:
    """Measures units, one after another, on one thread."""

    def __init__(self, weights: Path, folder: Path, name: str) -> None:
        torch.set_num_threads(1)
        self.tryon, self.reader = EditTryOn.load(weights), Reader.load()
        self.folder, self.name = folder, name

    def __call__(self, unit: Unit) -> tuple[int, float]:
        """Measure a unit and save its results; returns its number of pictures and the seconds that it took."""
        began = time.monotonic()
        save(unit, measure(unit, self.tryon, self.reader), self.folder, self.name)
        return unit.runs, time.monotonic() - began


_workers: list[Worker] = []


def _start(*given: Any) -> None:
    _workers.append(Worker(*given))


def _one(unit: Unit) -> tuple[int, float]:
    return _workers[0](unit)


@contextmanager
def _finished(units: Sequence[Unit], processes: int, *given: Any) -> Iterator[Iterator[tuple[int, float]]]:
    """The results of all units as they come, of this process or of several."""
    if processes == 1 or len(units) < 2:
        worker: Callable[[Unit], tuple[int, float]] = Worker(*given)
        yield map(worker, units)
        return
    with multiprocessing.get_context("spawn").Pool(processes, _start, given) as pool:
        yield pool.imap_unordered(_one, units)


def evaluate(plan: Plan, weights: Path, folder: Path, processes: int = 1) -> dict[str, Any]:
    """Measure what is not yet in ``folder``; returns everything.

    Args:
        plan: what to measure.
        weights: folder of the edit model.
        folder: of the units' results.
        processes: of one thread each.

    Raises:
        ValueError: pairs belong to training.
        FileNotFoundError: the weights are missing.
    """
    began, name = time.monotonic(), hash_of(weights)
    tryon = EditTryOn.load(weights)
    about = tryon.model.about
    check_apart(plan.seeds("paired"), plan.seeds("choice"), about)
    units = [*plan.units()]
    left = [unit for unit in units if not is_done(unit, folder, name)]
    done = sum(unit.runs for unit in units) - sum(unit.runs for unit in left)
    bar = tqdm(total=sum(unit.runs for unit in units), initial=done, desc="edit model", unit="picture", mininterval=1)
    spent = 0.0
    if left:
        with bar, _finished(left, processes, weights, folder, name) as results:
            for runs, seconds in results:
                bar.update(runs)
                spent += seconds
    log.info("%d pictures in %.0f s of %d processes, %.0f s in all", bar.n - done, spent, processes, time.monotonic() - began)
    return {"setup": setup(plan, about, name, time.monotonic() - began), **figures(plan, folder)}


def _parser() -> argparse.ArgumentParser:
    plan = Plan()
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.evaluate.edit", description=__doc__)
    parser.add_argument("--pairs", type=whole(), default=plan.pairs, help=f"pairs that are measured (default {plan.pairs})")
    parser.add_argument(
        "--choice-pairs", type=whole(), default=plan.choice_pairs, help=f"others to choose by (default {plan.choice_pairs})"
    )
    parser.add_argument(
        "--changed-pairs",
        type=whole(),
        default=plan.changed_pairs,
        help=f"pairs with references left out and ways cut (default {plan.changed_pairs})",
    )
    parser.add_argument("--steps", type=whole(1), default=plan.steps, help=f"Euler steps (default {plan.steps})")
    parser.add_argument("--few", type=whole(1), default=plan.few, help=f"steps of choice and changed runs (default {plan.few})")
    parser.add_argument("--batch", type=whole(1), default=plan.batch, help=f"pairs at a time (default {plan.batch})")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the edit model (default: the one that ships)")
    parser.add_argument("--units", type=Path, default=UNITS, help=f"folder of unfinished work (default {UNITS})")
    parser.add_argument("--json", type=Path, default=FILE, help=f"file to write (default {FILE})")
    parser.add_argument(
        "--processes",
        type=whole(1, MOST_AT_ONCE),
        default=os.cpu_count() or 1,
        help="of one thread each (default: all processors)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Evaluate from the command line; returns the exit status, 130 where it was interrupted."""
    parser = _parser()
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plan = Plan(args.pairs, args.choice_pairs, args.changed_pairs, args.steps, args.few, args.batch)
    if min(plan.pairs, plan.steps, plan.few, plan.batch, args.processes) < 1:
        parser.error("--pairs, --steps, --few, --batch and --processes are at least 1")
    if min(plan.choice_pairs, plan.changed_pairs) < 0 or plan.changed_pairs > plan.pairs:
        parser.error("--choice-pairs is at least 0 and --changed-pairs from 0 to the number of pairs")
    try:
        found = evaluate(plan, args.weights, args.units, args.processes)
    except (ValueError, FileNotFoundError) as error:
        log.error("%s", error)
        return 2
    except KeyboardInterrupt:
        log.error("interrupted; run the same command again to go on")
        return 130
    args.json.parent.mkdir(parents=True, exist_ok=True)
    draft = args.json.with_name(args.json.name + ".part")
    draft.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(args.json)
    log.info("wrote %s", args.json)
    return 0
