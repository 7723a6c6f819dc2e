"""FLUX.1 in diffusers: [text, generated, references], told apart by ``img_ids``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .family import Said, text_first
from .position_ids import pictures_of

ADAPTER = "the IP-Adapter's pictures are attended to with a softmax of their own, which is left out"


class Flux:
    """`FluxTransformer2DModel`: FLUX.1 Kontext, and other models of its class that take references so."""

    takes: ClassVar[str] = "FLUX.1 Kontext"
    network: ClassVar[str] = "FluxTransformer2DModel"
    blocks: ClassVar[tuple[str, ...]] = ("transformer_blocks", "single_transformer_blocks")
    patch: ClassVar[int] = 2
    factor: ClassVar[int] = 8

    def read(self, given: Mapping[str, Any], pixels: int | None) -> Said:
        """See `Family`."""
        pictures = pictures_of(given["img_ids"], "img_ids")
        tokens, own = given["hidden_states"], pictures[0][0] * pictures[0][1]
        sequence = text_first(given["encoder_hidden_states"].shape[1], pictures, pixels)
        adapters = {"ip_adapter_image_embeds", "ip_hidden_states"} & set(given.get("joint_attention_kwargs") or ())
        return Said(sequence, tokens[:, :own], pictures[0], tokens[:, own:], (ADAPTER,) if adapters else ())
