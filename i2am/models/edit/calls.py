"""The tokens of the edit model's attention calls, in their order."""

from __future__ import annotations

from functools import lru_cache

from ...drawn.spec import PICTURE, REFERENCE
from ...geometry.layout import TokenGrid
from ...geometry.resample import Size
from ...geometry.sequence import Sequence, generated, reference, text
from .family import GARMENT_GRID, GRID, TEXT

BOTH = ("person", "garment")
"""The references, in order."""


@lru_cache(maxsize=8)
def sequence(short: bool = False, garment: Size = REFERENCE) -> Sequence:
    """The tokens of a call with both references.

    Args:
        short: of the last block, whose queries are the generated tokens alone.
        garment: (H, W) of the garment's picture, before it was resized.
    """
    spans = (
        text(TEXT),
        generated(TokenGrid(*GRID, picture=PICTURE)),
        reference(TokenGrid(*GRID, picture=PICTURE), BOTH[0]),
        reference(TokenGrid(*GARMENT_GRID, picture=garment), BOTH[1]),
    )
    whole = Sequence.of(*spans)
    first = whole.generated
    return Sequence(whole.spans, queries=((first.start, first.stop),)) if short else whole
