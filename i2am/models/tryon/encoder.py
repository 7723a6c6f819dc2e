"""The reference encoders of the paper's models, around a vision model that a host provides."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import WeightsFileError
from ...geometry.layout import Layout, TokenGrid
from ..family import Family
from .vision import MEAN, SPREAD

Vision = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Normalised pictures (B, 3, 224, 224) to (its last tokens (B, 1 + n, width), the normed class token (B, width))."""


class TryOnEncoder:
    """A reference encoder of the paper's models, as `conditioning.assemble` takes it.

    Args:
        family: whose encoder it is.
        vision: the host's vision model.
        project: tokens (B, S, width) to tokens (B, S, context).
        null: what was learned for "no reference": one token (1, 1, context), or as many as a reference has.
        picture: side of the square picture that the vision model takes, in pixels.
        patch: side of its patches, in pixels.

    Raises:
        WeightsFileError: ``null`` has another shape.
    """

    def __init__(
        self,
        family: Family,
        vision: Vision,
        project: Callable[[Tensor], Tensor],
        null: Tensor,
        picture: int = 224,
        patch: int = 14,
    ) -> None:
        self.family, self.size, self.reference_size = family, family.size, (picture, picture)
        self._vision, self._project, self._null, self._side = vision, project, null, picture // patch
        if null.ndim != 3 or null.shape[:2] not in ((1, 1), (1, self.layout().key_count)):
            raise WeightsFileError(
                f"learnable_vector has the shape {tuple(null.shape)}, expected (1, 1, width); take another file"
            )

    @property
    def name(self) -> str:
        """Of its family."""
        return self.family.name

    @torch.no_grad()
    def encode(self, reference: Tensor) -> Tensor:
        """Reference pictures (B, 3, 224, 224) in 0-1 to tokens (B, 1 or 257, context)."""
        mean, spread = (torch.tensor(t).view(1, 3, 1, 1) for t in (MEAN, SPREAD))
        tokens, pooled = self._vision(((reference.float().cpu() - mean) / spread).contiguous())
        return self._project(pooled[:, None] if self.family.single_token else tokens).float().cpu()

    def null(self, batch: int) -> Tensor:
        """What was learned for "no reference", (batch, 1 or 257, context)."""
        return self._null.float().cpu().expand(batch, self.layout().key_count, -1).clone()

    def layers(self) -> dict[str, Layout]:
        """What the keys are in the attention layers of the family's companion, by layer name."""
        companion = self.family.companion
        return {} if companion is None else companion.layers(self.family.latent_size(self.size))

    def layout(self) -> Layout:
        """One token, or a class token and the vision model's patches; the picture is squashed onto its square."""
        grid = TokenGrid(1, 1) if self.family.single_token else TokenGrid(self._side, self._side, leading=1)
        return Layout.of(grid)
