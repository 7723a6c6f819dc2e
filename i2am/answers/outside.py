"""What lies outside of the inpainting mask and took from the reference."""

from __future__ import annotations

from contextlib import suppress

from torch import Tensor

from ..errors import UnavailableError
from ..geometry.layout import TokenGrid
from ..levels.choice import EVERYTHING, Choice
from ..levels.heat import Heat
from ..levels.marginal import ulam
from ..levels.mirror import mirror_of_object
from ..maps.value import AttributionMaps
from .looked import on_grid
from .places import place_of
from .said import Said
from .thresholds import SPILT


def outside(
    maps: AttributionMaps, inpaint_mask: Tensor, choice: Choice = EVERYTHING, *, reference_mask: Tensor | None = None
) -> Said:
    """How much of where the object (or all of the reference) went lies outside of the inpainting mask.

    Args:
        inpaint_mask: (H, W) on the generated picture, 1 = repainted.
        reference_mask: (H, W) on the reference, 1 = the object.

    Raises:
        UnavailableError: there is no map on the generated picture, or the mask leaves no outside.
    """
    heat = went(maps, choice, reference_mask)
    values = heat.values[0].clamp(min=0)
    inside = on_grid(inpaint_mask, TokenGrid(values.shape[0], values.shape[1], rect=heat.rect), "inpainting mask")
    area, total = float(inside.mean()), float(values.sum())
    if not total > 0:
        raise UnavailableError(f"{heat.side} is 0 all over the picture")
    if not area < 1:
        raise UnavailableError("the inpainting mask covers the whole picture, so nothing lies outside of it")
    share = float((values * inside).sum()) / total
    figures = {"share": share, "area": area, "ratio": share / area}
    what = "reference" if reference_mask is None else "object"
    start = f"{share:.0%} of where the {what} went lies inside of the inpainting mask"
    text = f"{start}, {share / area:.1f} × of what its area would get"
    rule = f"below {SPILT:g} × places outside took more, for their area, than those inside ({heat.side})"
    if round(share / area, 1) >= SPILT:  # as it is shown
        return Said("outside", f"{text}.", rule, figures, "inside")
    rest = values * (1 - inside)
    return Said("outside", f"{text}; the {place_of(rest)} of the picture holds most of the rest.", rule, figures, "spilt")


def went(maps: AttributionMaps, choice: Choice, reference_mask: Tensor | None) -> Heat:
    """Where the object went: its mirror where the recording allows it, else R2G-balanced.

    Raises:
        UnavailableError: as `ulam`.
    """
    if reference_mask is not None:
        with suppress(UnavailableError):
            return mirror_of_object(maps, reference_mask, choice)
    return ulam(maps, "R2G-balanced", choice)
