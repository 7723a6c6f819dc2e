"""How often the answer in words is right about a letter, from the figures of `i2am.demo.evaluate.verdicts` and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def verdicts_text(figures: Mapping[str, Any]) -> str:
    """How it was measured, and what came out, also where that is poor, as Markdown."""
    setup, counts = figures["setup"], figures["counts"]
    kept = counts["letters"] - counts["lost"]
    return (
        f"I²AM Look takes a region that a person misses and says whether it arrived. `python -m i2am.demo.evaluate.verdicts` asks "
        f"that of every letter of {counts['pairs']} held-out persons in another's garment ({counts['letters']} letters, "
        f"{setup['steps']} DDIM steps, cfg {setup['cfg']:g}), and lets the reader, which knows where each letter must lie, say "
        f"what was drawn. The threshold (local structure below {setup['threshold']:g}) was chosen on 96 other pairs.\n\n"
        f"- Of {counts['lost']} lost letters, the answer names {_percent(figures['found'])}.\n"
        f"- Of {kept} letters that were drawn right, it cries wolf over {_percent(figures['wolf'])}.\n"
        f"- Of {counts['named']} letters that it calls lost, {_percent(figures['right'])} are: since few are lost, most alarms "
        f"are worth a look rather than true.\n"
        f"- Area under the ROC curve of local structure {figures['auc']['value']:.2f} ({_interval(figures['auc'])}); with each "
        f"letter's true place in the place of the maps, "
        f"{figures['auc_true_geometry']['value']:.2f} ({_interval(figures['auc_true_geometry'])}).\n\n"
        f"{_all_drawn(figures['verdicts'], counts['letters'])}In brackets: 95 % intervals by bootstrap over pairs.\n"
    )


def _all_drawn(verdicts: Mapping[str, int], letters: int) -> str:
    """Whether attention lost any."""
    looked_at = sum(count for word, count in verdicts.items() if word in ("arrived", "drawn differently", "another colour"))
    if looked_at < letters:
        return f"{letters - looked_at} of the letters were not looked at in one place. "
    return "Every letter was looked at in one place: this model loses letters in drawing, not in looking. "


def _percent(found: Mapping[str, float]) -> str:
    return f"{found['value']:.0%} ({_interval(found, 100)})"


def _interval(found: Mapping[str, float], scale: int = 1) -> str:
    low, high = (found[end] * scale for end in ("low", "high"))
    return f"{low:.0f} to {high:.0f}" if scale > 1 else f"{low:.2f} to {high:.2f}"
