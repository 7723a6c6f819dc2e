"""`python -m i2am.demo.evaluate.guidance`: does stronger guidance bring more of the maps inside their masks?

Workflow 05's comparison, cfg 1 against cfg 5, over held-out pairs: each person in another pair's garment, twice from the
same noise. Of each run the cond branch's maps (ULAM, default preset, all layers) are read. The file is written anew after
every seed, so that a comparison that is stopped keeps what it has measured.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap
from torch import Tensor
from tqdm import tqdm

from ...drawn.seeds import HELD_OUT
from ...levels.heat import Heat, fit
from ...levels.marginal import ulam
from ...models.demo.tryon import DemoModel, try_on
from ...options import MOST_AT_ONCE, whole
from ...scores.sweep import share_inside
from ..recording import recording_of
from .cases import OTHER, Case, case_of, check_held_out
from .figures import rounded

log = logging.getLogger("i2am")

FILE = Path(__file__).parents[1] / "card" / "guidance.json"
CFGS = (1.0, 5.0)
SIDES = {"mass": True, "R2G-balanced": False, "R2G": False, "G2R": False}
"""The maps that are read, and whether over placed tokens only: the mass over all keys is 1 everywhere, since all of them
belong to the reference."""
RESAMPLES, LEVEL, RESAMPLING_SEED = 10_000, 0.95, 0


@dataclass(frozen=True)
class Inside:
    """Where one map lies.

    Attributes:
        share: part of the map's sum that lies inside the mask, 0-1.
        area: part of the picture that the mask covers, 0-1: the share of a map that is the same everywhere.
        contrast: (max - min) / mean of the map; about 0 is a map that cannot tell inside from outside.
    """

    share: float
    area: float
    contrast: float


def inside(heat: Heat, mask: Tensor) -> Inside:
    """How much of a one-panel map, as raw as `imacs` takes its mass ratio from, lies inside a mask (H, W) of 0 and 1.

    The share is `Score.mass_ratio` times the area, but exists for a flat map too, which has no score.
    """
    raw = fit(heat, (mask.shape[0], mask.shape[1]))[0].double()
    return Inside(share_inside(heat, mask), float(mask.double().mean()), float((raw.max() - raw.min()) / raw.mean()))


def interval(
    values: Sequence[float], *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = RESAMPLING_SEED
) -> dict[str, float]:
    """The mean of ``values`` and its percentile bootstrap interval: {"mean", "low", "high"}, in their unit.

    One value is an interval of its own.

    Raises:
        ValueError: there are no values.
    """
    if not len(values):
        raise ValueError("there are no values to take an interval of")
    known = np.asarray(values, dtype=np.float64)
    low = high = mean = float(known.mean())
    if len(known) > 1:
        options = {"n_resamples": resamples, "confidence_level": level, "method": "percentile"}
        low, high = bootstrap((known,), np.mean, random_state=np.random.default_rng(seed), **options).confidence_interval
    return {"mean": mean, "low": float(low), "high": float(high)}


def run_name(cfg: float) -> str:
    """What a run is called in the figures."""
    return f"cfg_{cfg:g}"


def summary(per_seed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of all seeds by side: intervals of each run's share and of the paired difference, area and contrast.

    Raises:
        ValueError: there is no seed.
    """
    out: dict[str, Any] = {}
    for side in SIDES:
        rows = [row[side] for row in per_seed]
        out[side] = {name: interval([r[name] for r in rows]) for name in (*map(run_name, CFGS), "difference")}
        out[side].update({name: float(np.mean([r[name] for r in rows])) for name in ("area", "contrast")})
    return out


def compare(
    model: DemoModel,
    seeds: Sequence[int],
    steps: int = 50,
    *,
    file: Path | None = None,
    on_step: Callable[[], Any] = lambda: None,
) -> dict[str, Any]:
    """Measure every seed with both scales; returns what the file holds: setup, summary and per_seed.

    Args:
        model: the demo model.
        seeds: held-out pairs, which also seed the noise.
        steps: DDIM steps.
        file: JSON to write after every seed.
        on_step: called after every step of every run.

    Raises:
        ValueError: a seed belongs to training, or there is none.
    """
    check_held_out([*seeds, *(s + OTHER for s in seeds)], int(model.about.get("shards", 0)))
    setup: dict[str, Any] = {
        "samples": model.about.get("samples", 0),
        "steps": steps,
        "cfgs": list(CFGS),
        "case": "unpaired",
        "seeds": list(seeds),
        "branch": "cond",
        "interval": {"level": LEVEL, "resamples": RESAMPLES, "seed": RESAMPLING_SEED},
        "complete": False,
    }
    per_seed: list[dict[str, Any]] = []
    figures: dict[str, Any] = {"setup": setup, "summary": {}, "per_seed": per_seed}
    for seed in seeds:
        per_seed.append({"seed": seed, **_pair(model, case_of("unpaired", [seed]), steps, on_step)})
        figures["summary"] = summary(per_seed)
        setup["complete"] = len(per_seed) == len(seeds)
        if file is not None:
            _write(file, figures)
    if not per_seed:
        raise ValueError("there are no seeds to compare")
    return figures


def _pair(model: DemoModel, case: Case, steps: int, on_step: Callable[[], Any]) -> dict[str, Any]:
    """One seed's figures by side: the share of each run, their difference, the mask's area and the greater contrast."""
    runs = [_sides(model, case, cfg, steps, on_step) for cfg in CFGS]
    out: dict[str, Any] = {}
    for side in SIDES:
        found = [run[side] for run in runs]
        out[side] = {run_name(cfg): one.share for cfg, one in zip(CFGS, found, strict=True)}
        out[side]["difference"] = found[1].share - found[0].share
        out[side]["area"] = found[0].area
        out[side]["contrast"] = max(one.contrast for one in found)
    return out


def _sides(model: DemoModel, case: Case, cfg: float, steps: int, on_step: Callable[[], Any]) -> dict[str, Inside]:
    """One recorded run, of which only what the sides need is kept."""
    recording = recording_of(model, images=1, steps=steps, cfg=cfg, pairwise=None)
    with recording:
        try_on(
            model,
            agnostic=case.shown.agnostic,
            densepose=case.densepose,
            reference=case.reference,
            seeds=case.seeds,
            steps=steps,
            cfg=cfg,
            on_step=lambda _: on_step(),
        )
    masks = {"generated": case.shown.inpaint_mask[0, 0], "reference": case.truth.reference_mask[0, 0]}
    heats = {side: ulam(recording.maps, side, placed_only=placed) for side, placed in SIDES.items()}
    return {side: inside(heat, masks[heat.picture]) for side, heat in heats.items()}


def _write(file: Path, figures: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(file.name + ".part")
    draft.write_text(json.dumps(rounded(figures), indent=2) + "\n", encoding="utf-8")
    draft.replace(file)


def main(argv: list[str] | None = None) -> int:
    """Compare from the command line; returns the exit status, 130 where it was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.evaluate.guidance", description=__doc__)
    parser.add_argument("--seeds", type=whole(), default=24, help=f"how many pairs, from seed {HELD_OUT} on (default 24)")
    parser.add_argument("--steps", type=whole(1), default=50, help="DDIM steps (default 50)")
    parser.add_argument("--threads", type=whole(1, MOST_AT_ONCE), default=1, help="processor threads (default 1)")
    parser.add_argument("--json", type=Path, default=FILE, help="file to write (default i2am/demo/card/guidance.json)")
    args = parser.parse_args(argv)
    if args.seeds < 2 or args.steps < 1 or args.threads < 1:
        parser.error("--seeds is at least 2, since one difference has no interval; --steps and --threads are at least 1")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    seeds = range(HELD_OUT, HELD_OUT + args.seeds)
    try:
        with tqdm(total=args.seeds * len(CFGS) * args.steps, desc="cfg 1 and 5", unit="step", mininterval=1) as bar:
            figures = compare(DemoModel.load(), seeds, args.steps, file=args.json, on_step=bar.update)
    except (ValueError, FileNotFoundError) as error:
        log.error("%s", error)
        return 2
    except KeyboardInterrupt:
        log.error("interrupted; %s keeps the pairs that were done, if any", args.json)
        return 130
    for side, found in figures["summary"].items():
        difference = found["difference"]
        log.info("%s: cfg 5 - cfg 1 = %+.3g (%+.3g to %+.3g)", side, *(difference[k] for k in ("mean", "low", "high")))
    log.info("wrote %s", args.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
