"""From which part of the run on the maps look as they do over the whole run."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UnavailableError
from ..levels.choice import EVERYTHING, Choice
from ..levels.marginal import tlam, ulam
from ..maps.value import AttributionMaps
from .said import Said
from .thresholds import ALIKE, EVEN

GROUPS = 5


def settled(maps: AttributionMaps, choice: Choice = EVERYTHING) -> Said:
    """Compare the reference's map of each part of the run with that of the whole run, by Pearson correlation over cells.

    Raises:
        UnavailableError: there is no map on the reference, it is even, or the run was not recorded in parts.
    """
    whole = ulam(maps, "G2R", choice).values[0].flatten()
    by_time = tlam(maps, "G2R", choice, groups=GROUPS)
    count = len(by_time.labels)
    if count < 2:
        raise UnavailableError("the chosen steps were recorded as one part")
    if _even(whole):
        raise UnavailableError("G2R of the whole run is even, so that there is nothing to become alike")
    alike = [0.0 if _even(one) else float(torch.corrcoef(torch.stack([one.flatten(), whole]))[0, 1]) for one in by_time.values]
    figures = dict(zip(by_time.labels, alike, strict=True))
    rule = f"G2R of {count} parts of the run against that of all of it: alike from a correlation of {ALIKE:g} on"
    first = next((i for i in range(count) if all(round(r, 2) >= ALIKE for r in alike[i:])), None)
    if first is None:
        last = f"even {by_time.labels[-1]} is unlike the whole run (r {alike[-1]:.2f})"
        text = f"What is looked at changes until the end: {last}."
        return Said("time", text, rule, figures, "changes")
    before = f"before, it was less like the whole run (r {min(alike[:first], default=1):.2f})"
    if first == 0:
        text = f"What is looked at stays the same from the first part of the run on (r at least {min(alike):.2f})."
        return Said("time", text, rule, figures, "at once")
    text = f"What is looked at settles with {by_time.labels[first]}; {before}."
    return Said("time", text, rule, figures, "settles")


def _even(values: Tensor) -> bool:
    return float(values.std(correction=0)) <= EVEN * abs(float(values.mean()))
