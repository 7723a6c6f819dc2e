"""What recording and scoring cost an evaluation of the bundled model, beside sampling alone.

Each pair is dressed twice in turns, alone and as `i2am evaluate` does it: sampled and recorded by its defaults, scored by every
value, written to a run folder. Counted is the processor time of the whole process, so that other programs change little.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tqdm import tqdm

from ..data.demo_folder import write_demo_folder
from .facts import Lacking
from .making import Given, Looks, Maker
from .metrics.networks import lpips_of
from .run_folder import RunFolder
from .samplers import DEMO
from .samplers.loading import load
from .samplers.sampler import Sampler, Sampling
from .work import seed_of, work_of

WARM_UP = 2
"""Steps of the runs that come first and do not count."""
FEWEST = 2
"""Pairs that a drawn data set has."""


def measure_cost(pairs: int, steps: int | None = None) -> dict[str, Any]:
    """Seconds of processor time per image, and what is added to sampling alone.

    Args:
        pairs: that are dressed.
        steps: of the sampler; None: the model's own.

    Returns:
        "setup" with what was measured; medians over the pairs of the seconds "alone" and "whole"; "added", the median over the
        pairs of whole / alone - 1; "recording" and "scoring", the medians of the parts that the evaluation itself tells, as
        shares of its sampling; "turns", (alone, whole) per pair.
    """
    with TemporaryDirectory() as folder:
        data = write_demo_folder(Path(folder) / "data", 0, max(pairs, FEWEST))
        return _measured(data, Path(folder) / "runs", pairs, steps)


def _measured(data: Path, out: Path, pairs: int, steps: int | None) -> dict[str, Any]:
    alone, whole = (load(None, DEMO, Sampling(steps=steps, recorded=recorded)) for recorded in (False, True))
    work = work_of(data, ("paired",), "test", whole, pairs).usable(skip=False)
    given = [(item, work.open(item)) for item in work.items]
    lpips = lpips_of()
    looks = Looks(lpips, Lacking(reason="of whole data sets, not of images"))
    for recorded in (False, True):
        warm = load(None, DEMO, Sampling(steps=WARM_UP, recorded=recorded))
        _evaluate(warm, looks, RunFolder(out / f"warm-{recorded}"), given[0])
    folder, turns = RunFolder(out / "whole"), []
    for number, one in enumerate(tqdm(given, unit="pair", desc="alone and whole, in turns")):
        both: dict[str, Callable[[], object]] = {
            "alone": lambda one=one: alone.sample([one[1]], [seed_of(0, one[0].pair.name)]),  # type: ignore[misc]
            "whole": lambda one=one: _evaluate(whole, looks, folder, one),  # type: ignore[misc]
        }
        order = list(both) if number % 2 == 0 else list(both)[::-1]
        taken = {name: _seconds(both[name]) for name in order}
        turns.append((taken["alone"], taken["whole"]))
    rows = folder.rows()
    how = whole.how
    return {
        "setup": {
            "family": whole.family,
            "sampler": how.sampler,
            "steps": how.steps,
            "every": how.every,
            "cfg": how.cfg,
            "pairs": pairs,
            "lpips": "" if isinstance(lpips, Lacking) else lpips.name,
            "values": len(rows[0].values),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "machine": platform.machine(),
        },
        "alone": statistics.median(a for a, _ in turns),
        "whole": statistics.median(b for _, b in turns),
        "added": statistics.median(b / a - 1 for a, b in turns),
        "recording": _share([row.seconds for row in rows], "record"),
        "scoring": _share([row.seconds for row in rows], "score"),
        "turns": turns,
    }


def _evaluate(sampler: Sampler, looks: Looks, folder: RunFolder, given: Given) -> None:
    Maker(sampler, looks, folder, 0).make([given], {given[0].key}, folder.writer())


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _share(taken: list[dict[str, float]], name: str) -> float:
    return statistics.median(seconds[name] / seconds["sample"] for seconds in taken)


def cost_lines(figures: Mapping[str, Any]) -> str:
    """The figures as text."""
    setup = figures["setup"]
    return (
        f"{setup['pairs']} pairs, {setup['family']}, {setup['steps']} steps of {setup['sampler']}, one step of every "
        f"{setup['every']} recorded, {setup['threads']} thread(s)\n"
        f"processor time per image, medians: {figures['alone']:.2f} s sampled alone, {figures['whole']:.2f} s evaluated\n"
        f"added: {figures['added']:.1%} (recording {figures['recording']:.1%}, scoring {figures['scoring']:.1%} of sampling)"
    )
