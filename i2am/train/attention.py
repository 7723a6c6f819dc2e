"""The cross-attention of a U-Net during training, and the two losses on it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..geometry.layout import Layout
from ..geometry.resample import Size
from ..hosts.diffusers.unet import grid_of
from .errors import TrainingError
from .losses import attention_probabilities, attention_tv, attribution_alignment


class Watched:
    """One cross-attention layer; keeps the queries and keys of its last call, with their gradients."""

    def __init__(self, name: str, attention: nn.Module) -> None:
        self.name = name
        self._attention = attention
        self._seen: dict[str, Tensor] = {}
        self._handles = [
            getattr(attention, part).register_forward_hook(lambda _m, _args, out, part=part: self._seen.update({part: out}))
            for part in ("to_q", "to_k")
        ]

    def take(self, rows: Tensor) -> Tensor:
        """Like `peek`, and forget the call."""
        weights = self.peek(rows)
        self.forget()
        return weights

    def peek(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """A^r of the chosen rows of the last call, (B, heads, N, S) in fp32.

        Raises:
            TrainingError: the layer was not called since the last `forget`.
        """
        if len(self._seen) < 2:
            raise TrainingError(f"attention layer {self.name!r} was not called, or not through its own to_q and to_k")
        heads, scale = int(self._attention.heads), float(self._attention.scale)  # type: ignore[arg-type]
        # (B, N, heads · d) -> (B, heads, N, d)
        q, k = (self._seen[part][rows].unflatten(-1, (heads, -1)).transpose(1, 2) for part in ("to_q", "to_k"))
        return attention_probabilities(q, k, scale)

    def forget(self) -> None:
        """Forget the last call."""
        self._seen.clear()

    def end(self) -> None:
        """Stop watching."""
        self.forget()
        for handle in self._handles:
            handle.remove()


def watch(unet: UNet2DConditionModel) -> list[Watched]:
    """All cross-attention layers but the middle's, which the paper's maps leave out, in network order."""
    named = ((name, module) for name, module in unet.named_modules() if name.endswith(".attn2"))
    return [Watched(name, module) for name, module in named if not name.startswith("mid_block")]


@dataclass(frozen=True)
class Regularisers:
    """Weights of the two losses on attention; 0 leaves one out. See `i2am.train.losses` for what they mean."""

    tv: float = 0.0
    alignment: float = 0.0

    def __bool__(self) -> bool:
        return self.tv > 0 or self.alignment > 0

    def terms(
        self,
        layers: list[Watched],
        layout: Layout,
        latent: Size,
        inpaint_mask: Tensor,
        reference_mask: Tensor | None,
        active: Tensor,
    ) -> dict[str, Tensor]:
        """The losses with a weight above 0, not multiplied by it, on the layers' last calls.

        Means over layers and over *all* images; an image whose reference was dropped looks at no reference and counts
        as 0, so that the loss of a batch is the mean of its parts' losses.

        Args:
            layers: all called since they were last taken.
            layout: what the keys are.
            latent: (h, w) of the latents.
            inpaint_mask: (B, 1, H, W) in 0-1, 1 = repaint.
            reference_mask: (B, 1, H, W) in 0-1, 1 = the garment; None: all of its picture.
            active: (B,) bool, True = the image has its reference.
        """
        rows = active.nonzero()[:, 0]
        if not len(rows):
            for layer in layers:
                layer.forget()
            return {name: torch.zeros((), device=active.device) for name in self.names()}
        reference, masks = layout.references[0], inpaint_mask[rows.to(inpaint_mask.device), 0]
        objects = None if reference_mask is None else reference_mask[rows.to(reference_mask.device), 0]
        found: dict[str, list[Tensor]] = {name: [] for name in self.names()}
        for layer in layers:
            weights = layer.take(rows)
            layout.check(layer.name, weights.shape[-1])
            grid = grid_of(layer.name, latent, weights.shape[2])
            if "tv" in found:
                found["tv"].append(attention_tv(weights, grid, reference, masks))
            if "alignment" in found:
                found["alignment"].append(attribution_alignment(weights, grid, reference, masks, objects))
        share = len(rows) / len(active)
        return {name: torch.stack(values).mean() * share for name, values in found.items()}

    def names(self) -> tuple[str, ...]:
        """Names of the losses with a weight above 0."""
        return tuple(name for name in ("tv", "alignment") if getattr(self, name) > 0)
