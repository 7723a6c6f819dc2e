"""A canvas: reference and result lie in one picture, and a mask says which part of it the model makes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import LayoutError
from .layout import Rect, TokenGrid
from .parts import cut
from .sequence import Sequence, Span, generated

PAINTED = 0.5
"""A pixel is made where its mask is at least this, as where the host greys the picture out for the model."""


@dataclass(frozen=True)
class Canvas:
    """What the tokens of a canvas are.

    Attributes:
        sequence: of the call: the text, then the canvas, of which some tokens are generated and some a reference's.
        notes: what a reader of its maps must know.
    """

    sequence: Sequence
    notes: tuple[str, ...]


def arrange(texts: tuple[Span, ...], whole: Span, mask: Tensor, rects: tuple[Rect, ...]) -> Canvas:
    """The tokens of a canvas.

    Args:
        texts: the text before it, and references within that.
        whole: the canvas as one picture.
        mask: what is made of it, 1 inside, (pixels or cells of a latent's rows, and of its columns).
        rects: the parts of it that are references, (left, top, right, bottom) in fractions.

    Raises:
        LayoutError: what is made and the references lie in each other, or nothing is made.
    """
    grid, words = whole.grid, texts[-1].stop if texts else whole.start
    painted = _tokens(mask, grid)
    references = cut(replace(whole, role="reference", name="reference", start=words), rects)
    owned = torch.zeros(grid.rows * grid.columns, dtype=torch.bool)
    for span, rect in zip(references, rects, strict=True):
        positions = span.positions() - words
        owned[positions] = True
        count = int(painted.flatten()[positions].sum())
        if count:
            swapped = "; is the mask inverted, or the rectangle that of the other side?" if count == len(positions) else ""
            raise LayoutError(
                f"the mask paints over {count} of the {len(positions)} tokens of {list(rect)} in reference_parts, but what the "
                f"model makes is no reference; give the rectangle of the part that is kept, and mask only what is to be "
                f"made{swapped}"
            )
    touched = torch.stack([_touched(grid, rect) for rect in rects]).any(0)
    free = painted & ~touched
    if not free.any():
        raise LayoutError(
            "the mask paints nothing of the canvas beside reference_parts, so nothing is made that could be attributed to it; "
            "mask the part of the canvas that is to be made"
        )
    rows, columns = (slice(int(x.min()), int(x.max()) + 1) for x in free.nonzero().T)
    if touched[rows, columns].any():
        raise LayoutError(
            "what the mask paints lies on several sides of a part in reference_parts, so no rectangle of the canvas holds it "
            "alone; mask one side of the reference"
        )
    made = _generated(grid, rows, columns, words)
    sequence = Sequence((*texts, made, *references), words + len(owned))
    return Canvas(sequence, tuple(_notes(painted[rows, columns], int((touched.flatten() & ~owned).sum()))))


def _notes(painted: Tensor, mixed: int) -> list[str]:
    said = (
        "reference and result lie on one canvas: the parts in reference_parts are the references, and maps of the generated "
        "picture lie on the rectangle around what the mask paints"
    )
    kept = int((~painted).sum())
    if kept:
        said += f", of which {kept} of {painted.numel()} tokens are kept as they are"
    if mixed:
        said += f"; {mixed} tokens at an edge hold some of a reference and some of the rest, and count as nobody's"
    return [said]


def _tokens(mask: Tensor, grid: TokenGrid) -> Tensor:
    """(rows, columns): whether something of a token is made."""
    across, down = (int(side) for side in _per_token(mask, grid))
    filled = torch.zeros(grid.rows * down, grid.columns * across)
    filled[: mask.shape[0], : mask.shape[1]] = mask
    return filled.unflatten(1, (grid.columns, across)).unflatten(0, (grid.rows, down)).amax((1, 3)) >= PAINTED


def _per_token(mask: Tensor, grid: TokenGrid) -> tuple[float, float]:
    """Columns and rows of a mask that a token covers; the last may reach beyond it."""
    assert grid.rect is not None
    return round(mask.shape[1] * grid.rect[2] / grid.columns), round(mask.shape[0] * grid.rect[3] / grid.rows)


def _touched(grid: TokenGrid, rect: Rect) -> Tensor:
    """(rows, columns): the tokens that hold something of a rectangle."""
    assert grid.rect is not None
    left, top, right, bottom = rect
    inside = []
    for count, covered, first, last in ((grid.rows, grid.rect[3], top, bottom), (grid.columns, grid.rect[2], left, right)):
        edges = torch.arange(count + 1) / count * covered
        inside.append((edges[:-1] < last - 1e-6) & (edges[1:] > first + 1e-6))
    return inside[0][:, None] & inside[1]


def _generated(grid: TokenGrid, rows: slice, columns: slice, words: int) -> Span:
    assert grid.rect is not None
    across, down = grid.rect[2] / grid.columns, grid.rect[3] / grid.rows
    rect = (columns.start * across, rows.start * down, columns.stop * across, rows.stop * down)
    own = TokenGrid(rows.stop - rows.start, columns.stop - columns.start, picture=grid.picture, rect=rect)
    return replace(generated(own), start=words + rows.start * grid.columns + columns.start, pitch=grid.columns)
