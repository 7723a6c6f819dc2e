"""What a recording needs to know of a family of joint-attention transformers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from torch import Tensor

from ....geometry.layout import TokenGrid
from ....geometry.sequence import Range, Sequence, Span, generated, reference, text

KEPT = "the references' keys of the first step are kept: later steps attend to those"
Grid = tuple[int, int]
"""(rows, columns) of tokens."""


@dataclass(frozen=True, eq=False)
class Alone:
    """One picture behind a text, without references beside it: a canvas, where some of it is a reference.

    Attributes:
        texts: the text before it.
        whole: the picture.
        mask: what is made of it, 1 inside, (pixels of its rows, of its columns); None: the arguments do not say it.
    """

    texts: tuple[Span, ...]
    whole: Span
    mask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Said:
    """What the arguments of one evaluation say of its tokens.

    Attributes:
        sequence: of its joint attention calls; None: there is no reference.
        generated: (rows of the batch, N, channels), the generated picture's tokens as the transformer is given them.
        grid: of those.
        references: the references' tokens or latents, in a tensor of any shape; None: they are kept from an earlier step.
        notes: remarks for the reader of the maps.
        rows: each row's own sequence, for networks that are called with both branches at once, whose texts differ; empty: all
            rows have ``sequence``.
        time: the share of noise, 1 to 0, where no argument ``timestep`` says it.
        alone: the picture, where there is no reference and the family's order with a canvas is known.
        takes_redux: whether the text may hold tokens of Redux's picture.
    """

    sequence: Sequence | None
    generated: Tensor
    grid: Grid
    references: Tensor | None = None
    notes: tuple[str, ...] = ()
    rows: tuple[Sequence, ...] = ()
    time: float | None = None
    alone: Alone | None = None
    takes_redux: bool = False


class Family(Protocol):
    """One transformer of a family, in one recording."""

    takes: ClassVar[str]
    """The models it covers, in words."""
    network: ClassVar[str]
    """The name of its class in diffusers."""
    blocks: ClassVar[tuple[str, ...]]
    """Its lists of blocks whose attention is over the whole sequence."""
    patch: ClassVar[int]
    """Latent cells per token, along each side."""
    factor: ClassVar[int]
    """Pixels per latent cell, along each side, of the models' own autoencoder."""

    def read(self, given: Mapping[str, Any], pixels: int | None) -> Said:
        """What the arguments of a call of the transformer's ``forward``, by name, say.

        Args:
            given: the arguments; ``self`` is the transformer.
            pixels: of a token, along each side; None: unknown.

        Raises:
            LayoutError: they do not say what the tokens are.
        """


def picture_grid(grid: Grid, pixels: int | None) -> TokenGrid:
    """The token grid of a whole picture."""
    rows, columns = grid
    return TokenGrid(rows, columns, picture=None if pixels is None else (rows * pixels, columns * pixels))


def reference_spans(grids: Iterable[Grid], pixels: int | None) -> list[Span]:
    """References in order: "reference", or "reference 1", "reference 2" … where there are several."""
    found = [picture_grid(grid, pixels) for grid in grids]
    return [reference(grid, f"reference {i}" if len(found) > 1 else "reference") for i, grid in enumerate(found, 1)]


def text_first(words: int, pictures: list[Grid], pixels: int | None, queries: tuple[Range, ...] = ()) -> Sequence | None:
    """[text, generated, reference 1, reference 2, …], where the first picture is the generated one; None: no reference."""
    if len(pictures) < 2:
        return None
    return Sequence.of(
        *([text(words)] if words else []),
        generated(picture_grid(pictures[0], None)),
        *reference_spans(pictures[1:], pixels),
        queries=queries,
    )


def alone(words: int, pictures: list[Grid], pixels: int | None, mask: Tensor | None = None) -> Alone | None:
    """[text, picture]; None: there are references."""
    if len(pictures) != 1:
        return None
    texts = (text(words),) if words else ()
    return Alone(texts, replace(generated(picture_grid(pictures[0], pixels)), start=words), mask)
