"""Pictures as the vision encoder of Wan 2.1 gives them: so many tokens for each, in rows behind a class token."""

from __future__ import annotations

from ..errors import LayoutError
from ..geometry.layout import WHOLE, Rect, Reference, TokenGrid

SIDE = 16
"""Rows and columns of patches in the vision encoder of these models (CLIP ViT-H at 224 pixels), behind a class token."""
EACH = SIDE**2 + 1
"""Tokens of a picture."""


def pictures_of(tokens: int, seen: str, remedy: str, softmax: int = 0, rect: Rect | None = WHOLE) -> tuple[Reference, ...]:
    """What a vision encoder's tokens of one picture, or of the first and the last one, are.

    Args:
        tokens: how many there are.
        seen: what has them, for a message.
        remedy: what to do where they are of another encoder.
        softmax: see `Reference`.
        rect: of a picture that they show; the whole is the square that the encoder saw, None is not known.

    Raises:
        LayoutError: they are of another encoder.
    """
    count, left = divmod(tokens, EACH)
    if left or not count:
        raise LayoutError(
            f"{seen} {tokens} tokens, expected {EACH} a picture ({SIDE} x {SIDE} patches behind a class token); {remedy}"
        )
    grid = TokenGrid(SIDE, SIDE, leading=1, rect=rect)
    names = ["reference"] if count == 1 else [f"reference {i}" for i in range(1, count + 1)]
    return tuple(Reference(grid, EACH * i, name, softmax) for i, name in enumerate(names))
