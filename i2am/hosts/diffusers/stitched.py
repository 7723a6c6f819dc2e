"""Several pictures in one: references that were stitched together, or reference and result on one canvas."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.nn import functional

from ...errors import LayoutError
from ...geometry.canvas import arrange
from ...geometry.masks import as_mask
from ...geometry.parts import Parts, apart, parts_of
from ...geometry.sequence import Sequence
from .families.family import Said
from .redux import behind_text, without_canvas


@dataclass(frozen=True, eq=False)
class Stitched:
    """What a person says of a picture that holds several.

    Attributes:
        parts: the rectangles, see `geometry.parts`; none: every picture is one.
        mask: what is made of a canvas, 1 inside, (H, W) of it; None: the model is given a mask of its own.
        redux: whether the text ends in the tokens of Redux's picture.
    """

    parts: Parts = ()
    mask: Tensor | None = None
    redux: bool = False

    @classmethod
    def of(cls, parts: Any, mask: Any, redux: bool = False) -> Stitched:
        """From the arguments of `record`.

        Raises:
            LayoutError: the parts are no rectangles, or there is a mask without them.
            MaskError: the mask is none.
        """
        parts = parts.tolist() if hasattr(parts, "tolist") else parts
        if not parts or parts == "[]":
            if mask is not None:
                raise LayoutError("canvas_mask is given without reference_parts; say which part of the canvas is the reference")
            return cls(redux=redux)
        given = as_mask(mask, "canvas_mask") if mask is not None else None
        if given is not None and given.ndim != 2:
            raise LayoutError(f"canvas_mask has the shape {tuple(given.shape)}, expected (H, W) of the whole canvas")
        return cls(parts_of(parts if isinstance(parts, str) else _written(parts)), given, redux)

    def told(self, said: Said) -> Said:
        """What a call says, with the parts.

        Raises:
            LayoutError: they do not fit its pictures, or what is made of a canvas is not known.
        """
        said = behind_text(said) if self.redux else said
        if not self.parts:
            return without_canvas(said) if self.redux else said
        return self._on_canvas(said) if said.sequence is None else self._apart(said, said.sequence)

    def _apart(self, said: Said, sequence: Sequence) -> Said:
        whole = sequence.references
        if self.mask is not None:
            raise LayoutError("canvas_mask is for a canvas, but this run has references beside the picture; leave it out")
        count = len(whole) - self.redux
        if len(self.parts) > count:
            raise LayoutError(
                f"reference_parts has lists for {len(self.parts)} references, but the run has {count}; give one list for "
                f"each, and an empty one, [], for a reference that is one picture"
            )
        parts = (*[()] * self.redux, *self.parts)
        return replace(said, sequence=apart(sequence, parts), rows=tuple(apart(row, parts) for row in said.rows))

    def _on_canvas(self, said: Said) -> Said:
        one = said.alone
        if one is None:
            raise LayoutError(
                "reference_parts are given, but the run has no reference, and of this model's canvases the order of tokens is "
                "not known; give the pipeline its `image`, or use FLUX.1 or Qwen-Image"
            )
        if len(self.parts) > 1 or not self.parts[0]:
            raise LayoutError(
                f"reference_parts has lists for {len(self.parts)} references, but the run has none, and the picture is one "
                f"canvas; give one list, of the parts of the canvas that are references"
            )
        mask, grid = one.mask, one.whole.grid
        if mask is None and self.mask is not None:
            mask = functional.adaptive_max_pool2d(self.mask[None], (grid.rows, grid.columns))[0]
        elif mask is None:
            raise LayoutError(
                "the model is not given a mask of the canvas, as FLUX.1 Fill is; say with canvas_mask what the pipeline makes "
                "of it: its mask_image, white inside"
            )
        elif self.mask is not None:
            raise LayoutError(
                "this model is given a mask of its own, which says what is made of the canvas; leave canvas_mask out"
            )
        canvas = arrange(one.texts, one.whole, mask, self.parts[0])
        return replace(said, sequence=canvas.sequence.numbered(), notes=(*said.notes, *canvas.notes))


def _written(parts: Any) -> str:
    try:
        return json.dumps(parts)
    except (TypeError, ValueError):
        return str(parts)


SINGLE = Stitched()
"""Every picture is one."""
