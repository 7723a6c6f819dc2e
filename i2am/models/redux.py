"""FLUX.1 Redux: a style model's tokens of a picture, which the host puts behind a text, found there again by their values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import LayoutError
from ..geometry.layout import Rect, TokenGrid
from .carried import Conditioning
from .marked import Marked, mark, marked_by, probe
from .pictures import channels_first, thumbnail

CLOSE = 0.01
"""How far tokens may be from a multiple of the style model's, as a part of their size: half precision rounds them by less."""
SMALLER = ("area", "bicubic", "bilinear", "nearest", "nearest-exact")
"""How other nodes make the square of tokens smaller, before they put it behind the text."""


@dataclass(frozen=True, eq=False)
class Style:
    """What a style model makes of pictures.

    Attributes:
        tokens: (B, n, C), of each picture.
        seen: tokens of the vision encoder that they were made of, of each picture.
        side: pixels of the square that the vision encoder saw; 0: not known.
    """

    tokens: Tensor
    seen: int
    side: int = 0


def style_of(style_model: Any, vision: Any) -> Style:
    """What a STYLE_MODEL makes of a CLIP_VISION_OUTPUT, as the host's Apply Style Model gets it.

    Raises:
        LayoutError: one of them is none.
    """
    if not hasattr(style_model, "get_cond"):
        raise LayoutError(
            f"style_model got a {type(style_model).__name__}, which is no STYLE_MODEL; connect the one of Apply Style Model"
        )
    hidden = getattr(vision, "last_hidden_state", None)
    if not isinstance(hidden, Tensor) or hidden.ndim != 3:
        raise LayoutError(
            f"clip_vision_output got a {type(vision).__name__}, which is no CLIP_VISION_OUTPUT; connect CLIP Vision Encode"
        )
    sizes = getattr(vision, "image_sizes", None) or [(0,)]
    return Style(style_model.get_cond(vision).detach(), int(hidden.shape[1]), int(sizes[0][-1]))


def mark_style(conditioning: Conditioning, style: Style, pictures: Tensor | None = None, crop: str = "center") -> Conditioning:
    """The conditioning with the places of a style's tokens beside it.

    Args:
        conditioning: from Apply Style Model, or from a node behind it that leaves the tokens as they are.
        style: what was put into it.
        pictures: (B, H, W, 3 or 4) in 0-1, what the vision encoder was given; None: not known.
        crop: "center" or "none", how the vision encoder's square was made of them.

    Raises:
        LayoutError: its tokens are not in it, or are marked already, or the number of pictures is another.
    """
    count, each, _ = style.tokens.shape
    if pictures is not None and len(pictures) not in (1, count):
        raise LayoutError(
            f"image holds {len(pictures)} pictures, but clip_vision_output is of {count}; connect the IMAGE that CLIP Vision "
            f"Encode got"
        )
    grids = [_grid(style, each, None if pictures is None else pictures[min(i, len(pictures) - 1)], crop) for i in range(count)]
    small = [None if pictures is None else _small(pictures[min(i, len(pictures) - 1)]) for i in range(count)]
    marks, again = [], False
    for text, about in conditioning:
        found, twice = _place(text, style.tokens, marked_by(about, text), grids, small)
        marks.append(found)
        again |= twice
    if any(marks):
        return mark(conditioning, marks)
    if again:
        raise LayoutError("this picture's tokens are marked already; one I²AM Mark Redux is enough for each Apply Style Model")
    seen = " and ".join(f"{text.shape[1]} tokens of {text.shape[2]} numbers" for text, _ in conditioning) or "nothing"
    raise LayoutError(
        f"the conditioning holds {seen}, among which the {count * each} tokens of {style.tokens.shape[2]} numbers that "
        f"style_model makes of clip_vision_output are not, nor a smaller square of them; connect the CONDITIONING of Apply "
        f"Style Model, and here the same style_model and clip_vision_output, with a strength above 0 (a node that drops some "
        f"of the tokens is not known)"
    )


def locate(text: Tensor, tokens: Tensor) -> list[int]:
    """Where a multiple above 0 of ``tokens``, (n, C), lies in ``text``, (T, C): the first token of each place.

    >>> from torch import eye
    >>> text = eye(5)
    >>> locate(text, 2 * text[1:3])
    [1]
    """
    if tokens.shape[1] != text.shape[1] or len(tokens) > len(text):
        return []
    text, tokens = text.detach().float().cpu(), tokens.detach().float().cpu()
    first, whole = tokens[0], float((tokens**2).sum())
    if not whole:
        return []
    alike = text @ first >= (1 - CLOSE) * text.norm(dim=1) * first.norm()
    found = []
    for start in alike[: len(text) - len(tokens) + 1].nonzero()[:, 0].tolist():
        part = text[start : start + len(tokens)]
        times = float((part * tokens).sum()) / whole
        if times > 0 and float((part - times * tokens).norm()) <= CLOSE * float(part.norm()):
            found.append(start)
    return found


def _place(
    text: Tensor,
    tokens: Tensor,
    there: Sequence[Marked],
    grids: Sequence[TokenGrid],
    small: Sequence[Tensor | None],
) -> tuple[list[Marked], bool]:
    """The marks of one text, and whether they are there already."""
    twice = False
    for own, cells in _sizes(tokens, grids[0]):
        block = own.flatten(0, 1)
        places = locate(text[0], block)
        free = [start for start in places if not any(one.start < start + len(block) and start < one.stop for one in there)]
        twice |= bool(places) and not free
        if free:
            out, start = [], free[0]
            for grid, picture in zip(grids, small, strict=True):
                kept = replace(grid, rows=cells[0], columns=cells[1])
                stop = start + kept.tokens
                out.append(Marked(start, kept, probe(text, start, stop), picture))
                start = stop
            return out, False
        if twice:
            break
    return [], twice


def _sizes(tokens: Tensor, grid: TokenGrid) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """The tokens, then each smaller square of them, with its rows and columns."""
    yield tokens, (grid.rows, grid.columns)
    if grid.leading or grid.rows < 2:
        return
    square = tokens.float().transpose(1, 2).unflatten(2, (grid.rows, grid.columns))
    for side in range(grid.rows - 1, 1, -1):
        for how in SMALLER:
            smooth = {"align_corners": False} if how in ("bicubic", "bilinear") else {}
            yield interpolate(square, size=(side, side), mode=how, **smooth).flatten(2).transpose(1, 2), (side, side)


def _grid(style: Style, each: int, picture: Tensor | None, crop: str) -> TokenGrid:
    """The places of a picture's tokens: only of such as were made one by one of a vision encoder's square of patches."""
    if each != style.seen:
        return TokenGrid(0, 0, each)
    for leading in (0, 1):
        side = math.isqrt(each - leading)
        if side > 1 and side**2 == each - leading:
            size = None if picture is None else (int(picture.shape[0]), int(picture.shape[1]))
            return TokenGrid(side, side, leading, size, _rect(size, crop, _covered(style.side, side)))
    return TokenGrid(0, 0, each)


def _covered(pixels: int, side: int) -> float:
    """The part of a square of pixels, along each side, that whole patches cover."""
    return side * (pixels // side) / pixels if pixels >= side else 1.0


def _rect(size: tuple[int, int] | None, crop: str, covered: float) -> Rect | None:
    """The part of a picture of (H, W) that the patches lie on; None: it is not known."""
    if size is None:
        return None
    height, width = (min(size) / each if crop == "center" else 1.0 for each in size)
    left, top = (1 - width) / 2, (1 - height) / 2
    return left, top, left + covered * width, top + covered * height


def _small(picture: Tensor) -> Tensor:
    shown = channels_first(picture[None].detach().cpu().float())
    scale = min(1.0, 512 / max(shown.shape[-2:]))
    size = [max(1, round(scale * side)) for side in shown.shape[-2:]]
    return thumbnail(interpolate(shown, size=size, mode="area")[0])
