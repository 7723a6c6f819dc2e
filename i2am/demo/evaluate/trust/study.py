"""`python -m i2am.demo.evaluate.trust`: how well do the maps tell what matters to the picture? Cut it and see.

Held-out pairs, each at several noises: the run without a cut is recorded, and what its maps say is cut, in several ways. Stop
it at any time and run the same command again: it goes on after the last runs that were finished. More pairs or noises go on
from those that are there.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ....models.demo.family import WEIGHTS
from ....models.edit.family import WEIGHTS as EDIT_WEIGHTS
from ....options import MOST_AT_ONCE, whole
from ....scores.effect import change_of, effect
from ..figures import rounded
from .case import BLUR, Case, Studied, Uncut, noise_seed
from .edit import STEPS as EDIT_STEPS
from .edit import StudiedEdit
from .figures import figures
from .rows import Row, Rows
from .trials import FRACTIONS, USED, Trial, deletion_trials, foretold, knock_out_trials, stand_in_trials
from .tryon import STEPS as TRYON_STEPS
from .tryon import StudiedTryOn

log = logging.getLogger("i2am")

CARD = Path(__file__).parents[2] / "card"
UNITS = Path("out/trust")
PAIRS, SEEDS, BATCH = 16, 3, 8
VERSION = 1
"""Of what the runs are: rows of another version are not taken up."""
MODELS: dict[str, tuple[Callable[[int, Path], Studied], int, Path]] = {
    "tryon": (StudiedTryOn, TRYON_STEPS, WEIGHTS),
    "edit": (StudiedEdit, EDIT_STEPS, EDIT_WEIGHTS),
}


def trials_of(case: Case, uncut: Uncut, pair: int, noise: int, steps: int) -> list[Trial]:
    """The runs of a pair at a noise: regions, layers, thirds and stand-ins at the first noise alone."""
    seed = noise_seed(pair, noise)
    found = [*deletion_trials(uncut.heats, case.reference, seed)]
    if not noise:
        layers = tuple(layer.name for layer in uncut.maps.layers)
        found += knock_out_trials(uncut.heats, layers, case.reference, steps)
        found += stand_in_trials(uncut.heats[USED], case.reference, seed)
    return found


def measure(model: Studied, rows: Rows, pair: int, noise: int, batch: int, told: Callable[[int], object]) -> None:
    """Make what is missing of a pair at a noise.

    Args:
        model: the model.
        rows: what is there, and is added to.
        pair, noise: their numbers.
        batch: runs at a time.
        told: called with the number of runs that were finished, or were there.
    """
    began, end = time.perf_counter(), (pair, noise, ("end",))
    if end in rows.found:
        told(sum(place[:2] == end[:2] and row.mean is not None for place, row in rows.found.items()))
        return
    case = model.case(pair, noise)
    uncut = case.uncut()
    trials = trials_of(case, uncut, pair, noise, model.steps)
    if not noise:
        said = foretold(uncut.maps, uncut.heats, case.reference, model.steps)
        rows.add(Row(pair, noise, ("foretold", *key), foretold=tuple(values)) for key, values in said)
    by_picture: dict[tuple[object, ...], list[Trial]] = {}
    for trial in trials:
        by_picture.setdefault(trial.makes, []).append(trial)
    left = [same for same in by_picture.values() if not all((pair, noise, one.key) in rows.found for one in same)]
    told(len(trials) - sum(map(len, left)))
    for some in (left[i : i + batch] for i in range(0, len(left), batch)):
        made = case.make([same[0] for same in some])
        seconds = (time.perf_counter() - began) / sum(map(len, some))
        found = []
        for same, picture in zip(some, made, strict=True):
            change = change_of(uncut.picture, picture, same=True)[0]
            one = effect(change, uncut.truth)
            values = one.mean, one.share_inside, one.area, one.roc
            found += [Row(pair, noise, trial.key, *values, seconds=round(seconds, 4)) for trial in same]
        rows.add(found)
        told(len(found))
        began = time.perf_counter()
    rows.add([Row(pair, noise, ("end",))])


def study(
    model: Studied,
    pairs: int,
    noises: int,
    folder: Path,
    *,
    batch: int = BATCH,
    progress: bool = True,
    command: str = "",
) -> dict[str, Any]:
    """Make what is missing, and return the figures of all.

    Args:
        model: the model.
        pairs, noises: how many.
        folder: of the rows.
        batch: runs at a time.
        progress: whether to show a bar.
        command: that began it, to be told.

    Raises:
        ValueError: a pair belongs to training.
    """
    about = model.about()
    rows = Rows(folder, {"model": model.name, "steps": model.steps, "version": VERSION, **about})
    with tqdm(total=pairs * noises, desc=f"{model.name}, pairs × noises", unit="", disable=not progress, mininterval=1) as bar:
        runs = 0

        def told(count: int) -> None:
            nonlocal runs
            runs += count
            bar.set_postfix_str(f"{runs} runs with a cut")

        # a noise after the other: an early end leaves all pairs at fewer noises
        for noise in range(noises):
            for pair in range(pairs):
                measure(model, rows, pair, noise, batch, told)
                bar.update()
    chosen = [row for row in rows.found.values() if row.pair < pairs and row.noise < noises]
    made = [row for row in chosen if row.mean is not None]
    setup = {
        "model": model.name,
        **about,
        "steps": model.steps,
        "pairs": pairs,
        "seeds": noises,
        "fractions": [*FRACTIONS],
        "blur": BLUR,
        "runs": len(made),
        "seconds": round(sum(row.seconds for row in made)),
        "command": command,
    }
    return rounded({"setup": setup, **figures(chosen)})  # type: ignore[no-any-return]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.evaluate.trust", description=__doc__)
    parser.add_argument("--model", choices=[*MODELS], default="tryon", help="which bundled model (default tryon)")
    parser.add_argument("--pairs", type=whole(2), default=PAIRS, help=f"held-out pairs (default {PAIRS})")
    steps = ", ".join(f"{name} {default}" for name, (_, default, _) in MODELS.items())
    parser.add_argument("--steps", type=whole(1, 1000), help=f"sampling steps (default: {steps})")
    parser.add_argument("--seeds", type=whole(1), default=SEEDS, help=f"noises and random orders per pair (default {SEEDS})")
    parser.add_argument("--batch", type=whole(1), default=BATCH, help=f"runs at a time (default {BATCH})")
    parser.add_argument("--weights", type=Path, help="folder of the model (default: the one that ships)")
    parser.add_argument("--units", type=Path, default=UNITS, help=f"folder of what was measured so far (default {UNITS})")
    parser.add_argument("--json", type=Path, help="file to write (default: the card's, trust-tryon.json or trust-edit.json)")
    parser.add_argument("--threads", type=whole(1, MOST_AT_ONCE), default=1, help="processor threads (default 1)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure from the command line; returns the exit status, 130 where it was interrupted."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    load, steps, weights = MODELS[args.model]
    steps = args.steps or steps
    options = {"model": args.model, "pairs": args.pairs, "steps": steps, "seeds": args.seeds}
    command = " ".join(["python -m i2am.demo.evaluate.trust", *(f"--{name} {value}" for name, value in options.items())])
    try:
        model = load(steps, args.weights or weights)
        found = study(model, args.pairs, args.seeds, args.units, batch=args.batch, command=command)
    except (ValueError, FileNotFoundError) as error:
        log.error("%s", error)
        return 2
    except KeyboardInterrupt:
        log.error("interrupted; run the same command again to go on")
        return 130
    file = args.json or CARD / f"trust-{args.model}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(file.name + ".part")
    draft.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(file)
    log.info("wrote %s: %d runs, %.0f s", file, found["setup"]["runs"], found["setup"]["seconds"])
    return 0
