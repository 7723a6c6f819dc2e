"""From the arguments of one call of a joint-attention model to what the tokens of its attention are."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ...errors import LayoutError
from ...geometry.canvas import Canvas, arrange
from ...geometry.layout import TokenGrid
from ...geometry.parts import Parts, apart
from ...geometry.sequence import Sequence, Span, generated, reference
from ...models.marked import Marked
from .joint_canvas import mask_of
from .joint_families import Family, family_of
from .joint_text import Text
from .pixels import pixels_per_cell

Shape = tuple[int, ...]
"""Of a latent: (B, C, h, w), or (B, C, frames, h, w)."""


@dataclass(frozen=True)
class Given:
    """What decides the sequence of a call.

    Attributes:
        family: the network's.
        patch: latent cells per token, along each side.
        factor: pixels per latent cell, along each side.
        latent: of the generated picture.
        text: what the tokens before or behind the pictures are.
        references: the reference latents that the network uses, in order.
        parts: the rectangles of pictures that are stitched into one reference.
        beside: what else the family's order depends on.
        mask: where there are parts but no references: what is made of the latent, see `joint_canvas.mask_of`.
    """

    family: Family
    patch: int
    factor: int
    latent: Shape
    text: Text
    references: tuple[Shape, ...]
    parts: Parts = ()
    beside: Any = None
    mask: Tensor | None = None

    @classmethod
    def of(cls, model: Any, given: Mapping[str, Any], latent: Shape, parts: Parts, noise_mask: Tensor | None = None) -> Given:
        """From the arguments of a call of a host's model, by their names there.

        ``latent`` is the shape of the sampler's, and ``noise_mask`` its mask, see `Told`.
        """
        network = model.diffusion_model
        family = family_of(network)
        if family is None:
            raise LayoutError(f"{type(network).__name__} is no joint-attention network that is known")
        context, options = given.get("c_crossattn"), given.get("transformer_options") or {}
        used = given.get("ref_latents_method") or family.method(network)
        held = given.get(family.latents)
        references = [] if used is None or held is None else family.held(held)
        return cls(
            family,
            family.patch(network),
            pixels_per_cell(model),
            latent,
            Text.of(0 if context is None else int(context.shape[1]), options if family.has_marks else {}),
            tuple(tuple(r.shape) for r in references),
            parts,
            family.beside(network, given),
            mask_of(given, latent[1], noise_mask) if parts and not references and family.has_canvas else None,
        )

    def marked(self, marks: Items[Marked]) -> Given:
        """The same with what is marked in the conditioning's text.

        Raises:
            LayoutError: two marks have a token in common, or the family's text is not known to hold a picture's tokens.
        """
        if marks and not self.family.has_marks:
            raise LayoutError(
                f"the conditioning was marked by I²AM Mark Redux, but this MODEL is a {self.family.name}, whose text is not "
                f"known to hold a picture's tokens; use a FLUX.1 model, or leave that node out"
            )
        return replace(self, text=self.text.marked(marks)) if marks else self

    @property
    def words(self) -> int:
        """Tokens of the text."""
        return self.text.tokens

    @property
    def generated(self) -> Span:
        """The tokens of the generated picture; of a video those of all its frames, one below the other, without places."""
        frame, frames = self.frame, self.frames
        return generated(frame if frames == 1 else TokenGrid(frames * frame.rows, frame.columns, rect=None))

    @property
    def frames(self) -> int:
        """Of the generated video; 1: it is a picture."""
        return self.latent[2] if self.family.video else 1

    @property
    def frame(self) -> TokenGrid:
        """The tokens of the generated picture, or of one frame of the video."""
        return _grid(self, self.latent, "the generated latent")

    @property
    def pictures(self) -> tuple[Span, ...]:
        """The tokens of each reference latent."""
        grids = (_grid(self, shape, f"reference latent {i}") for i, shape in enumerate(self.references, 1))
        return tuple(reference(grid, "reference") for grid in grids)

    @property
    def canvas(self) -> Canvas | None:
        """What the parts of the latent are, if some are a reference and some are made; None: it is one picture.

        Raises:
            LayoutError: see `geometry.canvas.arrange`, or the parts are of several references.
        """
        if self.mask is None:
            return None
        if len(self.parts) > 1 or not self.parts[0]:
            raise LayoutError(
                f"reference_parts has lists for {len(self.parts)} references, but the conditioning has none, and the latent is "
                f"one canvas; give one list, of the parts of the canvas that are references"
            )
        return arrange(self.text.spans, self.generated, self.mask, self.parts[0])

    @property
    def counts(self) -> list[int]:
        """Tokens of each reference latent."""
        return [_cells(shape, self.patch)[0] * _cells(shape, self.patch)[1] for shape in self.references]


def sequence_of(given: Given) -> Sequence:
    """The sequence of a call, in its family's order.

    Raises:
        LayoutError: a latent is no picture of this model, or the parts do not fit the references.
    """
    canvas = given.canvas
    if canvas is not None:
        return canvas.sequence.numbered()
    if len(given.parts) > len(given.references):
        raise LayoutError(
            f"reference_parts on I²AM Record has lists for {len(given.parts)} references, but the conditioning has "
            f"{len(given.references)}{_not_counted(given)}; give one list for each, and an empty one, [], for a reference that "
            f"is one picture"
        )
    whole = given.family.arrange(given)
    if given.parts and not all(span.whole for span in whole.references):
        raise LayoutError(
            "reference_parts are given, but this model takes one picture, beside the generated one on a canvas; leave them out"
        )
    return apart(whole, (*[()] * given.text.pictures, *given.parts))


def _not_counted(given: Given) -> str:
    if not given.text.pictures:
        return ""
    return " reference latents (the pictures of FLUX.1 Redux or USO, which lie in the text, have no parts)"


def _cells(shape: Shape, patch: int) -> tuple[int, int]:
    """Rows and columns of tokens of a latent; the network fills it up at the right and the bottom."""
    return -(-shape[-2] // patch), -(-shape[-1] // patch)


def _grid(given: Given, shape: Shape, what: str) -> TokenGrid:
    several = len(shape) == 5 and shape[2] != 1 and not (given.family.video and shape is given.latent)
    if len(shape) != len(given.latent) or shape[1] != given.latent[1] or several:
        beside = "" if shape is given.latent else f"; the generated latent is {_told(given.latent)}"
        raise LayoutError(
            f"{what} is {_told(shape)} (batch, channels, …, rows, columns), which is no single picture of this model{beside}; "
            f"encode each picture alone and with this model's own VAE, and sample one picture, not layers or frames"
        )
    (rows, columns), (height, width) = _cells(shape, given.patch), shape[-2:]
    rect = (0.0, 0.0, columns * given.patch / width, rows * given.patch / height)
    return TokenGrid(rows, columns, picture=(height * given.factor, width * given.factor), rect=rect)


def _told(shape: Shape) -> str:
    return " x ".join(map(str, shape))
