"""FLUX 3 in diffusers: blocks of each picture's and the text's own, then joint ones on [text, generated, references]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ....errors import LayoutError
from .family import Said, text_first
from .position_ids import pictures_of


class Flux3:
    """`Flux3Transformer2DModel`; its blocks ``mode_blocks`` and ``txt_mode_blocks`` see no reference beside the picture."""

    takes: ClassVar[str] = "FLUX 3"
    network: ClassVar[str] = "Flux3Transformer2DModel"
    blocks: ClassVar[tuple[str, ...]] = ("single_transformer_blocks",)
    patch: ClassVar[int] = 2
    factor: ClassVar[int] = 8

    def read(self, given: Mapping[str, Any], pixels: int | None) -> Said:
        """See `Family`."""
        (grid, *more), ids = pictures_of(given["img_ids"], "img_ids"), given.get("image_cond_ids")
        if more:
            raise LayoutError(f"img_ids hold {len(more) + 1} pictures, expected the generated one; give references apart")
        references = [] if ids is None else pictures_of(ids, "image_cond_ids")
        sequence = text_first(given["encoder_hidden_states"].shape[1], [grid, *references], pixels)
        return Said(sequence, given["hidden_states"], grid, given.get("image_cond_hidden_states"))
