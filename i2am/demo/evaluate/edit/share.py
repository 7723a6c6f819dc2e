"""Which reference did each patch take from? The share map against the drawn truth, and against a guess without a model.

A patch's share is what it spends on the garment, of all that it spends on the two references. All patches of all pictures are
ranked together, since a map is read against one scale: the area under that ROC curve, and the overlap of the patches that reach
one half with the true garment (intersection over union).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....levels.choice import Choice
from ....levels.share import share
from ....maps.value import AttributionMaps
from ....models.edit.family import BLOCKS, LATE, TAUGHT
from ....scores.imacs import roc_area
from ...edit_model import PARTS
from .cases import Truth
from .pictures import mean

HALF = 0.5
THRESHOLDS = (0.3, 0.35, 0.4, 0.45, HALF, 0.55, 0.6, 0.65, 0.7)
UNTAUGHT = tuple(name for name in BLOCKS if name not in TAUGHT)
SETS: dict[str, tuple[str, ...]] = {"default": LATE, "taught": TAUGHT, "untaught": UNTAUGHT, "all": BLOCKS}
"""Choices of blocks whose figures are reported, besides each block alone."""
CANDIDATES = {f"last {count}": BLOCKS[-count:] for count in range(1, len(BLOCKS) + 1)}
"""Choices of blocks that the default is chosen from, on other pairs."""


def shares_of(maps: AttributionMaps) -> Tensor:
    """What each patch spends on each of `PARTS` in each of `BLOCKS`, (images, blocks, parts, 192)."""
    rows = []
    for image in range(maps.images):
        heats = [share(maps, Choice(layers=name, image=image)) for name in BLOCKS]
        assert all(heat.labels == PARTS for heat in heats), heats[0].labels
        rows.append(torch.stack([heat.values.flatten(1) for heat in heats]))
    return torch.stack(rows)


def share_map(shares: Tensor, blocks: Sequence[str]) -> Tensor:
    """The garment's share among the references over some blocks, (B, 192), from `shares_of`: that of `which_reference`."""
    person, garment = shares[:, [BLOCKS.index(name) for name in blocks], :2].mean(1).unbind(1)
    return garment / (person + garment).clamp_min(torch.finfo(shares.dtype).tiny)


@dataclass(frozen=True)
class Agreement:
    """A map (B, 192) in 0-1 beside the truth of the same pictures."""

    values: Tensor
    truth: Truth

    def roc(self) -> float | None:
        """Area under the ROC curve of all patches that are known to be one or the other."""
        told = self.truth.told
        return roc_area(self.values[told], self.truth.garment[told].float())

    def roc_by_picture(self) -> float | None:
        """The mean of the pictures' own areas."""
        rows = zip(self.values, self.truth.told, self.truth.garment, strict=True)
        found = [roc_area(values[told], garment[told].float()) for values, told, garment in rows]
        return mean(torch.tensor([float("nan") if area is None else area for area in found]))

    def iou(self, threshold: float = HALF) -> float:
        """Intersection over union of the patches that reach the threshold and those of garment."""
        chosen, garment = (x[self.truth.told] for x in (self.values >= threshold, self.truth.garment))
        return float((chosen & garment).sum() / (chosen | garment).sum())

    def right(self) -> float | None:
        """The share of patches on the right side of one half."""
        told = self.truth.told
        return mean(((self.values >= HALF) == self.truth.garment)[told].float())

    def figures(self) -> dict[str, float | int | None]:
        """Everything of the above, the mean inside and outside of the garment, and of how many patches."""
        garment, person = self.truth.garment, self.truth.person
        return {
            "roc": self.roc(),
            "roc_by_picture": self.roc_by_picture(),
            "iou": self.iou(),
            "right": self.right(),
            "inside": mean(self.values[garment]),
            "outside": mean(self.values[person]),
            "patches": int(self.truth.told.sum()),
            "pairs": len(self.values),
        }


def mean_garment(truth: Truth) -> Tensor:
    """How often each patch is garment, (192,): a map that knows nothing of the picture."""
    return truth.garment.float().mean(0)


def where_missed(truth: Truth, guess: Tensor) -> Truth:
    """The truth of those patches alone that a guess (192,) puts on the wrong side of one half."""
    missed = (guess >= HALF) != truth.garment
    return Truth(truth.garment & missed, truth.person & missed, truth.token)


def share_figures(shares: Tensor, truth: Truth, guess: Tensor) -> dict[str, Any]:
    """Every choice of blocks, each block alone, and the guess (192,) that knows nothing of the picture."""
    missed = where_missed(truth, guess)
    own = share_map(shares, SETS["default"])
    return {
        **{name: Agreement(share_map(shares, blocks), truth).figures() for name, blocks in SETS.items()},
        "by_block": {name: Agreement(share_map(shares, (name,)), truth).figures() for name in BLOCKS},
        "baselines": {"mean_garment": Agreement(guess.expand_as(own), truth).figures()},
        "where_mean_garment_errs": {
            name: Agreement(share_map(shares, blocks), missed).figures() for name, blocks in SETS.items()
        },
        "spent": spent(shares, truth),
    }


def spent(shares: Tensor, truth: Truth) -> dict[str, dict[str, dict[str, float | None]]]:
    """What patches of garment, and those that stay, spend on each part, block by block."""
    kinds = {"garment": truth.garment, "person": truth.person}
    return {
        name: {kind: {part: mean(shares[:, i, p][where]) for p, part in enumerate(PARTS)} for kind, where in kinds.items()}
        for i, name in enumerate(BLOCKS)
    }


def choice_figures(shares: Tensor, truth: Truth) -> dict[str, Any]:
    """What other pairs say of which blocks to take, and where to cut the map.

    The blocks with the greatest area under the ROC curve are chosen, then the threshold with the greatest overlap on them.
    """
    found = {name: Agreement(share_map(shares, blocks), truth) for name, blocks in CANDIDATES.items()}
    best = max(found, key=lambda name: found[name].roc() or 0.0)
    default = Agreement(share_map(shares, SETS["default"]), truth)
    by_threshold = {f"{t:g}": default.iou(t) for t in THRESHOLDS}
    return {
        "candidates": {name: {"blocks": [*CANDIDATES[name]], "roc": a.roc(), "iou": a.iou()} for name, a in found.items()},
        "best": best,
        "default": [*SETS["default"]],
        "iou_by_threshold": by_threshold,
        "best_threshold": float(max(by_threshold, key=lambda t: by_threshold[t])),
        "pairs": len(shares),
    }
