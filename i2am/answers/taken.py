"""Which of several references was taken from."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..errors import UnavailableError
from ..geometry.layout import TokenGrid
from ..geometry.thinning import weights_of
from ..levels.choice import EVERYTHING, Choice
from ..levels.share import in_percent, which_reference
from ..maps.value import AttributionMaps
from .looked import on_grid
from .said import Said

TIED = 1e-6
"""A lead by less than this is none."""


def taken(maps: AttributionMaps, choice: Choice = EVERYTHING, *, inpaint_mask: Tensor | None = None) -> Said:
    """How what patches take from references is split between them, and which reference leads in how many patches.

    Args:
        inpaint_mask: (H, W) on the generated picture, 1 = repainted: only these patches are asked; None: all.

    Raises:
        UnavailableError: the run had one reference, or no shares were recorded.
    """
    if len(maps.references) < 2:
        raise UnavailableError("the run had one reference")
    heat = which_reference(maps, choice)
    values = heat.values.flatten(1)
    grid = TokenGrid(heat.values.shape[1], heat.values.shape[2], rect=heat.rect)
    weights = weights_of(replace(grid, edge=heat.edge))  # cells at the edge may hold fewer tokens
    if inpaint_mask is not None:
        weights = on_grid(inpaint_mask, grid, "inpainting mask").flatten()  # which counts what they lack as outside
    shares = (values @ weights / weights.sum()).tolist()
    ahead_of = values.topk(2, dim=0).values
    tied = ahead_of[0] - ahead_of[1] < TIED
    leads = [float((weights * ((values.argmax(0) == i) & ~tied)).sum() / weights.sum()) for i in range(len(values))]
    figures = dict(zip(heat.labels, shares, strict=True))
    figures |= {f"{name} leads": lead for name, lead in zip(heat.labels, leads, strict=True)}
    first = max(range(len(shares)), key=lambda i: leads[i])
    where = "Of" if inpaint_mask is None else "Within the inpainting mask, of"
    ahead = f"{heat.labels[first]} leads in {leads[first]:.0%} of the patches" if leads[first] > 0 else "none leads anywhere"
    whole = in_percent(dict(zip(heat.labels, shares, strict=True)))
    split = ", ".join(f"{name} has {share}%" for name, share in whole.items())
    text = f"{where} what patches take from references, {split}; {ahead}."
    rule = "attention that goes from patches straight to references; a patch's largest share leads"
    return Said("which", text, rule, figures, max(whole, key=lambda name: figures[name]))
