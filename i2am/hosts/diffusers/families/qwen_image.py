"""Qwen-Image-Edit in diffusers: [text, generated, references], told apart by ``img_shapes``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ....errors import LayoutError
from .family import Grid, Said, alone, text_first


class QwenImage:
    """`QwenImageTransformer2DModel`: Qwen-Image-Edit, 2509 and 2511, and what is derived from them."""

    takes: ClassVar[str] = "Qwen-Image-Edit"
    network: ClassVar[str] = "QwenImageTransformer2DModel"
    blocks: ClassVar[tuple[str, ...]] = ("transformer_blocks",)
    patch: ClassVar[int] = 2
    factor: ClassVar[int] = 8

    def read(self, given: Mapping[str, Any], pixels: int | None) -> Said:
        """See `Family`."""
        if given.get("additional_t_cond") is not None:
            raise LayoutError("this model generates several layers at once (as Qwen-Image-Layered does), which is not recorded")
        pictures = shapes_of(given["img_shapes"])
        tokens, own = given["hidden_states"], pictures[0][0] * pictures[0][1]
        words = given["encoder_hidden_states"].shape[1]
        sequence, one = text_first(words, pictures, pixels), alone(words, pictures, pixels)
        return Said(sequence, tokens[:, :own], pictures[0], tokens[:, own:], alone=one)


def shapes_of(img_shapes: Sequence[Any]) -> list[Grid]:
    """(rows, columns) of the pictures in ``img_shapes``, (frames, rows, columns) each, of which a batch has one list.

    Raises:
        LayoutError: one is no single picture.

    >>> shapes_of([[(1, 4, 6), (1, 2, 3)]])
    [(4, 6), (2, 3)]
    """
    first = img_shapes[0]
    shapes = first if isinstance(first, list) else [first]
    if any(len(shape) != 3 or shape[0] != 1 for shape in shapes):
        raise LayoutError(f"img_shapes are {shapes}, expected (1, rows, columns) for each picture: no frames, no layers")
    return [(int(rows), int(columns)) for _, rows, columns in shapes]
