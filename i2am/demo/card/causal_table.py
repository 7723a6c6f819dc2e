"""Whether the picture changes where the maps say, when a block of the garment is recoloured."""

from __future__ import annotations

from .compared import WITHOUT, Compared
from .markdown import number, table
from .sources import Figures

FEW = 20
"""With fewer cells than this, a mean over them says nothing."""
KEYS = (
    "retrieval",
    "correlation",
    "partial_correlation",
    "partial_correlation_given_blurs",
    "partial_correlation_of_truth",
)
READING = """
A change spreads over more cells than the sharp true warp covers, so a soft map still correlates with the change once that warp is given; a blurred
true warp would do the same. The column with the blurs shows what the maps say beyond the truth, the next one what the truth says beyond the maps.
"""


def causal_table(models: Compared) -> str:
    """What the maps foretold of an intervention, by layers; nothing where none was made."""
    own, plain, equal = models.section("causal")
    named = {
        "all layers": own,
        "supervised layers": own.get("supervised"),
        "never-supervised layers": own.get("never_supervised"),
        f"{WITHOUT}, all layers": plain,
        f"{WITHOUT}, the layers supervised here": plain.get("supervised"),
        f"{WITHOUT}, the layers never supervised here": plain.get("never_supervised"),
        f"{models.earlier}, all layers": equal,
        f"{models.earlier}, supervised": equal.get("supervised"),
        f"{models.earlier}, never supervised": equal.get("never_supervised"),
        "baseline: the true warp in place of maps": own.get("by_true_warp"),
        "baseline: the true warp, blurred": own.get("by_blurred_warp"),
    }
    rows = [_row(label, f) for label, f in named.items() if f]
    return table(_head(own, models.own.get("setup", {}).get("blocks")), rows) + READING if rows else ""


def _head(own: Figures, blocks: int | None) -> tuple[str, ...]:
    return (
        f"intervention: {'' if blocks is None else f'{blocks} '}blocks recoloured one at a time, same noise",
        f"block found by the maps alone (chance {number(own.get('chance'))})",
        "correlation of change and map, inside the mask",
        "the same, given the true warp",
        "and given its blurs too",
        "correlation of change and true warp, given the map",
        "where they differ, the change follows the map (cells that only the map claims; only the truth)",
        "pairs",
    )


def _row(label: str, f: Figures) -> tuple[str, ...]:
    shares = (number(f.get(key)) for key in KEYS)
    return (label, *shares, _followed(f) if "follows_maps" in f else "–", str(f["pairs"]))


def _followed(f: Figures) -> str:
    """Whether the change follows maps or truth where they differ, and in how many cells; too few say nothing."""
    cells = [f.get(f"{side}_only_cells", 0) for side in ("maps", "truth")]
    share = number(f.get("follows_maps")) if min(cells) >= FEW else "–"
    return f"{share} ({cells[0]:,}; {cells[1]:,})"
