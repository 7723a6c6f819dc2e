"""Does a patch's own map point home on either reference? The peaks of SRAM against the drawn truth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ....maps.value import AttributionMaps
from ....models.edit.family import BLOCKS, GARMENT_GRID, GRID
from ..baselines import same_place
from ..correspondence import Pointing, peaks, sram_rows
from .cases import Truth
from .share import SETS

GRIDS = {"person": GRID, "garment": GARMENT_GRID}
"""The references' patches, in the order of the recording."""
NAMED = {**SETS, **{name: (name,) for name in BLOCKS}}
"""Whose peaks are kept: each choice of blocks, then each block."""


def peaks_of(maps: AttributionMaps) -> Tensor:
    """Where each patch's SRAM peaks on each reference, by the choices of `NAMED`: (images, choices, references, 192, 2)."""
    found = [
        torch.stack([peaks(sram_rows(maps, blocks, i), grid) for i, grid in enumerate(GRIDS.values())], 1)
        for blocks in NAMED.values()
    ]
    return torch.stack(found, 1)


def own_places() -> Tensor:
    """Each patch's own (row, column), (192, 2): where on the person's picture a patch that stays comes from."""
    row, column = torch.meshgrid(torch.arange(GRID[0]), torch.arange(GRID[1]), indexing="ij")
    return torch.stack([row, column], -1).flatten(0, 1)


def pointing_figures(found: Tensor, truth: Truth) -> dict[str, Any]:
    """Shares of patches whose peak lies within 1 and 2 patches of home, from `peaks_of` of all pairs, and of the baselines.

    On the garment's picture the patches of garment count, on the person's those that stay, whose home is their own place.
    """
    where = {"person": truth.person, "garment": truth.garment}
    home = {"person": own_places().expand_as(truth.token), "garment": truth.token}

    def of(choice: int) -> dict[str, Any]:
        return {name: Pointing.of(found[:, choice, i], home[name], where[name]).shares() for i, name in enumerate(GRIDS)}

    figures = {name: of(i) for i, name in enumerate(NAMED)}
    out: dict[str, Any] = {name: figures[name] for name in SETS}
    out["by_block"] = {name: figures[name] for name in BLOCKS}
    out["baselines"] = {
        "chance": {name: Pointing.by_chance(home[name], where[name], grid).shares() for name, grid in GRIDS.items()},
        "same_place": {"garment": Pointing.of(same_place(GRID).expand_as(truth.token), truth.token, truth.garment).shares()},
    }
    return out
