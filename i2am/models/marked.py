"""Which tokens of a text are a picture's, written beside a ComfyUI conditioning, so that a recording never guesses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import LayoutError
from ..geometry.layout import TokenGrid
from .carried import Conditioning, pair, rect

KEY = "i2am_marked"
FORMAT = 1
PROBED = 8
"""Numbers that are kept of the first marked token, and of the last."""


@dataclass(frozen=True, eq=False)
class Marked:
    """The tokens of one picture in a text.

    Attributes:
        start: the first of them, counted from the text's first token.
        grid: where they lie in their picture.
        probe: some of their numbers, see `probe`.
        thumbnail: the picture, (H, W, 3) uint8; None: not known.
    """

    start: int
    grid: TokenGrid
    probe: tuple[float, ...]
    thumbnail: Tensor | None = None

    @property
    def stop(self) -> int:
        """One past the last of them."""
        return self.start + self.grid.tokens


def probe(text: Tensor, start: int, stop: int) -> tuple[float, ...]:
    """The first numbers of a text's token ``start`` and the last ones of token ``stop - 1``; ``text`` is (B, T, C)."""
    first, last = text[0, start, :PROBED], text[0, stop - 1, -PROBED:]
    return tuple(float(x) for x in torch.cat([first, last]).detach().float().cpu())


def mark(conditioning: Conditioning, marks: Sequence[Sequence[Marked]]) -> Conditioning:
    """The conditioning with ``marks`` beside each of its entries, behind those that are there; nothing is changed in place."""
    return [
        [text, {**about, KEY: [*about.get(KEY, ()), *map(_plain, own)]}] if own else [text, about]
        for (text, about), own in zip(conditioning, marks, strict=True)
    ]


def marked_by(about: Mapping[str, Any], text: Tensor | None) -> tuple[Marked, ...]:
    """The marks in one entry's options (or the host's own copy of them), in the order of their tokens.

    Args:
        about: the options.
        text: the entry's tokens as they are now, (B, T, C).

    Raises:
        LayoutError: they were written by a newer version of this pack, or the text is no longer the one that was marked.
    """
    found = sorted((_marked(plain) for plain in about.get(KEY, ())), key=lambda each: each.start)
    for one in found:
        tokens = 0 if text is None else int(text.shape[1])
        if text is None or one.stop > tokens or probe(text, one.start, one.stop) != one.probe:
            raise LayoutError(
                f"tokens {one.start} to {one.stop} of the text were marked as a picture's, but the {tokens} tokens of the text "
                f"are others there now: a node behind I²AM Mark Redux changed them (such as ConditioningZeroOut or "
                f"ConditioningAverage); put I²AM Mark Redux behind that node, or leave the node out"
            )
    return tuple(found)


def _plain(marked: Marked) -> dict[str, Any]:
    grid = marked.grid
    return {
        "format": FORMAT,
        "start": marked.start,
        "rows": grid.rows,
        "columns": grid.columns,
        "leading": grid.leading,
        "picture": grid.picture,
        "rect": grid.rect,
        "probe": marked.probe,
        "thumbnail": marked.thumbnail,
    }


def _marked(plain: dict[str, Any]) -> Marked:
    if plain.get("format") != FORMAT:
        raise LayoutError(
            f"the conditioning carries marks of format {plain.get('format')!r}, this version reads {FORMAT}; use one version "
            f"of the pack"
        )
    grid = TokenGrid(plain["rows"], plain["columns"], plain["leading"], pair(plain["picture"]), rect(plain["rect"]))
    return Marked(int(plain["start"]), grid, tuple(plain["probe"]), plain["thumbnail"])
