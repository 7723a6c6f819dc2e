"""IMACS (eq. 18): does a map lie inside its mask? The score with its parts and baselines, for one map or for both sides."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import I2AMError, UnavailableError
from ..geometry.masks import MaskLike, mask_to_score
from ..geometry.shapes import check_shape
from ..levels.available import layers_for
from ..levels.choice import EVERYTHING, Choice
from ..levels.heat import Heat, fit, keep_above, normalise, times_mask
from ..levels.marginal import ulam
from ..levels.masked import masked_g2r
from ..levels.mirror import mirror_of_object
from ..levels.patch import names_of, pairwise_layers_of
from ..levels.presets import THRESHOLD, preset_of
from ..levels.selection import select
from ..maps.kinds import level_sides
from ..maps.value import AttributionMaps

SCORED = (*level_sides("generated", "any"), "mirror")
"""The maps on the generated image that IMACS_g can score; the mirror is that of the reference mask."""
LAMBDA = 3.0
SAME = 0.01
"""Two masks count as the same if they differ by at most this share of their area, by rounding or resizing."""
SHIFTS = 32
RANDOM_MAPS = 32


@dataclass(frozen=True)
class Score:
    """One IMACS score with its parts and baselines; None if the map is flat.

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
        layers: the layers that the map was made from.
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
    """Area under the ROC curve, ties counted half; a pixel counts as inside where the mask is 0.5 or more.

    None if all pixels are inside, or none are.

    >>> roc_area(torch.tensor([0.9, 0.4, 0.6, 0.1]), torch.tensor([1.0, 1.0, 0.0, 0.0]))
    0.75
    """
    from scipy.stats import rankdata  # where ComfyUI runs it is there, since ComfyUI needs it too

    positive = (mask >= 0.5).flatten().numpy()
    if positive.all() or not positive.any():
        return None
    rank = rankdata(values.flatten().numpy())
    n, m = int(positive.sum()), int((~positive).sum())
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * m))


def _shifts(values: Tensor) -> Tensor:
    """The map shifted cyclically by evenly spread offsets, zero left out."""
    height, width = values.shape
    count = int(SHIFTS**0.5) + 1  # along each axis
    offsets = [(height * i // count, width * j // count) for i in range(count) for j in range(count) if i or j]
    return torch.stack([values.roll(offset, (0, 1)) for offset in offsets])


def _noise(heat: Heat, size: tuple[int, int], threshold: float) -> Tensor:
    """(RANDOM_MAPS, *size): min-maxed and thresholded noise on the heat's own grid."""
    rng = torch.Generator().manual_seed(0)
    values = torch.rand((RANDOM_MAPS, *heat.values.shape[-2:]), generator=rng)
    noise = replace(heat, values=values, labels=("",) * RANDOM_MAPS, unplaced=())
    return keep_above(normalise(noise, size).values, threshold)


def imacs(
    heat: Heat,
    mask: MaskLike,
    *,
    weight: float = LAMBDA,
    threshold: float = THRESHOLD,
    name: str = "mask",
    layers: tuple[str, ...] = (),
) -> Score:
    """Score one panel against a mask at the mask's size (eq. 18), on the min-maxed and thresholded map.

    Args:
        heat: a heat with one panel; an inverted one (official preset) is scored inverted.
        mask: (H, W) in 0-1; 1 is inside.
        weight: lambda.
        threshold: values of the min-maxed map not above it count as 0.
        name: what to call the mask in errors.
        layers: names of layers to store in the score.

    Raises:
        MaskError: the mask or its complement is empty, or it is not an (H, W) mask.
        I2AMError: lambda is negative or not finite, or the threshold is not in [0, 1).

    >>> heat = Heat(torch.tensor([[[4.0, 2.0, 0.0, 0.0]]]), "R2G", "generated", "ULAM", ("all steps",), (1, 4))
    >>> score = imacs(heat, torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    >>> score.inside, score.outside, score.score
    (0.75, 0.0, 0.75)
    """
    if not 0 <= weight < float("inf"):
        raise I2AMError(f"lambda weighs what lies outside the mask: it must be 0 or more, such as {LAMBDA:g}, got {weight:g}")
    if not 0 <= threshold < 1:
        raise I2AMError(f"threshold must be a fraction of the map's range, 0 or more and below 1, got {threshold:g}")
    if len(heat.values) != 1:
        raise UnavailableError(f"IMACS scores one map, got {len(heat.values)} panels; choose one with Heat.panel")
    mask = mask_to_score(mask, name)
    size = (mask.shape[0], mask.shape[1])
    normal = normalise(heat, size)
    if normal.flat[0]:
        return Score(None, None, None, weight, flat=True, layers=layers, notes=("the map is flat, so it has no score",))
    kept = keep_above(normal.values, threshold)
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
        random=float(_eq18(_noise(heat, size, threshold), mask, weight)[0].mean()),
        layers=layers,
    )


@dataclass(frozen=True)
class Scored:
    """A map that IMACS scores.

    Attributes:
        heat: the map.
        mask: (H, W) in 0-1 that it should lie in.
        name: of the mask, for errors.
        layers: names of those that the map is made from.
        preset: that made it.
    """

    heat: Heat
    mask: Tensor
    name: str
    layers: tuple[str, ...]
    preset: str

    def score(self, weight: float = LAMBDA, threshold: float = THRESHOLD) -> Score:
        """Its score; see `imacs`."""
        score = imacs(self.heat, self.mask, weight=weight, threshold=threshold, name=self.name, layers=self.layers)
        if self.preset != "paper":
            return score
        note = "figures of the paper's table 2 come from the authors' code and are not comparable with this preset"
        return replace(score, notes=(*score.notes, note))


def map_on_generated(
    maps: AttributionMaps,
    inpaint_mask: MaskLike,
    reference_mask: MaskLike | None = None,
    choice: Choice = EVERYTHING,
    *,
    preset: str = "default",
    side: str = "R2G",
    placed_only: bool = False,
) -> Scored:
    """What IMACS_g scores: a map on the generated image, and the inpainting mask; see `imacs_pair`."""
    if side not in SCORED:
        raise UnavailableError(f"IMACS_g scores a map on the generated image ({', '.join(SCORED)}), got side {side!r}")
    inpaint_mask = mask_to_score(inpaint_mask, "inpainting mask")
    _belongs(inpaint_mask, "inpainting mask", maps.generated_size, "generated")
    selection = select(maps, preset_of(preset), choice, side="SRAM" if side == "mirror" else side)
    if side == "mirror":
        if reference_mask is None:
            raise UnavailableError("the mirror shows where the object went, so it needs the reference mask: give one")
        heat = mirror_of_object(maps, mask_to_score(reference_mask, "reference mask"), choice, preset=preset)
        layers = pairwise_layers_of(maps, selection, "mirror")
    else:
        heat = ulam(maps, side, choice, preset=preset, placed_only=placed_only)
        layers = layers_for(maps, selection, side, placed_only)
    return Scored(heat, inpaint_mask, "inpainting mask", names_of(maps, layers), preset)


def map_on_reference(
    maps: AttributionMaps,
    reference_mask: MaskLike,
    inpaint_mask: MaskLike | None = None,
    choice: Choice = EVERYTHING,
    *,
    preset: str = "default",
) -> Scored:
    """What IMACS_r scores: eq. 17's map on the reference, and the reference mask; see `imacs_pair`.

    Without ``inpaint_mask`` the mask given at recording weights the generated positions.
    """
    rules = preset_of(preset)
    reference = mask_to_score(reference_mask, "reference mask")
    if 0 <= choice.reference < len(maps.references):
        _belongs(reference, "reference mask", maps.references[choice.reference].grid.picture or (0, 0), "reference")
    if rules.masked_g2r:
        heat = times_mask(ulam(maps, "G2R", choice, preset=preset), reference)
        layers = tuple(x.name for x in layers_for(maps, select(maps, rules, choice, side="G2R"), "G2R"))
    else:
        inside = None if inpaint_mask is None else mask_to_score(inpaint_mask, "inpainting mask")
        if inside is not None and maps.inpaint_mask is not None and _is_recorded(maps, inside, choice.image):
            inside = None
        heat, layers = masked_g2r(maps, inside, choice, preset=preset)
    return Scored(heat, reference, "reference mask", layers, preset)


def _belongs(mask: Tensor, name: str, size: tuple[int, int], picture: str) -> None:
    check_shape(name, (mask.shape[0], mask.shape[1]), size, f"recorded {picture} image")


def imacs_pair(
    maps: AttributionMaps,
    inpaint_mask: MaskLike,
    reference_mask: MaskLike,
    choice: Choice = EVERYTHING,
    *,
    preset: str = "default",
    side: str = "R2G",
    placed_only: bool = False,
    weight: float = LAMBDA,
    threshold: float = THRESHOLD,
) -> dict[str, Score]:
    """IMACS_g of a map on the generated image and IMACS_r of eq. 17's map on the reference: {"g": ..., "r": ...}.

    Args:
        maps: a recording.
        inpaint_mask: (H, W), 1 = repainted.
        reference_mask: (H, W), 1 = the object.
        choice: what to take of the recording.
        preset: see `ulam`; "official" scores R2G inverted and G2R times the reference mask.
        side: which map on the generated image, "R2G", "R2G-balanced", "mass" or "mirror" (that of the reference mask).
        placed_only: take that map over the reference's placed tokens only.
        weight: lambda.
        threshold: values of the min-maxed map not above it count as 0.

    Raises:
        MaskError: a mask or its complement is empty.
        I2AMError: a mask has another shape than its recorded picture, or a number is out of range.
        UnavailableError: a map is unavailable.
    """
    g = map_on_generated(maps, inpaint_mask, reference_mask, choice, preset=preset, side=side, placed_only=placed_only)
    r = map_on_reference(maps, reference_mask, inpaint_mask, choice, preset=preset)
    return {"g": g.score(weight, threshold), "r": r.score(weight, threshold)}


def _is_recorded(maps: AttributionMaps, mask: Tensor, image: int) -> bool:
    """Whether the mask is the one given at recording."""
    kept = maps.inpaint_mask
    assert kept is not None
    one = kept[min(image, len(kept) - 1)]
    if one.shape != mask.shape:
        mask = F.interpolate(mask[None, None], tuple(one.shape), mode="area")[0, 0]
    return float((one - mask).abs().sum()) <= SAME * float(torch.maximum(one, mask).sum())
