"""StableVITON (Kim et al. 2024): one token of the garment, and a second encoder whose features are warped into the decoder."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ...geometry.layout import Layout, TokenGrid
from ...geometry.resample import Size
from ..family import KEEP_MASK, Companion, Family, PartPrefix
from ..resizing import binary, eight_bit, linear

CELLS = (4, 4, 4, 2, 2, 2, 1, 1, 1)
"""How many latent cells a token of each warp block covers, along each side."""
BLOCKS = len(CELLS)
FIRST = 3
"""Warp block k works on what goes into the decoder's block 3 + k, from the encoder's map 8 - k."""
OFFICIAL = {4: "always", 3: "over time", 5: "over time"}
"""When the authors' code takes a warp block for its maps on the reference."""


def warp_layers(latent: Size) -> dict[str, Layout]:
    """The keys of each warp block, in network order: the garment's latents (h, w) on a grid of the block's own."""
    grids = [TokenGrid(latent[0] // cells, latent[1] // cells) for cells in CELLS]
    return {f"warp.{k}": replace(Layout.of(grid), beside=True, official=OFFICIAL.get(k, "")) for k, grid in enumerate(grids)}


picture_to = eight_bit(linear)
"""As OpenCV resizes pictures of 8 bits by default: to within one step of 1/255, whichever of its builds is installed."""
mask_to = binary(picture_to, 128 / 255)
"""The authors' data set for inference resizes masks like pictures, and then takes 128 and more of 255; only the augmented
training pictures are cut to 0 and 1 before they are resized."""


def see_small(reference: Tensor, _masks: Tensor | None, size: Size, seen: Size) -> Tensor:
    """The whole reference at the generated picture's size, squashed from there to what the encoder takes.

    The second step is torchvision's on tensors: without antialias as in the authors' version (0.15), with it from 0.17 on.
    """
    return linear(picture_to(reference, size), seen)


STABLEVITON = Family(
    name="stableviton",
    title="StableVITON",
    channels=13,
    inputs=("agnostic", KEEP_MASK, "densepose"),
    size=(512, 384),
    needs=("person", "inpaint_mask", "densepose"),
    start="person",
    cfg=1.0,
    sampler="ddim",  # of the maps' authors; StableVITON's own script takes PLMS
    resize=picture_to,
    resize_mask=mask_to,
    see=see_small,
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
