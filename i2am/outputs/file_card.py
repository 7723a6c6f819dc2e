"""A file's name as a picture: what a host shows on the node that wrote it, whatever draws its nodes."""

from __future__ import annotations

from PIL import Image

from ..pictures.lettering import INK, PAPER, QUIET, wrap
from ..pictures.sheet import block, set_lines

WIDTH = 560
"""Of the picture, in pixels."""
TEXT, EDGE = 26, 20


def file_card(name: str, about: str) -> Image.Image:
    """A file's name, and below it in smaller letters what it is; an RGB picture 560 pixels wide."""
    parts = ((name, TEXT, INK), (about, TEXT - 5, QUIET))
    lines = [(line, size, fill) for text, size, fill in parts for line in wrap(text, size, WIDTH - 2 * EDGE)]
    card = Image.new("RGB", (WIDTH, block(lines) + 2 * EDGE), PAPER)
    set_lines(card, (EDGE, EDGE), lines)
    return card
