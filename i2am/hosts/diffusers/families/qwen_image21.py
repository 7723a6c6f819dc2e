"""Qwen-Image 2.1 in diffusers: references where the text has its image slots, the generated picture last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ....errors import LayoutError
from ....geometry.sequence import Sequence, Span, generated, text
from .family import KEPT, Grid, Said, picture_grid, reference_spans
from .qwen_image import shapes_of

SLOT = 4
"""Latent tokens of one image slot of the text."""


class QwenImage21:
    """`QwenImage21Transformer2DModel`.

    It attends to what came before: each segment in a call of its own, the generated picture in the last one, with all keys.
    Later steps have that call alone, where keys are kept.
    """

    takes: ClassVar[str] = "Qwen-Image 2.1"
    network: ClassVar[str] = "QwenImage21Transformer2DModel"
    blocks: ClassVar[tuple[str, ...]] = ("transformer_blocks",)
    patch: ClassVar[int] = 1
    factor: ClassVar[int] = 16

    def read(self, given: Mapping[str, Any], pixels: int | None) -> Said:
        """See `Family`."""
        *references, grid = shapes_of(given["img_shapes"])
        tokens, own = given["hidden_states"], grid[0] * grid[1]
        sequence = None if not references else _spliced(given["img_mask"][0], references, grid, pixels)
        notes = () if given.get("kv_cache") is None else (KEPT,)
        return Said(sequence, tokens[:, -own:], grid, tokens[:, :-own], notes)


def _spliced(slots: Tensor, references: list[Grid], grid: Grid, pixels: int | None) -> Sequence:
    """The sequence of a text whose image slots, (tokens,) bool, hold the references and then the generated picture."""
    image = torch.repeat_interleave(slots.cpu(), torch.where(slots.cpu(), SLOT, 1))
    places = image.nonzero()[:, 0]
    own, at, spans = [*reference_spans(references, pixels), generated(picture_grid(grid, None))], 0, []
    for span in own:
        held = places[at : at + span.grid.tokens]
        at += span.grid.tokens
        start = int(held[0]) if len(held) else 0
        if len(held) < span.grid.tokens or int(held[-1]) - start != len(held) - 1:
            raise LayoutError(
                f"img_mask has {len(places)} image tokens, in which those of {span.name!r} ({span.grid.rows} x "
                f"{span.grid.columns} of img_shapes) do not follow each other"
            )
        spans.append(Span(span.role, span.grid, span.name, start))
    if at < len(places) or spans[-1].stop != len(image):
        raise LayoutError(f"img_mask has {len(places)} image tokens, img_shapes have {at}, the generated picture's at the end")
    spans += [Span(words.role, words.grid, words.name, start) for start, words in _texts(image)]
    return Sequence(tuple(spans), len(image), queries=((spans[len(own) - 1].start, len(image)),))


def _texts(image: Tensor) -> list[tuple[int, Span]]:
    """The runs of text tokens, with where each starts."""
    edges = torch.cat([image.new_ones(1), image, image.new_ones(1)]).int().diff()
    starts, stops = (edges == -1).nonzero()[:, 0].tolist(), (edges == 1).nonzero()[:, 0].tolist()
    return [(start, text(stop - start)) for start, stop in zip(starts, stops, strict=True)]
