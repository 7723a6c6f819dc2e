"""Krea-2 in diffusers: [text, generated, references], told apart by ``position_ids`` of the whole sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .family import Said, text_first
from .position_ids import pictures_of


class Krea2:
    """`Krea2Transformer2DModel`; the attention that fuses its text (``text_fusion``) sees no picture."""

    takes: ClassVar[str] = "Krea-2"
    network: ClassVar[str] = "Krea2Transformer2DModel"
    blocks: ClassVar[tuple[str, ...]] = ("transformer_blocks",)
    patch: ClassVar[int] = 2
    factor: ClassVar[int] = 8

    def read(self, given: Mapping[str, Any], pixels: int | None) -> Said:
        """See `Family`."""
        words, tokens = given["encoder_hidden_states"].shape[1], given["hidden_states"]
        pictures = pictures_of(given["position_ids"][words:], "position_ids")
        own = pictures[0][0] * pictures[0][1]
        return Said(text_first(words, pictures, pixels), tokens[:, :own], pictures[0], tokens[:, own:])
