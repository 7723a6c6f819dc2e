"""How much of a branch's prediction the sampler takes from one conditioning, place by place.

A mask on a conditioning does not reach the network: that attends everywhere, and the sampler then mixes the predictions by
their masks. So attention outside of a mask is real, and acts on what is inside through the network's other layers. The maps
keep it; a note says how much of it lies where the prediction is not taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...geometry.layout import WHOLE
from ...geometry.resample import Size, area
from ...maps.value import AttributionMaps


def taken(entry: dict[str, Any], entries: Sequence[dict[str, Any]], size: Size) -> Tensor | None:
    """The part of the prediction that comes from one conditioning, (1 or images, h, w) in 0-1; None: the same everywhere.

    Args:
        entry: the conditioning, as the host has prepared it for its sampler.
        entries: all of its branch.
        size: (h, w) of the latent.
    """
    weights = {id(e): _weight(e, size) for e in entries if "default" not in e}
    rest = (1 - sum(weights.values(), torch.zeros(1, *size))).relu()  # a default conditioning gets what the others leave
    weights |= {id(e): rest for e in entries if "default" in e}
    share = weights[id(entry)] / sum(weights.values(), torch.zeros(1, *size)).clamp_min(1e-37)
    uniform = share.amax() - share.amin() < 1e-3 and share.amax() > 0
    return None if uniform else share


def _weight(entry: dict[str, Any], size: Size) -> Tensor:
    """What the host multiplies a conditioning's prediction by; it also softens the edges of areas, which is left out."""
    weight = torch.full((1, *size), float(entry.get("strength", 1.0)))
    mask = entry.get("mask")
    if mask is not None:
        mask = mask.detach().float().cpu().reshape(-1, *size)
        weight = weight * mask * float(entry.get("mask_strength", 1.0))
    if "area" in entry:
        height, width, top, left = entry["area"]
        inside = torch.zeros(1, *size)
        inside[:, top : top + height, left : left + width] = 1
        weight = weight * inside
    return weight


def share_lost(maps: AttributionMaps, branch: str, reference: int, share: Tensor) -> float | None:
    """The part of R2G, the mean over layers, steps, heads and images, that lies where the prediction is not taken.

    None: no layer recorded the reference.

    Args:
        maps: the run's maps.
        branch: the branch.
        reference: the reference.
        share: what `taken` gives.
    """
    lost = []
    for layer in maps.layers:
        if maps.has("r2g", layer.name, branch, reference):
            heat = maps.marginal("r2g", layer.name, branch, reference).mean((1, 2))  # (images, N)
            left = 1 - area(share, (layer.grid.rows, layer.grid.columns), layer.grid.rect or WHOLE).flatten(1)
            left = left.repeat(len(heat) // len(left), 1)  # as the host repeats masks over a batch
            lost.append((heat * left).sum(1).div(heat.sum(1).clamp_min(1e-37)).mean())
    return float(torch.stack(lost).mean()) if lost else None


def notes_of(maps: AttributionMaps, shares: dict[str, Tensor]) -> list[str]:
    """A remark for each reference and branch whose prediction is not taken everywhere; ``shares`` is by branch."""
    notes = []
    for branch, share in shares.items():
        for i, reference in enumerate(maps.references):
            lost = share_lost(maps, branch, i, share)
            if lost is not None and lost >= 0.005:
                of = "" if len(maps.references) == 1 else f" of {reference.name or f'reference {i + 1}'}"
                notes.append(
                    f"{branch} is limited by a mask or by other conditionings: {100 * lost:.0f} % of R2G{of} lies where the "
                    f"sampler does not take its prediction, so it reaches the picture only through the model's other layers"
                )
    return notes
