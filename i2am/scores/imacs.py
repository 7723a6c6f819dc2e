"""IMACS (eq. 18): does a map lie inside its mask? With its parts, baselines and the pair of both sides."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import I2AMError, UnavailableError
from ..geometry.masks import MaskLike, mask_to_score
from ..geometry.shapes import check_shape
from ..levels.available import layers_for
from ..levels.heat import THRESHOLD, Heat, fit, normalise, threshold, times_mask
from ..levels.marginal import SIDES, ulam
from ..levels.masked import masked_g2r
from ..levels.mirror import mirror_of_object
from ..levels.patch import pairwise_layers_of
from ..levels.presets import preset_of
from ..levels.selection import select
from ..maps.value import AttributionMaps

SCORED = (*(side for side in SIDES if side != "G2R"), "mirror")
"""The maps on the generated image that IMACS_g can be taken of; the mirror is that of the reference mask."""
LAMBDA = 3.0
SAME = 0.01
"""Two masks are one where they differ by at most this share of their area: rounding, or another size."""
SHIFTS = 32
RANDOM_MAPS = 32


@dataclass(frozen=True)
class Score:
    """One IMACS with what stands behind it; None where the map is flat.

    Attributes:
        score: inside - weight * outside.
        inside: mean of the thresholded map over the mask.
        outside: mean over its complement.
        weight: lambda.
        auc: area under the ROC curve of the raw map against the mask; 0.5 is chance.
        mass_ratio: share of the raw map (inverted: of 1 - min-max) inside the mask divided by the mask's share of the
            area; 1 is chance.
        shifted: mean score of the same map shifted cyclically (a baseline that keeps its shape).
        random: mean score of maps of independent uniform noise on the map's own grid.
        flat: whether the map was flat and has no score.
        layers: the layers that it was made of.
        notes: what a reader must know.
    """

    score: float | None
    inside: float | None
    outside: float | None
    weight: float = LAMBDA
    auc: float | None = None
    mass_ratio: float | None = None
    shifted: float | None = None
    random: float | None = None
    flat: bool = False
    layers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with ``lambda`` and ``baselines`` under their usual names."""
        out = asdict(self)
        out["lambda"] = out.pop("weight")
        out["baselines"] = {"shifted": out.pop("shifted"), "random": out.pop("random")}
        return out


def _eq18(values: Tensor, mask: Tensor, weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """(score, inside, outside) of (P, H, W) maps."""
    inside = (values * mask).sum((-2, -1)) / mask.sum()
    outside = (values * (1 - mask)).sum((-2, -1)) / (1 - mask).sum()
    return inside - weight * outside, inside, outside


def roc_area(values: Tensor, mask: Tensor) -> float | None:
    """Area under the ROC curve, ties counted half; pixels belong to the side that the mask is nearer to.

    None where all of them are on one side.
    """
    positive = (mask >= 0.5).flatten().numpy()
    if positive.all() or not positive.any():
        return None
    _, inverse, counts = np.unique(values.flatten().numpy(), return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n, m = int(positive.sum()), int((~positive).sum())
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * m))


def _shifts(values: Tensor) -> Tensor:
    """The map shifted cyclically by an even spread of offsets other than none."""
    height, width = values.shape
    side = int(SHIFTS**0.5) + 1
    out = [values.roll((height * i // side, width * j // side), (0, 1)) for i in range(side) for j in range(side) if i or j]
    return torch.stack(out)


def _noise(heat: Heat, size: tuple[int, int], level: float) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    values = torch.rand((RANDOM_MAPS, *heat.values.shape[-2:]), generator=rng)
    noise = replace(heat, values=values, labels=("",) * RANDOM_MAPS, unplaced=())
    return threshold(normalise(noise, size).values, level)


def imacs(
    heat: Heat,
    mask: MaskLike,
    weight: float = LAMBDA,
    level: float = THRESHOLD,
    name: str = "mask",
    layers: tuple[str, ...] = (),
) -> Score:
    """Score one panel against a mask at the mask's size (eq. 18), on the min-maxed and thresholded map.

    Args:
        heat: a heat with one panel; an inverted one (official preset) is scored inverted.
        mask: (H, W) in 0-1; 1 is inside.
        weight: lambda.
        level: the threshold; values not above it count as 0.
        name: what to call the mask in errors.
        layers: names that the score carries.

    Raises:
        MaskError: the mask or its complement is empty, or it is no (H, W) mask.
        I2AMError: lambda is negative or no number, or the threshold is no part of the range.
    """
    if not 0 <= weight < float("inf"):
        raise I2AMError(f"lambda weighs what lies outside the mask: 0 or more, such as {LAMBDA:g}, got {weight:g}")
    if not 0 <= level < 1:
        raise I2AMError(f"threshold is a part of the range, 0 or more and below 1, got {level:g}")
    if len(heat.values) != 1:
        raise UnavailableError(f"IMACS scores one map, got {len(heat.values)} panels; choose one with Heat.panel")
    mask = mask_to_score(mask, name)
    size = (mask.shape[0], mask.shape[1])
    normal = normalise(heat, size)
    if normal.flat[0]:
        return Score(None, None, None, weight, flat=True, layers=layers, notes=("the map is flat: it has no score",))
    kept = threshold(normal.values, level)
    score, inside, outside = (float(t) for t in _eq18(kept, mask, weight))
    shown = normal.values[0]
    raw = shown if heat.invert else fit(heat, size)[0]
    return Score(
        score,
        inside,
        outside,
        weight,
        auc=roc_area(shown, mask),
        mass_ratio=float((raw * mask).sum() / raw.sum() / mask.mean()),
        shifted=float(_eq18(_shifts(kept[0]), mask, weight)[0].mean()),
        random=float(_eq18(_noise(heat, size, level), mask, weight)[0].mean()),
        layers=layers,
    )


def score_generated(
    maps: AttributionMaps,
    inpaint_mask: MaskLike,
    reference_mask: MaskLike | None = None,
    *,
    preset: str = "default",
    side: str = "R2G",
    placed_only: bool = False,
    weight: float = LAMBDA,
    level: float = THRESHOLD,
    **choice: Any,
) -> tuple[Score, Heat]:
    """IMACS_g: the score of a map on the generated image, and that map; see `imacs_pair`."""
    if side not in SCORED:
        raise UnavailableError(f"IMACS_g scores a map on the generated image ({', '.join(SCORED)}), got side {side!r}")
    inpaint_mask = mask_to_score(inpaint_mask, "inpainting mask")
    _belongs(inpaint_mask, "inpainting mask", maps.generated_size, "generated")
    selection = select(maps, preset_of(preset), side="SRAM" if side == "mirror" else side, **choice)  # type: ignore[arg-type]
    if side == "mirror":
        if reference_mask is None:
            raise UnavailableError("the mirror shows where the object went, and needs the reference mask to know the object")
        heat = mirror_of_object(maps, mask_to_score(reference_mask, "reference mask"), preset=preset, **choice)
        layers = pairwise_layers_of(maps, selection, "mirror")
    else:
        heat = ulam(maps, side, preset=preset, placed_only=placed_only, **choice)
        layers = layers_for(maps, selection, side, placed_only)
    names = tuple(x.name for x in layers)
    return _noted(imacs(heat, inpaint_mask, weight, level, "inpainting mask", names), preset), heat


def score_reference(
    maps: AttributionMaps,
    reference_mask: MaskLike,
    inpaint_mask: MaskLike | None = None,
    *,
    preset: str = "default",
    weight: float = LAMBDA,
    level: float = THRESHOLD,
    **choice: Any,
) -> tuple[Score, Heat]:
    """IMACS_r: the score of eq. 17's map on the reference, and that map; see `imacs_pair`.

    Without ``inpaint_mask`` the mask given at recording weights the generated positions.
    """
    rules = preset_of(preset)
    reference = mask_to_score(reference_mask, "reference mask")
    which = choice.get("reference", 0)
    if 0 <= which < len(maps.references):
        _belongs(reference, "reference mask", maps.references[which].grid.picture or (0, 0), "reference")
    if rules.masked_g2r:
        heat = times_mask(ulam(maps, "G2R", preset=preset, **choice), reference)
        used = tuple(x.name for x in layers_for(maps, select(maps, rules, side="G2R", **choice), "G2R"))  # type: ignore[arg-type]
    else:
        inside = None if inpaint_mask is None else mask_to_score(inpaint_mask, "inpainting mask")
        if inside is not None and maps.inpaint_mask is not None and _same(maps, inside, choice):
            inside = None
        heat, used = masked_g2r(maps, inside, preset=preset, **choice)
    return _noted(imacs(heat, reference, weight, level, "reference mask", used), preset), heat


def _belongs(mask: Tensor, name: str, picture: tuple[int, int], side: str) -> None:
    check_shape(name, (mask.shape[0], mask.shape[1]), picture, f"recorded {side} image")


def _noted(score: Score, preset: str) -> Score:
    if preset != "paper":
        return score
    note = "figures of the paper's table 2 come from the authors' code and are not comparable with this preset"
    return replace(score, notes=(*score.notes, note))


def imacs_pair(
    maps: AttributionMaps,
    inpaint_mask: MaskLike,
    reference_mask: MaskLike,
    *,
    preset: str = "default",
    side: str = "R2G",
    placed_only: bool = False,
    weight: float = LAMBDA,
    level: float = THRESHOLD,
    **choice: Any,
) -> dict[str, Score]:
    """IMACS_g of a map on the generated image and IMACS_r of eq. 17's map on the reference: {"g": ..., "r": ...}.

    Args:
        maps: a recording.
        inpaint_mask: (H, W), 1 = repainted.
        reference_mask: (H, W), 1 = the object.
        preset: see `ulam`; "official" scores R2G inverted and G2R times the reference mask.
        side: which map on the generated image, "R2G", "R2G-balanced", "mass" or "mirror": that of the reference mask.
        placed_only: that map over the reference's placed tokens only.
        weight: lambda.
        level: the threshold.
        **choice: see `ulam`.

    Raises:
        MaskError: a mask or its complement is empty.
        I2AMError: a mask has another shape than its recorded picture, or a number is out of range.
        UnavailableError: a map is unavailable.
    """
    common: dict[str, Any] = {"preset": preset, "weight": weight, "level": level, **choice}
    g, _ = score_generated(maps, inpaint_mask, reference_mask, side=side, placed_only=placed_only, **common)
    r, _ = score_reference(maps, reference_mask, inpaint_mask, **common)
    return {"g": g, "r": r}


def _same(maps: AttributionMaps, mask: Tensor, choice: dict[str, Any]) -> bool:
    """Whether the mask is the one given at recording."""
    kept = maps.inpaint_mask
    assert kept is not None
    one = kept[min(int(choice.get("image", 0)), len(kept) - 1)]
    if one.shape != mask.shape:
        mask = F.interpolate(mask[None, None], tuple(one.shape), mode="area")[0, 0]
    return float((one - mask).abs().sum()) <= SAME * float(torch.maximum(one, mask).sum())


def mean_scores(scores: list[Score]) -> dict[str, float | int | None]:
    """The mean over a batch or a data set; flat maps have no score and are counted apart."""
    known = [s for s in scores if s.score is not None]
    out: dict[str, float | int | None] = {"count": len(known), "flat": len(scores) - len(known)}
    for name in ("score", "inside", "outside", "auc", "mass_ratio", "shifted", "random"):
        values = [getattr(s, name) for s in known if getattr(s, name) is not None]
        out[name] = float(np.mean(values)) if values else None
    return out
