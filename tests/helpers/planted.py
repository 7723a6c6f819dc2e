"""A real diffusers U-Net whose cross-attention looks exactly where it is told to: its to_q and to_k are replaced.

Every (step, layer, head, branch, image, reference) has a displacement of its own. Query (y, x) of an h x w layer
looks at cell (y * R // h + dy mod R, x * C // w + dx mod C) of an R x C reference. Which step, branch and image a
row of the batch belongs to is written into its own context, so it is known without counting calls or rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from i2am.geometry.layout import Layout, Reference, TokenGrid

LATENT = (12, 10)
CONTEXT = 8
HEADS = 2
GRIDS = {
    "down_blocks.0.attentions.0.transformer_blocks.0": (12, 10),
    "down_blocks.1.attentions.0.transformer_blocks.0": (6, 5),
    "mid_block.attentions.0.transformer_blocks.0": (6, 5),
    "up_blocks.0.attentions.0.transformer_blocks.0": (6, 5),
    "up_blocks.0.attentions.1.transformer_blocks.0": (6, 5),
}
"""Every cross-attention layer of `tiny_unet` in network order, with its query grid at `LATENT`."""
LAYERS = tuple(GRIDS)
MIDDLE = LAYERS[2]
BRANCHES = ("uncond", "cond")


def tiny_unet(seed: int = 0, **other: Any) -> UNet2DConditionModel:
    """A U-Net with 4 channels and cross-attention at two grids, random weights: 0.2 million parameters."""
    torch.manual_seed(seed)
    settings = {
        "sample_size": LATENT,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "cross_attention_dim": CONTEXT,
        "attention_head_dim": HEADS,
    }
    return UNet2DConditionModel(**{**settings, **other}).eval()


def attention_of(unet: UNet2DConditionModel, layer: str) -> nn.Module:
    """A layer's cross-attention module."""
    return unet.get_submodule(f"{layer}.attn2")


@dataclass(frozen=True)
class Slot:
    """What a displacement belongs to."""

    step: int
    layer: str
    head: int
    branch: str
    image: int
    reference: int


class Plant:
    """A U-Net with planted attention.

    Args:
        steps: T.
        images: images in the batch.
        peak: the logit of every query at the key that it is sent to; its neighbours are lower by at least 4 %.
    """

    def __init__(self, steps: int = 3, images: int = 2, peak: float = 40.0) -> None:
        self.steps, self.images, self.peak = steps, images, peak
        # a leading token each, a key of nobody before, between and after; both grids unlike the queries' and not square
        shirt, shoes = TokenGrid(13, 11, 1, picture=(104, 88)), TokenGrid(9, 16, 1, picture=(72, 128))
        self.layout = Layout((Reference(shirt, 1, "shirt"), Reference(shoes, 146, "shoes")), keys=292)
        self.unet = tiny_unet()
        self.rows: list[tuple[int, int, int]] = []  # (step, branch, image) of every row of the call that is going on
        self.unet.register_forward_pre_hook(self._read, with_kwargs=True)
        for layer in LAYERS:
            attn = attention_of(self.unet, layer)
            attn.to_q = PlantedQueries(self, layer, attn.scale, attn.to_q.out_features)
            attn.to_k = PlantedKeys(self, attn.to_k.out_features)

    def _read(self, _unet: nn.Module, _args: tuple, kwargs: dict) -> None:
        self.rows = [tuple(r) for r in kwargs["encoder_hidden_states"][:, 0, :3].round().int().tolist()]

    def context(self, step: int, branches: tuple[str, ...]) -> Tensor:
        """(branches x images, keys, CONTEXT): branch-major rows, each saying what it is."""
        out = torch.zeros(len(branches) * self.images, self.layout.key_count, CONTEXT)
        for row, (branch, image) in enumerate((b, i) for b in branches for i in range(self.images)):
            out[row, :, :3] = torch.tensor([step, BRANCHES.index(branch), image]).float()
        return out

    def displacement(self, slot: Slot) -> tuple[int, int]:
        """(dy, dx): a different one for every slot of a reference, and no simple order among them."""
        grid = self.layout.references[slot.reference].grid
        index = slot.step
        for value, size in (
            (LAYERS.index(slot.layer), len(LAYERS)),
            (slot.head, HEADS),
            (BRANCHES.index(slot.branch), len(BRANCHES)),
            (slot.image, self.images),
        ):
            index = index * size + value
        place = (index * (41, 65)[slot.reference] + 7) % grid.placed  # 41 and 143, 65 and 144 have no common divisor
        return divmod(place, grid.columns)

    def targets(self, slot: Slot) -> Tensor:
        """(N, 2): the (row, column) of the reference that every query of the slot looks at."""
        grid, (h, w) = self.layout.references[slot.reference].grid, GRIDS[slot.layer]
        dy, dx = self.displacement(slot)
        return torch.tensor(
            [
                ((y * grid.rows // h + dy) % grid.rows, (x * grid.columns // w + dx) % grid.columns)
                for y in range(h)
                for x in range(w)
            ]
        )

    def slots(self, branches: tuple[str, ...] = BRANCHES) -> list[Slot]:
        """All of them."""
        return [
            Slot(step, layer, head, branch, image, reference)
            for step in range(self.steps)
            for layer in LAYERS
            for head in range(HEADS)
            for branch in branches
            for image in range(self.images)
            for reference in range(len(self.layout.references))
        ]

    def run(self, mode: str, order: tuple[str, ...] = BRANCHES) -> None:
        """A run of all steps: guided in one "batch", in two "calls", or "none"."""
        noise = torch.randn(len(BRANCHES) * self.images, 4, *LATENT, generator=torch.Generator().manual_seed(3))
        with torch.inference_mode():
            for step in range(self.steps):
                time = torch.tensor(900 - 100 * step)
                calls = {"batch": [order], "calls": [(b,) for b in order], "none": [("cond",)]}[mode]
                for branches in calls:
                    context = self.context(step, branches)
                    self.unet(noise[: len(context)], time, encoder_hidden_states=context)


def circle(places: Tensor, grid: TokenGrid) -> Tensor:
    """(..., 2) rows and columns to (..., 4) unit codes, whose product is highest where they are equal."""
    angle = places * (2 * math.pi) / torch.tensor([grid.rows, grid.columns])
    return torch.cat([angle.cos(), angle.sin()], -1)


class PlantedQueries(nn.Module):
    """Stands in for to_q: (B, N, C) of anything to (B, N, heads * d) that ask for the planted targets."""

    def __init__(self, plant: Plant, layer: str, scale: float, width: int) -> None:
        super().__init__()
        self.plant = [plant]  # in a list: the plant holds the U-Net, which must not become its own submodule
        self.layer, self.scale, self.width = layer, scale, width

    def forward(self, hidden: Tensor) -> Tensor:
        plant = self.plant[0]
        out = torch.zeros(*hidden.shape[:2], HEADS, self.width // HEADS)
        for row, (step, branch, image) in enumerate(plant.rows):
            for head in range(HEADS):
                for i, reference in enumerate(plant.layout.references):
                    slot = Slot(step, self.layer, head, BRANCHES[branch], image, i)
                    code = circle(plant.targets(slot), reference.grid)
                    out[row, :, head, 4 * i : 4 * i + 4] = code * plant.peak / 2 / self.scale
        out[..., 8] = plant.peak / self.scale
        return out.flatten(2)


class PlantedKeys(nn.Module):
    """Stands in for to_k: every placed key says where it is; leading tokens draw as much as the best of them."""

    def __init__(self, plant: Plant, width: int) -> None:
        super().__init__()
        codes = torch.zeros(plant.layout.key_count, HEADS, width // HEADS)
        codes[..., 8] = 1.02  # keys of nobody draw most of all
        for i, reference in enumerate(plant.layout.references):
            grid = reference.grid
            codes[reference.start : reference.stop, :, 8] = 0
            codes[reference.start : reference.start + grid.leading, :, 8] = 1
            places = torch.cartesian_prod(torch.arange(grid.rows), torch.arange(grid.columns))
            codes[reference.start + grid.leading : reference.stop, :, 4 * i : 4 * i + 4] = circle(places, grid)[:, None]
        self.register_buffer("codes", codes.flatten(1))

    def forward(self, context: Tensor) -> Tensor:
        return self.codes.expand(len(context), -1, -1)
