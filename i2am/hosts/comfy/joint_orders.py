"""The orders in which families of joint-attention networks put the tokens of a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...errors import LayoutError
from ...geometry.layout import TokenGrid
from ...geometry.sequence import Sequence, Span, generated, other, reference, text

if TYPE_CHECKING:
    from .joint_sequence import Given


def references_last(given: Given) -> Sequence:
    """[text, generated, reference 1, reference 2, …]; some of the text may be a reference's, see `joint_text`."""
    return Sequence.of(*given.text.spans, given.generated, *given.pictures)


def generated_last(given: Given) -> Sequence:
    """[text, reference 1, reference 2, …, generated]."""
    return Sequence.of(text(given.words), *given.pictures, given.generated)


@dataclass(frozen=True)
class Beside:
    """What a call of Z-Image has beside its caption and its pictures.

    Attributes:
        fill: a multiple of how many tokens each text and each picture is filled up to.
        texts: tokens of the texts around the references, in order.
        vision: tokens of each reference as its vision encoder sees it.
        sees: whether the network takes such tokens.
    """

    fill: int
    texts: tuple[int, ...]
    vision: tuple[int, ...]
    sees: bool

    @classmethod
    def of(cls, network: Any, given: Mapping[str, Any]) -> Beside:
        """From the network and the arguments of a call."""
        return cls(
            int(network.pad_tokens_multiple or 1),
            tuple(int(t.shape[1]) for t in given.get("ref_contexts") or ()),
            tuple(int(t.shape[1] * t.shape[2]) for t in given.get("siglip_feats") or ()),
            getattr(network, "siglip_embedder", None) is not None,
        )


def filled(given: Given) -> Sequence:
    """Z-Image's [texts, vision tokens, references, generated], each piece of which is filled up.

    The texts are, for each reference, the one before it, then the caption, then those that are left. A piece that is missing
    is nothing but filling.

    Raises:
        LayoutError: a reference is not made of whole tokens, at which the network itself would fail.
    """
    beside: Beside = given.beside
    for i, shape in enumerate(given.references, 1):
        if shape[-2] % given.patch or shape[-1] % given.patch:
            side = given.patch * given.factor
            raise LayoutError(
                f"reference latent {i} is {' x '.join(map(str, shape))} (batch, channels, rows, columns), but this model takes "
                f"only multiples of {given.patch} rows and columns, and fails at others; scale the picture to multiples of "
                f"{side} pixels, and switch off auto_resize_images on TextEncodeZImageOmni"
            )
    count, caption = len(given.references), text(given.words)
    around = [text(n, "text around the references") if n else None for n in beside.texts]
    around += [None] * (count - len(around))
    pieces = [*around[:count], caption, *around[count:]]
    if beside.sees:
        seen = [other(n, "vision tokens") for n in beside.vision[:count]]
        pieces += [*seen, *[None] * (count + 1 - len(seen))]
    placed = Sequence.of(*_fill([*pieces, *given.pictures, given.generated], beside.fill))
    spans = [span for span in placed.spans if span.grid.tokens]
    return Sequence(tuple(sorted(spans, key=lambda span: span.name != caption.name)), placed.keys)  # its words are the first


def _fill(pieces: list[Span | None], multiple: int) -> list[Span]:
    found = []
    for piece in pieces:
        tokens = 0 if piece is None else piece.grid.tokens
        found += [] if piece is None else [piece]
        fill = -tokens % multiple if tokens else multiple
        found += [other(fill)] if fill else []
    return found


def side_by_side(given: Given) -> Sequence:
    """HiDream-E1's [one canvas of the generated picture and the reference at its right, text].

    With an odd number of columns one column of tokens holds some of both, and is nobody's.

    Raises:
        LayoutError: the reference has other rows than the generated picture, at which the network itself would fail.
    """
    (shape,), own, patch = given.references, given.latent, given.patch
    if shape[1:-1] != own[1:-1]:
        raise LayoutError(
            f"the picture to edit is {' x '.join(map(str, shape))} (batch, channels, rows, columns), but the generated latent "
            f"is {' x '.join(map(str, own))}; they lie side by side, so give them as many rows: sample the latent that "
            f"InstructPixToPixConditioning puts out"
        )
    height, width, beside = own[-2], own[-1], shape[-1]
    rows, columns = -(-height // patch), -(-(width + beside) // patch)
    before, after = width // patch, -(-width // patch)
    down, pixels = rows * patch / height, given.factor
    made = TokenGrid(rows, before, picture=(height * pixels, width * pixels), rect=(0.0, 0.0, before * patch / width, down))
    first, last = ((cell * patch - width) / beside for cell in (after, columns))
    shown = TokenGrid(rows, columns - after, picture=(height * pixels, beside * pixels), rect=(first, 0.0, last, down))
    spans = (
        replace(generated(made), pitch=columns),
        replace(reference(shown, "reference"), start=after, pitch=columns),
        replace(text(given.words + given.beside), start=rows * columns),
    )
    return Sequence(spans, rows * columns + given.words + given.beside)


def llama_words(_network: Any, given: Mapping[str, Any]) -> int:
    """Tokens of HiDream's second text encoder in a call: those of its last layer, then those of the block's own."""
    states = given.get("encoder_hidden_states_llama3")
    return 0 if states is None else 2 * int(states.shape[2])
