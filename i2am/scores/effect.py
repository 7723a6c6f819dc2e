"""The effect of an intervention: where two pictures of equal noise differ, inside of which region, and which map foretold it.

A map says where a model looked; a difference between two runs that differ in one thing alone was caused by that thing. These
figures put the one beside the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import I2AMError, MaskError, UnavailableError
from ..geometry.layout import WHOLE
from ..geometry.masks import MaskLike, as_mask, mask_of, mask_to_score
from ..geometry.resample import Size, area
from ..geometry.shapes import check_shape
from ..levels.choice import EVERYTHING, Choice
from ..levels.heat import Heat
from ..levels.marginal import ulam
from ..levels.share import which_reference
from ..maps.kinds import level_sides
from ..maps.value import AttributionMaps
from .imacs import roc_area

CHANGE = "change"
"""The side of a heat that shows where a picture changed."""
WHICH = "which reference"


def change_of(before: Tensor, after: Tensor, *, same: bool = False) -> Tensor:
    """How much each place of two pictures or latents differs: the mean over channels of |after - before|, (B, H, W).

    Args:
        before, after: (B, C, H, W) or (C, H, W) each, of one shape.
        same: allow that they are identical, where that is an answer.

    Raises:
        I2AMError: their shapes differ, they hold NaN or infinity, or are identical; says which.

    >>> change_of(torch.zeros(1, 3, 1, 2), torch.tensor([[[[0.3, 0.0]]] * 3]).view(1, 3, 1, 2)).round(decimals=2)
    tensor([[[0.3000, 0.0000]]])
    """
    before, after = (t.detach().float().cpu() for t in (before, after))
    before, after = (t[None] if t.ndim == 3 else t for t in (before, after))
    if before.ndim != 4 or after.ndim != 4:
        raise I2AMError(
            f"an effect is taken between pictures (B, C, H, W), got {tuple(before.shape)} before and {tuple(after.shape)} after"
        )
    if len(before) != len(after):
        raise I2AMError(
            f"before holds {len(before)} picture(s), after {len(after)}; an effect is taken picture by picture: give as many "
            f"of each, from runs with the same noise"
        )
    if before.shape != after.shape:
        sizes = (f"{t.shape[3]} x {t.shape[2]} with {t.shape[1]} channels" for t in (before, after))
        raise I2AMError("before is {}, after {}: not two runs of one size; give both as the sampler made them".format(*sizes))
    for name, values in (("before", before), ("after", after)):
        if not bool(values.isfinite().all()):
            raise I2AMError(f"{name} holds NaN or infinity, so nothing can be said of what changed; look at its sampler's run")
    found = (after - before).abs().mean(1)
    if not same and not bool(found.any()):
        raise I2AMError(
            "before and after are identical to the last bit, so nothing was changed, or it is the same picture twice; give the "
            "picture of the run without the cut and that of the run with it"
        )
    return found


def frames_apart(latent: Tensor) -> Tensor:
    """A latent of videos, (B, C, frames, h, w), as one of pictures, (B * frames, C, h, w); one of pictures as it is."""
    return latent.movedim(2, 1).flatten(0, 1) if latent.ndim == 5 else latent


def change_heat(change: Tensor, label: str = "", size: Size | None = None) -> Heat:
    """One picture's change (H, W) as a heat on the generated picture of ``size`` (default: its own)."""
    return Heat(
        change[None].float(), CHANGE, "generated", CHANGE, (label or CHANGE,), size or (change.shape[0], change.shape[1])
    )


def rank_correlation(a: Tensor, b: Tensor) -> float | None:
    """Spearman's rank correlation of two tensors of one shape, ties counted by their mean rank; None: one is constant.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0.1, 0.2, 0.3]))
    1.0
    """
    from scipy.stats import rankdata  # where ComfyUI runs it is there, since ComfyUI needs it too

    x, y = (torch.from_numpy(rankdata(t.detach().flatten().numpy())).double() for t in (a, b))
    x, y = x - x.mean(), y - y.mean()
    scale = float(x.norm() * y.norm())
    return round(float((x * y).sum()) / scale, 12) if scale > 0 else None


def told_by(heat: Heat, change: Tensor) -> float | None:
    """How well a map (its first panel) foretold a change (H, W): their rank correlation over the map's cells.

    The change is averaged over each cell; cells beyond the picture are left out. None: one of the two is the same everywhere.

    Raises:
        I2AMError: the map does not lie on the generated picture, or on one of another shape.
    """
    if heat.picture != "generated":
        raise I2AMError(
            f"the map is a {heat.side} on the {heat.picture} image, but the change lies on the generated one; give a map on "
            f"that, such as mass, R2G-balanced, or a mirror"
        )
    check_shape("picture", (change.shape[0], change.shape[1]), heat.size, "map's picture")
    cells, rect = (heat.values.shape[1], heat.values.shape[2]), heat.rect or WHOLE
    covered, inside = (area(t[None], cells, rect)[0] for t in (change, torch.ones_like(change)))
    there = inside > 1e-6
    return rank_correlation(heat.values[0][there], (covered / inside.clamp_min(1e-6))[there])


def maps_to_tell(maps: AttributionMaps, choice: Choice = EVERYTHING) -> dict[str, Heat]:
    """Every map of a reference on the generated picture that a recording has, by its side, over all steps.

    Those that it cannot give are left out.
    """
    found: dict[str, Heat] = {}
    for side in level_sides("generated"):
        try:
            found[side] = ulam(maps, side, choice)
        except UnavailableError:
            continue
    if len(maps.references) > 1:
        with suppress(UnavailableError):
            found[WHICH] = which_reference(maps, choice).panel(choice.reference)
    return found


@dataclass(frozen=True)
class Effect:
    """What changed of one picture; None: it cannot be said.

    Attributes:
        mean: the mean change of the picture, in units of its values.
        most: its highest change.
        share_inside: the share of all change that lies inside of the region.
        area: the region's share of the picture.
        roc: area under the ROC curve of the change for the region, over pixels; 0.5 is chance.
        told: by map, its rank correlation with the change over the map's cells.
        cells: of the maps, (rows, columns).
    """

    mean: float
    most: float
    share_inside: float | None = None
    area: float | None = None
    roc: float | None = None
    told: Mapping[str, float | None] | None = None
    cells: tuple[int, int] | None = None

    @property
    def ratio(self) -> float | None:
        """How much more change the region holds than an even spread would put there."""
        return None if self.share_inside is None or not self.area else self.share_inside / self.area

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "ratio": self.ratio}

    def sentences(self, of: str = "") -> list[str]:
        """What was found, in plain words; ``of`` names the reference whose maps were compared."""
        if not self.most:
            return ["Nothing changed, to the last bit: what was cut did not matter to this picture."]
        out = [f"The picture changed by {self.mean:.3g} on average, {self.most:.3g} at most."]
        if self.share_inside is not None and self.area is not None and self.ratio is not None:
            out.append(
                f"{self.share_inside:.1%} of the change lies inside of the region, which is {self.area:.1%} of the picture: "
                f"{self.ratio:.2g} times an even spread."
            )
        if self.roc is not None:
            out.append(f"Area under the ROC curve of the change for the region: {self.roc:.3f} (chance 0.5).")
        if self.told and self.cells:
            each = ", ".join(f"{name} {'–' if r is None else format(r, '.2f')}" for name, r in self.told.items())
            out.append(
                f"How well maps{f' of {of}' if of else ''} foretold where it changed, rank correlation over "
                f"{self.cells[0]} x {self.cells[1]} cells (1: the same order, 0: none): {each}."
            )
        return out


def effect(change: Tensor, region: MaskLike | None = None, told: Mapping[str, Heat] | None = None) -> Effect:
    """The figures of one picture's change (H, W).

    Args:
        change: of `change_of`.
        region: (H, W) of the picture, at any size: where a change is expected.
        told: maps on the generated picture, by name.

    Raises:
        MaskError: the region is empty, or all of the picture.
        I2AMError: a region or map belongs to a picture of another shape.
    """
    found = Effect(float(change.mean()), float(change.max()))
    if not found.most:
        return found
    if region is not None:
        inside = region_at(region, (change.shape[0], change.shape[1]))
        found = replace(
            found,
            share_inside=float((change * inside).sum() / change.sum()),
            area=float(inside.mean()),
            roc=roc_area(change, inside),
        )
    if told:
        cells = next(iter(told.values())).values.shape[1:]
        each = {name: told_by(heat, change) for name, heat in told.items()}
        found = replace(found, told=each, cells=(cells[0], cells[1]))
    return found


def region_at(region: MaskLike, size: Size) -> Tensor:
    """A region of the generated picture at another size, (H, W) in 0-1.

    Raises:
        MaskError: it is empty, or all of the picture.
        I2AMError: it belongs to a picture of another shape.
    """
    inside = mask_to_score(region, "region")
    check_shape("region", (inside.shape[0], inside.shape[1]), size, "picture")
    return inside if tuple(inside.shape) == size else area(inside[None], size)[0]


def regions_of(regions: MaskLike | None, images: int) -> list[Tensor | None]:
    """The region of each picture of a batch.

    Raises:
        MaskError: there are neither one nor as many as pictures.
    """
    if regions is None:
        return [None] * images
    masks = as_mask(regions, "region")
    try:
        return [mask_of(masks, i, images, "region") for i in range(images)]
    except MaskError as error:
        raise MaskError(str(error).replace("the run had", "there are").replace("image(s)", "picture(s)")) from None
