"""The card's answer to workflow 05, cfg 1 against cfg 5, from the figures of `i2am.demo.evaluate.guidance` and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .markdown import table

FEWEST = 20
"""With fewer pairs there are figures but no answer."""
EVEN = 0.01
"""A map whose contrast, (max - min) / mean, is below this can only follow the mask's area."""
LABELS = {
    "mass": "mass, inpainting mask",
    "R2G-balanced": "R2G-balanced, inpainting mask",
    "R2G": "R2G (comparative, not causal), inpainting mask",
    "G2R": "G2R, reference mask",
}
VERDICTS = ("raises", "lowers", "does not change")


def verdict(difference: Mapping[str, float]) -> str:
    """The verdict: "raises" or "lowers" where the interval ("low", "high") of the paired difference excludes 0, else "does not change"."""
    return "raises" if difference["low"] > 0 else "lowers" if difference["high"] < 0 else "does not change"


def guidance_text(figures: Mapping[str, Any]) -> str:
    """How it was measured, the answer in words, and the table, as Markdown; ``figures`` as `guidance.compare` gives them."""
    setup, sides, pairs = figures["setup"], figures["summary"], len(figures["per_seed"])
    weak, strong = (f"{cfg:g}" for cfg in setup["cfgs"])
    method = (
        f"Workflow 05 asks whether the maps move with the guidance. `python -m i2am.demo.evaluate.guidance` dresses {pairs} held-out "
        f"persons in another's garment, each with cfg {weak} and with cfg {strong} from the same noise ({setup['steps']} DDIM "
        f"steps, {setup['samples']:,} training samples), and takes the share of each map of the cond branch that lies inside "
        f"its mask."
    )
    return f"{method} {_answer(sides, pairs, weak, strong)}{_even(sides)}\n\n{_table(figures, weak, strong)}"


def _answer(sides: Mapping[str, Any], pairs: int, weak: str, strong: str) -> str:
    if pairs < FEWEST:
        return f"{pairs} pairs are too few for an answer; it takes {FEWEST}."
    said = []
    for word in VERDICTS:
        names = [side for side, f in sides.items() if verdict(f["difference"]) == word]
        if names:
            said.append(f"{word} the share of {_listed(names)} inside {'its mask' if len(names) == 1 else 'their masks'}")
            if word == VERDICTS[-1]:
                said[-1] += f" as far as {pairs} pairs can tell"
    return f"**Against cfg {weak}, cfg {strong} {_listed(said)}.**"


def _even(sides: Mapping[str, Any]) -> str:
    """What a reader must know of maps that are all but the same everywhere."""
    return "".join(
        f" The {side} map is all but even, its highest value only {f['contrast'] * 100:.2g} % of its mean above its lowest, so "
        f"its share can hardly leave the mask's part of the picture."
        for side, f in sides.items()
        if f["contrast"] < EVEN
    )


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _table(figures: Mapping[str, Any], weak: str, strong: str) -> str:
    level = f"{figures['setup']['interval']['level'] * 100:g} % interval"
    head = ("share inside the mask", "mask's part of the picture", f"cfg {weak}", f"cfg {strong}", "paired difference, points")
    rows = [
        (
            LABELS[side],
            f"{f['area'] * 100:.1f} %",
            *(_percent(f[f"cfg_{cfg}"]) for cfg in (weak, strong)),
            _points(f["difference"]),
        )
        for side, f in figures["summary"].items()
    ]
    return table(head, rows) + f"\nIn brackets: bootstrap, {level} of the mean over pairs.\n"


def _percent(found: Mapping[str, float]) -> str:
    mean, low, high = (f"{found[key] * 100:.1f}" for key in ("mean", "low", "high"))
    return f"{mean} % ({low} to {high})"


def _points(found: Mapping[str, float]) -> str:
    """Percentage points with their sign; small ones by one significant digit, so that none is rounded to 0."""
    mean, low, high = (_signed(found[key] * 100) for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def _signed(value: float) -> str:
    digits = 2 if abs(value) >= 0.01 or value == 0 else -math.floor(math.log10(abs(value)))
    return f"{value:+.{digits}f}".replace("-", "−")
