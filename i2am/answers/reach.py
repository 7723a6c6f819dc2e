"""Which parts of the reference's object were looked at, and which were not."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import MaskError, UnavailableError
from ..geometry.layout import TokenGrid
from ..levels.choice import Choice
from ..levels.heat import Heat
from ..levels.marginal import ulam
from ..levels.masked import masked_g2r
from ..maps.value import AttributionMaps
from .looked import covered, on_grid
from .places import ninths
from .said import Said
from .thresholds import HARDLY, SMALL


def reach(heat: Heat, within: bool, *, reference_mask: Tensor | None = None) -> Said:
    """How much each ninth of the object was looked at, as a multiple of what its area would get.

    Args:
        heat: G2R, see `used`.
        within: whether it is of the patches inside of the inpainting mask.
        reference_mask: (H, W) on the reference, 1 = the object; None: all of the reference.

    Raises:
        MaskError: the reference mask is empty, or lies outside of what the tokens cover.
        UnavailableError: the object lies on a single cell, so that no part of it can be told from another, or nothing of it was
            looked at.
    """
    values = heat.values[0].clamp(min=0)
    grid = TokenGrid(values.shape[0], values.shape[1], rect=heat.rect)
    weights = torch.ones_like(values) if reference_mask is None else on_grid(reference_mask, grid, "reference mask")
    what = "reference" if reference_mask is None else "object"
    if not float((values * weights).sum()) > 0:
        raise UnavailableError(f"the map on the reference is 0 all over the {what}")
    seen = _seen(heat, grid, reference_mask)
    every = ninths(weights)
    parts = {name: part for name, part in every.items() if float(part.sum() / weights.sum()) >= SMALL}
    ratios = {name: ratio_of(values, part, weights) for name, part in parts.items()}
    if len(ratios) < 2:
        raise UnavailableError(f"the {what} lies on so few cells that no part of it can be told from another")
    by = "the patches inside of the inpainting mask" if within else "all patches"
    rule = (
        f"G2R by {by}; a part below {HARDLY:g} × counts as hardly looked at; parts below {SMALL:.0%} of the {what} are left out"
    )
    what += seen
    low = {name: ratio for name, ratio in sorted(ratios.items(), key=lambda x: x[1]) if round(ratio, 1) < HARDLY}
    if low:
        names = _listed([f"{name} ({ratio:.1f} ×)" for name, ratio in low.items()])
        first, ratio = next(iter(low.items()))
        text = (
            f"The {first} of the {what} is hardly looked at: {ratio:.1f} × of what its area would get."
            if len(low) == 1
            else f"Hardly looked at, by what their area would get: the {names} of the {what.rstrip(',')}."
        )
        return Said("reach", text, rule, ratios, "hardly")
    least, ratio = min(ratios.items(), key=lambda x: x[1])
    named = "Every part" if len(parts) == len(every) else "Every larger part"
    text = f"{named} of the {what} is looked at; its {least} least, {ratio:.1f} × of what its area would get."
    return Said("reach", text, rule, ratios, "all")


def _seen(heat: Heat, grid: TokenGrid, mask: Tensor | None) -> str:
    """What is to be added to the object's or reference's name where the tokens do not cover all of it."""
    if heat.rect is None:
        return ", taking its tokens to cover all of the picture,"
    left, top, right, bottom = heat.rect
    whole = left <= 0 and top <= 0 and right >= 1 and bottom >= 1 if mask is None else round(covered(mask, grid), 2) >= 1
    return "" if whole else ", as far as tokens cover it,"


def used(maps: AttributionMaps, choice: Choice, inpaint_mask: Tensor | None) -> tuple[Heat, bool]:
    """G2R, of the patches inside of the inpainting mask where one is known and the recording allows it, and whether it is.

    Raises:
        UnavailableError: as `ulam`.
    """
    if inpaint_mask is not None or maps.inpaint_mask is not None:
        try:
            return masked_g2r(maps, inpaint_mask, choice)[0], True
        except (MaskError, UnavailableError):  # no patch maps, or a mask of the whole picture: all patches are the next best
            pass
    return ulam(maps, "G2R", choice), False


def ratio_of(values: Tensor, part: Tensor, weights: Tensor) -> float:
    """The share of the object's attention that a part takes, over the share of the object's area that it is."""
    share = float((values * part).sum() / (values * weights).sum().clamp_min(1e-12))
    return share / float(part.sum() / weights.sum())


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
