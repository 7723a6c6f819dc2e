"""Which map tells where the garment went."""

from __future__ import annotations

from .compared import WITHOUT, Compared
from .markdown import number, table
from .sources import Figures

MAPS = {
    "mirror": "mirror of the garment's mask",
    "R2G-balanced": "R2G-balanced",
    "R2G": "R2G",
    "inpaint_mask": "baseline: the inpainting mask itself",
}


def where_table(models: Compared) -> str:
    """Areas under the ROC curve against the garment's true place; nothing where none were measured."""
    own, plain, equal = models.section("where")
    kinds: dict[str, Figures] = {kind: own[kind] for kind in ("paired", "unpaired") if kind in own}
    if not kinds:
        return ""
    kinds |= {f"{whose}, paired": f["paired"] for whose, f in ((WITHOUT, plain), (models.earlier, equal)) if "paired" in f}
    rows = [(label, *(number(found[key]["auc"]) for found in kinds.values())) for key, label in MAPS.items()]
    rows.append(("pairs", *(str(found["mirror"]["pairs"]) for found in kinds.values())))
    return table(("which map tells where the garment went (area under the ROC curve, chance 0.50)", *kinds), rows)
