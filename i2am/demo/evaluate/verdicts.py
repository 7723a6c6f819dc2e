"""`python -m i2am.demo.evaluate.verdicts`: how often is the answer in words right about a letter of the garment?

Held-out persons put on another's garment. Each letter is named as a region, as an artist would who misses it, and the answer
says whether it arrived. The bundled reader, which knows where the letter must lie, says what was drawn there. A letter that it
reads wrong is lost. The answer names it if its verdict is one of `regions.LOST`, and cries wolf if it says so of another.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ...answers.answer import answer
from ...answers.carried import local_structure
from ...answers.regions import LOST, Region
from ...answers.thresholds import DRAWN
from ...drawn.letters import letter_mask
from ...drawn.seeds import HELD_OUT
from ...levels.choice import Choice
from ...models.demo.tryon import DemoModel, try_on
from ...models.pictures import thumbnail
from ...options import number, whole
from ...scores.imacs import roc_area
from ..recording import recording_of
from .cases import OTHER, Case, case_of, check_held_out
from .reader import Reader, glyph_places, sample_at

log = logging.getLogger("i2am")

FILE = Path(__file__).parents[1] / "card" / "verdicts.json"
FIRST = HELD_OUT + 60_000
"""Pairs that no threshold was chosen by: that was done on 96 pairs from HELD_OUT + 40,000 on."""
ROUNDS = 2000
"""Of the bootstrap over pairs."""


@dataclass(frozen=True)
class Letter:
    """One letter of one try-on.

    Attributes:
        pair: the pair's seed.
        lost: whether the reader reads another letter.
        verdict: what the answer says.
        structure: the local structure that it rests on; None: it came to its verdict without.
        true_structure: the same with the pair's true geometry in place of the maps.
    """

    pair: int
    lost: bool
    verdict: str
    structure: float | None
    true_structure: float

    @property
    def named(self) -> bool:
        """Whether the answer says that it is lost."""
        return self.verdict in LOST


def letters_of(model: DemoModel, reader: Reader, case: Case, steps: int, cfg: float) -> list[Letter]:
    """Dress a batch and judge its letters."""
    assert case.reference is not None
    recording = recording_of(model, images=len(case.seeds), steps=steps, cfg=cfg)
    with recording:
        made = try_on(
            model,
            agnostic=case.shown.agnostic,
            densepose=case.densepose,
            reference=case.reference,
            seeds=case.seeds,
            steps=steps,
            cfg=cfg,
        )
    read, found = reader.read(made, case.wanted), []
    for i, pair in enumerate(case.wanted):
        glyphs = pair.garment.glyphs
        regions = [Region(f"letter {k + 1}", letter_mask(pair, k)) for k in range(len(glyphs))]
        said = answer(
            recording.maps,
            _picture(made[i]),
            [_picture(case.reference[i])],
            Choice(image=i),
            inpaint_mask=case.shown.inpaint_mask[i, 0],
            reference_mask=case.truth.reference_mask[i, 0],
            regions=regions,
        ).said
        places = glyph_places(glyphs)
        flat = sample_at(case.reference[[i] * len(glyphs)], [pair.flat] * len(glyphs), *places)
        worn = sample_at(made[[i] * len(glyphs)], [pair.body] * len(glyphs), *places)
        for k, one in enumerate(said[: len(glyphs)]):
            true = local_structure(flat[k], worn[k], torch.ones(flat.shape[-2:]))
            wrong = read.glyphs[i][k] != glyphs[k].index
            found.append(Letter(case.seeds[i], wrong, one.verdict, one.figures.get("structure"), true))
    return found


def figures_of(letters: Sequence[Letter], seed: int = 0) -> dict[str, Any]:
    """Shares with 95 % intervals by bootstrap over pairs."""
    pairs = sorted({one.pair for one in letters})
    by_pair = {pair: [one for one in letters if one.pair == pair] for pair in pairs}
    random = np.random.default_rng(seed)
    resampled = [
        _shares([one for pair in random.choice(pairs, len(pairs)) for one in by_pair[int(pair)]]) for _ in range(ROUNDS)
    ]
    found: dict[str, Any] = {}
    for name, value in _shares(letters).items():
        values = [each for one in resampled if (each := one[name]) is not None]
        low, high = np.quantile(values, [0.025, 0.975]) if values else (None, None)
        found[name] = {"value": value, "low": low, "high": high}
    counts = {
        "pairs": len(pairs),
        "letters": len(letters),
        "lost": sum(one.lost for one in letters),
        "named": sum(one.named for one in letters),
        "named_rightly": sum(one.named and one.lost for one in letters),
    }
    words = {word: sum(one.verdict == word for one in letters) for word in sorted({one.verdict for one in letters})}
    return {"counts": counts, "verdicts": words, **found}


def _shares(letters: Sequence[Letter]) -> dict[str, float | None]:
    lost, kept = [one for one in letters if one.lost], [one for one in letters if not one.lost]
    named = [one for one in letters if one.named]
    with_structure = [one for one in letters if one.structure is not None]
    return {
        "found": _share(one.named for one in lost),
        "wolf": _share(one.named for one in kept),
        "right": _share(one.lost for one in named),
        "auc": _area([one.structure for one in with_structure], [one.lost for one in with_structure]),
        "auc_true_geometry": _area([one.true_structure for one in letters], [one.lost for one in letters]),
    }


def _share(which: Any) -> float | None:
    values = [bool(one) for one in which]
    return sum(values) / len(values) if values else None


def _area(structure: Sequence[float | None], lost: Sequence[bool]) -> float | None:
    """Area under the ROC curve of a low structure as a sign of a lost letter; None: all or none is lost."""
    if all(lost) or not any(lost):
        return None
    return roc_area(-torch.tensor([float(one or 0) for one in structure]), torch.tensor(lost).float())


def _picture(values: Tensor) -> Image.Image:
    return Image.fromarray(thumbnail(values).numpy())


def main(argv: list[str] | None = None) -> int:
    """Measure from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m i2am.demo.evaluate.verdicts", description=__doc__)
    parser.add_argument("--pairs", type=whole(1), default=200, help="held-out pairs (default 200)")
    parser.add_argument("--steps", type=whole(1), default=20, help="DDIM steps (default 20)")
    parser.add_argument("--cfg", type=number(0), default=5.0, help="guidance (default 5)")
    parser.add_argument("--batch", type=whole(1), default=8, help="pairs at once (default 8)")
    parser.add_argument("--first", type=whole(), default=FIRST, help=f"seed of the first pair (default {FIRST})")
    parser.add_argument("--json", type=Path, default=FILE, help="file to write (default: the card's)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    model, reader = DemoModel.load(), Reader.load()
    seeds = range(args.first, args.first + args.pairs)
    check_held_out([*seeds, *(seed + OTHER for seed in seeds)], int(model.about.get("shards", 0)))
    letters: list[Letter] = []
    for start in tqdm(range(0, args.pairs, args.batch), desc="verdicts", unit="batch"):
        case = case_of("unpaired", seeds[start : start + args.batch])
        letters += letters_of(model, reader, case, args.steps, args.cfg)
        setup = {
            **{name: getattr(args, name) for name in ("pairs", "steps", "cfg", "batch", "first")},
            "threshold": DRAWN,
            "samples": model.about.get("samples", 0),
            "complete": start + args.batch >= args.pairs,
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"setup": setup, **_rounded(figures_of(letters))}, indent=2) + "\n", encoding="utf-8")
    log.info("%s", json.dumps(_rounded(figures_of(letters)), indent=2))
    return 0


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return round(float(value), 4) if isinstance(value, float) else value


if __name__ == "__main__":
    raise SystemExit(main())
