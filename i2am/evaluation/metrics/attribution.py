"""What one image's maps say: IMACS by every preset, where R2G lies, how spread attention is, whether patches point right."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...errors import I2AMError
from ...levels.choice import Choice
from ...levels.heat import Heat, fit
from ...levels.marginal import ulam
from ...levels.presets import PRESETS, THRESHOLD
from ...levels.share import mean_shares, share
from ...maps.value import AttributionMaps
from ...scores.entropy import attention_entropy
from ...scores.imacs import LAMBDA, map_on_generated, map_on_reference
from ...scores.pointing import pointing_accuracy
from ...scores.sweep import share_inside, sweep
from .keypoints import keypoint_matches
from .names import shares_of

FLAT = "the map is flat, so it has no score"
NO_MASK = {"g": "the data set has no inpainting mask of this pair", "r": "the data set has no mask of this garment"}


@dataclass(frozen=True)
class Recorded:
    """One image of a recorded batch.

    Attributes:
        maps: of the batch.
        image: which one it is.
        generated: (H, W, 3) uint8, the generated picture.
        reference: the reference's picture, of any size.
        inpaint_mask: (H, W) of the generated picture, 1 = repainted; None: there is none.
        reference_mask: (H, W) of the reference's picture, 1 = the object; None: there is none.
        index: which of the maps' references that is.
    """

    maps: AttributionMaps
    image: int
    generated: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    inpaint_mask: Tensor | None = None
    reference_mask: Tensor | None = None
    index: int = 0

    @property
    def choice(self) -> Choice:
        """All that was recorded of this image and this reference."""
        return Choice(image=self.image, reference=self.index)


@dataclass
class Told:
    """Values by name; why others are missing; and by threshold the means that IMACS is made from, see `facts.Row`."""

    values: dict[str, float] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    by_threshold: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)

    def take(self, name: str, make: Callable[[], float]) -> None:
        """One value, or why there is none."""
        try:
            value = make()
        except I2AMError as error:
            self.unavailable[name] = str(error)
            return
        if math.isfinite(value):
            self.values[name] = value
        else:
            self.unavailable[name] = "the map is zero everywhere"


def of_maps(recorded: Recorded) -> Told:
    """Every value of the maps; what cannot be had is told why, and touches nothing else."""
    told = Told()
    for preset in PRESETS:
        for side in "gr":
            _imacs(told, recorded, preset, side)
    told.take("mass_inside", lambda: _mass_inside(recorded))
    told.take("entropy", lambda: attention_entropy(recorded.maps, recorded.inpaint_mask, recorded.choice))
    _matching(told, recorded)
    if len(recorded.maps.references) > 1:
        _shares(told, recorded)
    return told


def raw_maps(recorded: Recorded) -> dict[str, Tensor]:
    """The maps to keep, (h, w) by side: R2G and G2R, over all steps, heads and layers, raw."""
    kept = {}
    for side in ("R2G", "G2R"):
        try:
            kept[side] = ulam(recorded.maps, side, recorded.choice).values[0]
        except I2AMError:
            continue
    return kept


def _imacs(told: Told, recorded: Recorded, preset: str, side: str) -> None:
    """IMACS_g or IMACS_r of a preset, its AUC, and its parts by threshold."""
    names = [f"{kind}_{side}.{preset}" for kind in ("imacs", "auc")]
    try:
        heat, mask = _scored(recorded, preset, side)
    except I2AMError as error:
        told.unavailable.update(dict.fromkeys(names, str(error)))
        return
    swept = sweep(heat, mask)
    if swept is None:
        told.unavailable.update(dict.fromkeys(names, FLAT))
        return
    told.values[names[0]] = swept.score(THRESHOLD, LAMBDA)
    told.by_threshold[names[0]] = {f"{threshold:.1f}": means for threshold, means in swept.means.items()}
    told.take(names[1], lambda: math.nan if swept.auc is None else swept.auc)


def _scored(recorded: Recorded, preset: str, side: str) -> tuple[Heat, Tensor]:
    """The map that a side's IMACS scores, and its mask."""
    maps, inpaint, reference = recorded.maps, recorded.inpaint_mask, recorded.reference_mask
    if (inpaint if side == "g" else reference) is None:
        raise I2AMError(NO_MASK[side])
    if side == "g":
        assert inpaint is not None
        scored = map_on_generated(maps, inpaint, reference, recorded.choice, preset=preset)
    else:
        assert reference is not None
        scored = map_on_reference(maps, reference, inpaint, recorded.choice, preset=preset)
    return scored.heat, scored.mask


def _mass_inside(recorded: Recorded) -> float:
    return share_inside(*_scored(recorded, "default", "g"))


def _shares(told: Told, recorded: Recorded) -> None:
    """How attention is split between the references, the text and the picture itself: means over the picture and its parts."""
    heat, mask = share(recorded.maps, recorded.choice), recorded.inpaint_mask
    for panel, (part, mean) in enumerate(mean_shares(heat).items()):
        whole, inside, outside = shares_of([part])
        told.values[whole] = mean
        if mask is None:
            told.unavailable.update(dict.fromkeys((inside, outside), NO_MASK["g"]))
            continue
        fitted = fit(heat.panel(panel), (mask.shape[0], mask.shape[1]))[0]
        for name, area in ((inside, mask), (outside, 1 - mask)):
            told.take(name, lambda area=area, fitted=fitted: float((fitted * area).sum() / area.sum()))  # type: ignore[misc]


def _matching(told: Told, recorded: Recorded) -> None:
    """How many details SIFT finds on both pictures, and the share of them where attention peaks at the same place."""
    matches = keypoint_matches(recorded.generated, recorded.reference, recorded.inpaint_mask, recorded.reference_mask)
    told.values["matches"] = len(matches)
    if not matches:
        told.unavailable["matching_accuracy"] = "SIFT finds no detail that is on both pictures"
        return
    generated, reference = ((picture.shape[0], picture.shape[1]) for picture in (recorded.generated, recorded.reference))
    told.take("matching_accuracy", lambda: pointing_accuracy(recorded.maps, matches, generated, reference, recorded.choice))
