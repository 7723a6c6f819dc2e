"""FLUX.1 in diffusers: [text, generated, references], told apart by ``img_ids``. FLUX.1 Fill has a mask in its channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from .family import Grid, Said, alone, text_first
from .position_ids import pictures_of

ADAPTER = "the IP-Adapter's pictures are attended to with a softmax of their own, which is left out"


class Flux:
    """`FluxTransformer2DModel`: FLUX.1 Kontext, and other models of its class that take references so."""

    takes: ClassVar[str] = "FLUX.1 Kontext, FLUX.1 Fill"
    network: ClassVar[str] = "FluxTransformer2DModel"
    blocks: ClassVar[tuple[str, ...]] = ("transformer_blocks", "single_transformer_blocks")
    patch: ClassVar[int] = 2
    factor: ClassVar[int] = 8

    def read(self, given: Mapping[str, Any], pixels: int | None) -> Said:
        """See `Family`."""
        pictures = pictures_of(given["img_ids"], "img_ids")
        tokens, own = given["hidden_states"], pictures[0][0] * pictures[0][1]
        words = given["encoder_hidden_states"].shape[1]
        sequence = text_first(words, pictures, pixels)
        one = alone(words, pictures, pixels, mask_of(tokens, pictures[0], self.patch, pixels or self.patch * self.factor))
        adapters = {"ip_adapter_image_embeds", "ip_hidden_states"} & set(given.get("joint_attention_kwargs") or ())
        return Said(
            sequence, tokens[:, :own], pictures[0], tokens[:, own:], (ADAPTER,) if adapters else (), alone=one, takes_redux=True
        )


def mask_of(tokens: Tensor, grid: Grid, patch: int, pixels: int) -> Tensor | None:
    """What FLUX.1 Fill makes of its picture, 1 inside, (pixels of its rows, of its columns); None: this is no such model.

    Its tokens hold the noisy latent, the kept picture's latent, and each pixel of the mask. A part that is made in one image
    of a batch counts as made in all.

    Args:
        tokens: (B, N, channels) as the transformer is given them.
        grid: (rows, columns) of them.
        patch: latent cells per token, along each side.
        pixels: of a token, along each side.
    """
    side, count = pixels // patch, pixels**2
    latents = tokens.shape[2] - count
    if latents <= 0 or latents % (2 * patch**2):
        return None
    mask = tokens[..., latents:].detach().float().cpu().amax(0)
    (rows, columns), cells = grid, (side, side, patch, patch)
    return mask.view(rows, columns, *cells).permute(0, 4, 2, 1, 5, 3).reshape(rows * pixels, columns * pixels)
