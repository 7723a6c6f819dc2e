"""Which map tells where the garment went? Each map on the generated picture against the garment that ought to be seen there.

A cell of the generated picture is garment where visible garment covers more than half of it. The figure is the area
under the ROC curve of a map's cells, for each picture alone: 0.5 is chance, 1 sets every garment cell above every other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ...geometry.resample import area
from ...levels.choice import Choice
from ...levels.grids import common_grid
from ...levels.marginal import ulam
from ...levels.mirror import mirror_of_object
from ...maps.value import AttributionMaps
from ...scores.imacs import roc_area
from .cases import Case
from .correspondence import true_tokens


def maps_on_generated(maps: AttributionMaps, case: Case, image: int) -> dict[str, Tensor]:
    """Every map that could answer, (rows, columns) on the common grid, and the inpainting mask as one without any model."""
    grid = common_grid(maps, "generated")
    choice = Choice(image=image)
    return {
        "mirror": mirror_of_object(maps, case.truth.reference_mask[:, 0], choice).values[0],
        "R2G-balanced": ulam(maps, "R2G-balanced", choice).values[0],
        "R2G": ulam(maps, "R2G", choice).values[0],
        "inpaint_mask": area(case.shown.inpaint_mask[image], (grid.rows, grid.columns))[0],
    }


@dataclass
class WhereTally:
    """Areas under the curve by map, picture by picture."""

    areas: dict[str, list[float]] = field(default_factory=dict)

    def add(self, maps: AttributionMaps, case: Case) -> None:
        """File a recorded batch."""
        _, covered = true_tokens(case.truth)
        for image in range(maps.images):
            for name, values in maps_on_generated(maps, case, image).items():
                found = roc_area(values, covered[image].view(values.shape).float())
                if found is not None:
                    self.areas.setdefault(name, []).append(found)

    def figures(self) -> dict[str, dict[str, float | int]]:
        """Mean area and number of pictures, by map."""
        return {name: {"auc": sum(values) / len(values), "pairs": len(values)} for name, values in self.areas.items()}
