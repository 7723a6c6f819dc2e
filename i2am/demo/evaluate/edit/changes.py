"""The changed runs: each reference left out, and each way of attention cut, from the same noise."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....interventions.plan import Cut
from ....models.edit.calls import BOTH
from .pictures import EFFECT, effect_figures, quality_figures

LEFT_OUT: dict[str, tuple[str, ...]] = {"person": ("garment",), "garment": ("person",), "both": ()}
"""The references that a run still gets, by what it is left without."""
PERSON, GARMENT = range(len(BOTH))
CUTS: dict[str, tuple[Cut, ...]] = {
    "generated→garment": (Cut("reference", GARMENT, route="generated"),),
    "generated→person": (Cut("reference", PERSON, route="generated"),),
    "generated→text": (Cut("text", route="generated"),),
    "text→references": (Cut("all references", route="text"),),
    "person→garment": (Cut("reference", GARMENT, route="references"),),
    "garment→person": (Cut("reference", PERSON, route="references"),),
    "text and person→garment": (Cut("reference", GARMENT, route="text"), Cut("reference", GARMENT, route="references")),
    "all→garment": (Cut("reference", GARMENT),),
    "all→person": (Cut("reference", PERSON),),
}
"""The cuts of each run, named by the queries that look and the keys that they no longer see, in all blocks and steps.

Where all lose sight of a reference, so do its own tokens, which nobody sees any more: they cannot change the picture.
"""
RUNS = (*(f"without {name}" for name in LEFT_OUT), *(f"cut {name}" for name in CUTS))
"""The changed runs, in the order in which they are made."""
DIRECT, ISOLATED = "generated→garment", "all→garment"


def change_figures(quality: Tensor, effect: Tensor, unchanged: Tensor) -> dict[str, Any]:
    """What each run made, and what was other than in the run with everything.

    Args:
        quality: (pairs, runs, 8), see `quality`.
        effect: (pairs, runs, 4), see `effect`.
        unchanged: (pairs, 8) `quality` of the runs with everything.
    """
    found = {name: {**quality_figures(quality[:, i]), **effect_figures(effect[:, i])} for i, name in enumerate(RUNS)}
    at, inside = {name: i for i, name in enumerate(RUNS)}, EFFECT.index("change_garment")
    direct, isolated = (float(effect[:, at[f"cut {name}"], inside].mean()) for name in (DIRECT, ISOLATED))
    return {
        "unchanged": quality_figures(unchanged),
        "without": {name: found[f"without {name}"] for name in LEFT_OUT},
        "cuts": {name: found[f"cut {name}"] for name in CUTS},
        "direct_of_isolated": direct / isolated if isolated else None,
    }
