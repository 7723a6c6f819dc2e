"""A map against its mask at many thresholds at once, from which IMACS follows for any lambda."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..levels.heat import Heat, fit, keep_above, normalise
from .imacs import roc_area

THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)

Means = tuple[float, float]
"""Of a thresholded map, inside and outside of its mask."""


@dataclass(frozen=True)
class Sweep:
    """What one map says of its mask.

    Attributes:
        means: by threshold; IMACS is inside - lambda * outside.
        auc: area under the ROC curve of the min-maxed map; None: the mask has no pixel of 0.5 or more, or none below.
    """

    means: dict[float, Means]
    auc: float | None

    def score(self, threshold: float, weight: float) -> float:
        """IMACS (eq. 18) at one of the thresholds."""
        inside, outside = self.means[threshold]
        return inside - weight * outside


def sweep(heat: Heat, mask: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> Sweep | None:
    """One panel against a mask (H, W) in 0-1 at the mask's size; None: the map is flat and has no score.

    At each threshold the numbers are those of `imacs`, without its baselines.

    >>> from ..levels.heat import Heat
    >>> import torch
    >>> heat = Heat(torch.tensor([[[4.0, 2.0, 0.0, 0.0]]]), "R2G", "generated", "ULAM", ("all steps",), (1, 4))
    >>> sweep(heat, torch.tensor([[1.0, 1.0, 0.0, 0.0]]), (0.4, 0.5)).means
    {0.4: (0.75, 0.0), 0.5: (0.5, 0.0)}
    """
    normal = normalise(heat, (mask.shape[0], mask.shape[1]))
    if normal.flat[0]:
        return None
    values, outside, means = normal.values[0], 1 - mask, {}
    for threshold in thresholds:
        kept = keep_above(values, threshold)
        means[threshold] = (float((kept * mask).sum() / mask.sum()), float((kept * outside).sum() / outside.sum()))
    return Sweep(means, roc_area(values, mask))


def share_inside(heat: Heat, mask: Tensor) -> float:
    """The part of a one-panel raw map's sum that lies inside a mask (H, W) in 0-1, at the mask's size; NaN of a map of zeros.

    A map that is the same everywhere has the mask's part of the picture inside.
    """
    raw, mask = fit(heat, (mask.shape[0], mask.shape[1]))[0].double(), mask.double()
    return float((raw * mask).sum() / raw.sum())
