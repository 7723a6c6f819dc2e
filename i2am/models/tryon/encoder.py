"""The reference encoders of the paper's models, around a vision model that a host provides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...errors import I2AMError
from ...geometry.layout import Layout, TokenGrid
from ..families import KINDS, Kind

MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's own normalisation of pictures."""
HEAD = 64
"""Channels of one of CLIP's heads."""
LATENT_SCALE = 0.18215
SIZES = {"paint-by-example": (512, 512), "dci-vton": (512, 512), "stableviton": (512, 384), "custom": (512, 384)}
"""(H, W) that each model was trained at."""

WARPED = (4, 4, 4, 2, 2, 2, 1, 1, 1)
"""How many latent cells a side of a token is, for each of StableVITON's warp blocks."""

Vision = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Normalised pictures (B, 3, 224, 224) to (its last tokens (B, 1 + n, width), the normed class token (B, width))."""


def vision_config(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The shape of a CLIP vision model, read from its weights, in the words of its usual configuration files.

    Raises:
        I2AMError: the weights are no such model's.
    """
    try:
        positions, patches = weights["embeddings.position_embedding.weight"], weights["embeddings.patch_embedding.weight"]
        layers = 1 + max(int(key.split(".")[2]) for key in weights if key.startswith("encoder.layers."))
        middle = weights["encoder.layers.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise I2AMError(f"the image encoder's weights are no CLIP vision model's ({error} is missing)") from error
    side = round((positions.shape[0] - 1) ** 0.5)
    return {
        "model_type": "clip_vision_model",
        "hidden_act": "quick_gelu",
        "hidden_size": positions.shape[1],
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, positions.shape[1] // HEAD),
        "intermediate_size": middle,
        "num_channels": patches.shape[1],
        "patch_size": patches.shape[-1],
        "image_size": side * patches.shape[-1],
    }


class TryOnEncoder:
    """A reference encoder of the paper's models: a try-on family, see `families.Family`.

    Args:
        name: of `checkpoint.FAMILIES`.
        vision: the host's vision model.
        project: tokens (B, S, width) to tokens (B, S, context).
        null: the learned token that stands for "no reference", (1, 1, context).
        picture: side of the square picture that the vision model takes.
        patch: side of its patches.
    """

    factor = 8
    scale = LATENT_SCALE

    def __init__(
        self, name: str, vision: Vision, project: Callable[[Tensor], Tensor], null: Tensor, picture: int = 224, patch: int = 14
    ) -> None:
        self.name, self.size, self.reference_size = name, SIZES[name], (picture, picture)
        self._vision, self._project, self._null, self._side = vision, project, null, picture // patch

    @property
    def kind(self) -> Kind:
        """What its U-Net takes."""
        return KINDS[self.name]

    @property
    def single(self) -> bool:
        """Whether the U-Net attends to the class token alone."""
        return self.name != "custom"

    @torch.no_grad()
    def encode(self, reference: Tensor) -> Tensor:
        """Reference pictures (B, 3, 224, 224) in 0-1 to tokens (B, 1 or 257, context)."""
        mean, spread = (torch.tensor(t).view(1, 3, 1, 1) for t in (MEAN, SPREAD))
        tokens, pooled = self._vision((reference.float().cpu() - mean) / spread)
        return self._project(pooled[:, None] if self.single else tokens).float().cpu()

    def null(self, batch: int) -> Tensor:
        """The learned token that stands for "no reference", (batch, 1 or 257, context)."""
        return self._null.float().cpu().expand(batch, self.layout().key_count, -1).clone()

    def layers(self) -> dict[str, Layout]:
        """StableVITON's warp blocks attend to the garment's latents on a grid of their own: by layer name, in their order."""
        if self.name != "stableviton":
            return {}
        cells = [side // self.factor for side in self.size]
        grids = [TokenGrid(cells[0] // cut, cells[1] // cut) for cut in WARPED]
        taken = {4: "always", 3: "over time", 5: "over time"}
        return {f"warp.{k}": replace(Layout.of(grid), beside=True, official=taken.get(k, "")) for k, grid in enumerate(grids)}

    def layout(self) -> Layout:
        """One token, or a class token and the vision model's patches; the picture is squashed onto its square."""
        grid = TokenGrid(1, 1) if self.single else TokenGrid(self._side, self._side, leading=1)
        return Layout.of(grid)
