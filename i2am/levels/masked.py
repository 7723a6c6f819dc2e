"""G2R weighted by the inpainting mask (eq. 17)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import MaskError, UnavailableError
from ..geometry.layout import WHOLE
from ..geometry.masks import mask_to_score
from ..geometry.pooling import spread_cells
from ..geometry.resample import area, bicubic, bilinear
from ..maps.facts import LayerInfo
from ..maps.value import AttributionMaps
from .available import layers_for
from .choice import EVERYTHING, Choice
from .heat import Heat
from .marginal import ulam
from .patch import names_of, pairwise_layers_of, pairwise_of
from .presets import preset_of
from .selection import Selection, select
from .steps import time_mean


def masked_g2r(
    maps: AttributionMaps, inpaint_mask: Tensor | None = None, choice: Choice = EVERYTHING, *, preset: str = "default"
) -> tuple[Heat, tuple[str, ...]]:
    """The G2R map of eq. 17: averaged over generated positions weighted by the inpainting mask's area in each cell.

    Exact for every layer when a mask was given at recording (and none is given here); otherwise made from the
    layers with pairwise maps. Returns the heat and the names of the layers used.

    Raises:
        MaskError: the mask given here says nothing: see `mask_to_score`.
        UnavailableError: neither is possible.
    """
    rules = preset_of(preset)
    heat = ulam(maps, "G2R", choice, preset=preset)
    selection = select(maps, rules, choice, side="G2R")
    layers = list(layers_for(maps, selection, "G2R"))
    recorded = maps.inpaint_mask is not None and inpaint_mask is None
    if not recorded:
        if inpaint_mask is None:
            raise UnavailableError("eq. 17 needs the inpainting mask: give it here or at recording")
        if not maps.pair_layers(selection.branch, selection.reference):
            raise UnavailableError("no layer has pairwise maps, and no inpainting mask was given at recording; record with one")
        layers = list(pairwise_layers_of(maps, selection, "G2R"))
    # like the levels: a mean over layers and heads, resized to the common grid
    resize = bilinear if rules.scaled else bicubic
    total, share, heads = torch.zeros(heat.values.shape[-2:]), 0.0, 0
    for layer in layers:
        if recorded:
            grid = selection.reference_of(layer).grid
            column = time_mean(maps, "g2r_masked", layer, selection, selection.steps).mean(0)
        else:
            assert inpaint_mask is not None
            grid = maps.layers[0].references[selection.reference].grid if layer.cells else selection.reference_of(layer).grid
            column = spread_cells(_pairwise_column(maps, layer, selection, inpaint_mask)[None], grid, layer.cells)[0]
        scale = grid.placed / heat.values[0].numel() if rules.scaled else 1.0
        placed = column[grid.leading :].reshape(1, grid.rows, grid.columns) * scale
        count = len(selection.heads_of(layer))
        total += resize(placed, (heat.values.shape[1], heat.values.shape[2]))[0] * count
        share += float(column[: grid.leading].sum()) * count
        heads += count
    return replace(heat, values=(total / heads)[None], unplaced=(share / heads,)), names_of(maps, layers)


def _pairwise_column(maps: AttributionMaps, layer: LayerInfo, selection: Selection, mask: Tensor) -> Tensor:
    """(S,): the rows of A^r of the chosen steps and heads, weighted by the mask's area in each cell."""
    size = layer.grid.rows, layer.grid.columns
    cells = area(mask_to_score(mask, "inpainting mask")[None], size, layer.grid.rect or WHOLE).flatten()
    if not float(cells.sum()) > 0:
        raise MaskError("the inpainting mask lies outside of the part of the picture that the tokens cover")
    return cells / cells.sum() @ pairwise_of(maps, selection, layer)
