"""How spread out a generated patch's attention is over the reference."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import UnavailableError
from ..geometry.masks import mask_to_score
from ..geometry.resample import area
from ..levels.available import multi_token
from ..levels.choice import EVERYTHING, Choice
from ..levels.presets import preset_of
from ..levels.selection import Selection, select
from ..levels.steps import chosen_heads, whole_ranges
from ..maps.facts import LayerInfo
from ..maps.value import AttributionMaps


def attention_entropy(maps: AttributionMaps, inpaint_mask: Tensor | None = None, choice: Choice = EVERYTHING) -> float:
    """The mean entropy of A^r over the reference's placed tokens, renormalised, as a share of its maximum, log(tokens).

    0: every generated patch looks at one token; 1: at all alike. The mean runs over steps, layers and heads, and over the
    generated patches, weighted by the inpainting mask's area in each.

    Args:
        maps: a recording.
        inpaint_mask: (H, W), 1 = repainted; None: all patches count alike.
        choice: what to take of the recording.

    Raises:
        MaskError: the mask is empty or full.
        UnavailableError: the choice does not exist, a chosen layer attends to a single token or has no places, or the
            recording holds no entropy.
    """
    selection = select(maps, preset_of("default"), choice, side="SRAM")
    mask = None if inpaint_mask is None else mask_to_score(inpaint_mask, "inpainting mask")
    total, heads = 0.0, 0
    for layer in multi_token(maps, selection, "SRAM"):
        tokens = selection.reference_of(layer).grid.placed
        if tokens < 2:
            continue
        nats = _over_time(maps, layer, selection).mean(0)
        cells = torch.ones_like(nats)
        if mask is not None:
            cells = area(mask[None], (layer.grid.rows, layer.grid.columns)).flatten()
        count = len(selection.heads_of(layer))
        total += float((nats * cells).sum() / cells.sum()) / math.log(tokens) * count
        heads += count
    if not heads:
        raise UnavailableError("entropy is unavailable: the chosen layers see one place on the reference")
    return total / heads


def _over_time(maps: AttributionMaps, layer: LayerInfo, selection: Selection) -> Tensor:
    """(heads, N) nats: the mean over the chosen groups' recorded steps."""
    groups = whole_ranges(maps.groups, selection.steps, "maps by time group")
    values = maps.grouped("entropy", layer.name, selection.branch, selection.reference)[selection.image]
    count = torch.tensor([maps.steps_seen(maps.groups[i], selection.reference) for i in groups], dtype=torch.float32)
    if not count.sum():
        raise UnavailableError(f"none of the steps {selection.steps[0]} to {selection.steps[1]} was recorded")
    return chosen_heads((values[groups] * count.view(-1, 1, 1)).sum(0) / count.sum(), layer, selection)
