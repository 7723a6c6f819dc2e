"""FLUX.1 Redux in diffusers: `FluxPriorReduxPipeline` puts a picture's tokens behind those of the text."""

from __future__ import annotations

from dataclasses import replace

from ...errors import LayoutError
from ...geometry.layout import TokenGrid
from ...geometry.sequence import Sequence, Span, text
from .families.family import Said

SIDE = 27
"""Rows and columns of patches in Redux's vision encoder (SigLIP at 384 pixels), without a class token."""
TAKEN = (
    f"the last {SIDE**2} tokens of the text are taken for Redux's picture, {SIDE} x {SIDE} patches of the square that it was "
    f"squashed to; the vision encoder mixes the whole picture into each of them"
)


def behind_text(said: Said) -> Said:
    """What a call says, with the last tokens of its text as a reference, the first of all.

    Raises:
        LayoutError: the model is no FLUX.1, or its text is too short.
    """
    if not said.takes_redux:
        raise LayoutError(
            "redux is for FLUX.1 models, whose text may hold a picture's tokens, and this is another; leave it out"
        )
    spans = said.sequence.spans if said.sequence is not None else said.alone.texts if said.alone is not None else ()
    whole = next((span for span in spans if span.role == "text"), None)
    tokens = 0 if whole is None else whole.grid.tokens
    if whole is None or tokens <= SIDE**2:
        raise LayoutError(
            f"redux is set, but the text has {tokens} tokens, of which a picture alone takes {SIDE**2} ({SIDE} x {SIDE}); give "
            f"the pipeline the prompt_embeds that FluxPriorReduxPipeline makes"
        )
    words = replace(text(tokens - SIDE**2), start=whole.start)
    picture = Span("reference", TokenGrid(SIDE, SIDE), "reference", start=words.stop)
    told = replace(said, notes=(*said.notes, TAKEN))
    if said.sequence is not None:
        others = [span for span in spans if span is not whole]
        sequence = replace(said.sequence, spans=(words, picture, *others)).numbered()
        return replace(told, sequence=sequence)
    assert said.alone is not None
    one = replace(said.alone, texts=(words, picture))
    return replace(told, alone=one)


def without_canvas(said: Said) -> Said:
    """The same where nothing is on a canvas: the picture in the text is the only reference."""
    if said.sequence is not None or said.alone is None:
        return said
    return replace(said, sequence=Sequence((*said.alone.texts, said.alone.whole)))
