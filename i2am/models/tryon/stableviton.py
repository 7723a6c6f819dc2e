"""StableVITON (Kim et al. 2024): one token of the garment, and a second encoder whose features are warped into the decoder."""

from __future__ import annotations

from dataclasses import replace

from ...geometry.layout import Layout, TokenGrid
from ...geometry.resample import Size
from ..family import KEEP_MASK, Companion, Family, PartPrefix

CELLS = (4, 4, 4, 2, 2, 2, 1, 1, 1)
"""How many latent cells a token of each warp block covers, along each side."""
OFFICIAL = {4: "always", 3: "over time", 5: "over time"}
"""When the authors' code takes a warp block for its maps on the reference."""


def warp_layers(latent: Size) -> dict[str, Layout]:
    """The keys of each warp block, in network order: the garment's latents (h, w) on a grid of the block's own."""
    grids = [TokenGrid(latent[0] // cells, latent[1] // cells) for cells in CELLS]
    return {f"warp.{k}": replace(Layout.of(grid), beside=True, official=OFFICIAL.get(k, "")) for k, grid in enumerate(grids)}


STABLEVITON = Family(
    name="stableviton",
    title="StableVITON",
    channels=13,
    inputs=("agnostic", KEEP_MASK, "densepose"),
    size=(512, 384),
    needs=("person", "inpaint_mask", "densepose"),
    start="person",
    cfg=1.0,
    companion=Companion(
        network="garment",
        inputs=("reference",),
        weights=(
            PartPrefix("model.diffusion_model.warp_", "warp", cut="model.diffusion_model."),
            PartPrefix("control_model.", "control"),
        ),
        layers=warp_layers,
    ),
    leftovers=("lastzc.",),
)
