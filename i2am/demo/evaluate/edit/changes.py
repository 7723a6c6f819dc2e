"""The changed runs: each reference left out, and each way of attention cut, from the same noise."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...edit_model import BOTH
from .cut import Edge
from .pictures import EFFECT, effect_figures, quality_figures

LEFT_OUT: dict[str, tuple[str, ...]] = {"person": ("garment",), "garment": ("person",), "both": ()}
"""The references that a run still gets, by what it is left without."""


def _cut(queries: tuple[str, ...], keys: tuple[str, ...]) -> tuple[Edge, ...]:
    return tuple(Edge(q, k) for q in queries for k in keys)


CUTS: dict[str, tuple[Edge, ...]] = {
    "generated→garment": _cut(("generated",), ("garment",)),
    "generated→person": _cut(("generated",), ("person",)),
    "generated→text": _cut(("generated",), ("text",)),
    "text→references": _cut(("text",), BOTH),
    "person→garment": _cut(("person",), ("garment",)),
    "garment→person": _cut(("garment",), ("person",)),
    "text and person→garment": _cut(("text", "person"), ("garment",)),
    "all→garment": _cut(("generated", "text", "person"), ("garment",)),
    "all→person": _cut(("generated", "text", "garment"), ("person",)),
}
"""The edges of each cut, from the queries that look to the keys that they no longer see, in all blocks and steps."""
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
