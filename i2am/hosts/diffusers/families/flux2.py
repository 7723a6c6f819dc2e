"""FLUX.2 in diffusers: [text, generated, references]; with kept keys, [text, references, generated]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ....errors import LayoutError
from ....geometry.sequence import Sequence, generated, text
from .family import KEPT, Grid, Said, picture_grid, reference_spans, text_first
from .position_ids import pictures_of


class Flux2:
    """`Flux2Transformer2DModel`: FLUX.2 dev and Klein.

    Klein's pipeline with kept keys (``kv_cache_mode``) gives the references in its first step alone, before the generated
    picture; they attend to themselves, and later steps attend to their keys.
    """

    takes: ClassVar[str] = "FLUX.2"
    network: ClassVar[str] = "Flux2Transformer2DModel"
    blocks: ClassVar[tuple[str, ...]] = ("transformer_blocks", "single_transformer_blocks")
    patch: ClassVar[int] = 2
    factor: ClassVar[int] = 8

    def __init__(self) -> None:
        self._kept: list[Grid] = []

    def read(self, given: Mapping[str, Any], pixels: int | None) -> Said:
        """See `Family`."""
        tokens, words = given["hidden_states"], given["encoder_hidden_states"].shape[1]
        ids = given["img_ids"][0] if given["img_ids"].ndim == 3 else given["img_ids"]
        mode, first = given.get("kv_cache_mode"), int(given.get("num_ref_tokens") or 0)
        cache = given.get("kv_cache")
        if mode == "extract" and first:
            self._kept, (grid, *more) = pictures_of(ids[:first], "img_ids"), pictures_of(ids[first:], "img_ids")
            if more:
                raise LayoutError(f"img_ids hold {len(more) + 1} pictures behind num_ref_tokens, expected the generated one")
            return Said(self._between(words, grid, pixels), tokens[:, first:], grid, tokens[:, :first], (KEPT,))
        pictures = pictures_of(ids, "img_ids")
        if mode == "cached" and cache is not None and cache.num_ref_tokens:
            kept = sum(rows * columns for rows, columns in self._kept)
            if kept != cache.num_ref_tokens or len(pictures) > 1:
                raise LayoutError(
                    f"this step attends to {cache.num_ref_tokens} reference tokens of an earlier step, but those seen so far "
                    f"make {kept}; enter the recording before the run's first step"
                )
            return Said(self._between(words, pictures[0], pixels), tokens, pictures[0], None, (KEPT,))
        own = pictures[0][0] * pictures[0][1]
        notes = (KEPT,) if mode == "extract" else ()
        return Said(text_first(words, pictures, pixels), tokens[:, :own], pictures[0], tokens[:, own:], notes)

    def _between(self, words: int, grid: Grid, pixels: int | None) -> Sequence:
        """[text, references, generated], where the references have no queries."""
        references = sum(rows * columns for rows, columns in self._kept)
        begin = words + references
        return Sequence.of(
            *([text(words)] if words else []),
            *reference_spans(self._kept, pixels),
            generated(picture_grid(grid, None)),
            queries=((0, words), (begin, begin + grid[0] * grid[1])),
        )
