"""How often each layer alone points at the true place."""

from __future__ import annotations

from ..train.attention_loss import SUPERVISED
from .compared import WITHOUT, Compared
from .markdown import number, table
from .sources import Figures

OWN = "this model"


def layer_table(models: Compared) -> str:
    """A row per layer, a column per model; nothing where no layer was measured alone."""
    named = zip((OWN, WITHOUT, models.earlier), models.section("sram"), strict=True)
    kinds = {label: layers for label, section in named if (layers := section.get("by_layer"))}
    own = kinds.get(OWN, {})
    if not own:
        return ""
    rows = [
        (f"`{name}`", "yes" if name in SUPERVISED else "no", *(number(found[name]["within_1"]) for found in kinds.values()))
        for name in own
    ]
    return table(("one layer alone: its peak within 1 patch", "taught to point", *kinds), rows) + _forgot(own)


def _forgot(layers: Figures) -> str:
    """Which of the taught layers point home in less than half of the cells."""
    names = " and ".join(f"`{name}`" for name in SUPERVISED if name in layers and layers[name]["within_1"] < 0.5)
    return (
        f"\nThe attention loss ended long before the training did. Taught to point, but no longer pointing: {names}.\n"
        if names
        else ""
    )
