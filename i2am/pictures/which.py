"""A picture coloured by which reference each place took most from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..levels.heat import Heat, fit
from .bar import mix
from .colours import Floats
from .lettering import INK, PAPER, QUIET, draw_text, line_height, text_width, wrap
from .parts import Colour, colour_of_reference, colours_run_out
from .sheet import block, set_lines

OPACITY = 0.85
"""Of a place that took from one reference alone."""
PALE = 0.55
"""How far the picture below is lightened where it is coloured, so that grey stays apart from colours."""


def strength(share: Tensor, references: int) -> Tensor:
    """How strongly a place is coloured, 0-1: 0 where all references have an equal part, 1 where one has all.

    >>> strength(torch.tensor([0.5, 0.625, 1.0]), 2)
    tensor([0.0000, 0.5000, 1.0000])
    """
    if references < 2:
        return torch.ones_like(share)
    even = 1 / references
    return ((share - even) / (1 - even)).clamp(0, 1).sqrt()


def paint_which(picture: Image.Image, heat: Heat, opacity: float = OPACITY) -> Image.Image:
    """The picture in pale grey, each place in the colour of the reference that it took most from.

    Args:
        picture: any size.
        heat: the shares among references of one image and time, a panel for each reference; see `which_reference`.
        opacity: of a place that took from one reference alone; see `strength`.
    """
    shares = fit(heat, (picture.height, picture.width))
    total = shares.sum(0)
    most, winner = shares.max(0)
    share = most / total.clamp_min(1e-6)
    covered = (total > 0.5).float()  # beyond the grid there is nothing
    alpha: Floats = (opacity * strength(share, len(shares)) * covered).numpy()
    palette = np.asarray([colour_of_reference(i) for i in range(len(shares))], np.float32)
    return Image.fromarray((mix(_grey(picture), palette[winner.numpy()], alpha) + 0.5).clip(0, 255).astype(np.uint8))


def _grey(picture: Image.Image) -> Floats:
    grey = np.asarray(picture.convert("L"), np.float32)[..., None].repeat(3, 2)
    pale: Floats = grey + (255 - grey) * np.float32(PALE)
    return pale


def which_key(names: Sequence[str], width: int, text: int, *, named: bool = True) -> Image.Image:
    """The key to `paint_which`: each reference's colours, from an equal part on the left to all on the right.

    Args:
        names: of the references.
        width: of the key, in pixels.
        text: height of the names' letters in pixels.
        named: whether each name stands above its colours.
    """
    line, bar, small = line_height(text), round(0.8 * text), max(12, text - 4)
    labels = [wrap(name, text, width) if named else [] for name in names]
    gap = round(0.5 * text) if named else round(0.15 * text)
    said = [(row, small, QUIET) for row in wrap(colours_run_out(len(names)), small, width)]
    height = sum(len(rows) * line + bar + gap for rows in labels) + line_height(small) + block(said)
    out = Image.new("RGB", (width, height), PAPER)
    y, ramp = 0, _ramp(len(names), width)
    for i, rows in enumerate(labels):
        set_lines(out, (0, y), [(row, text, INK) for row in rows])
        y += len(rows) * line
        strip = mix(np.full((bar, width, 3), _GROUND, np.float32), colour_of_reference(i), np.tile(ramp, (bar, 1)))
        out.paste(Image.fromarray(strip.astype(np.uint8)), (0, y))
        ImageDraw.Draw(out).rectangle((0, y, width - 1, y + bar - 1), outline=QUIET)
        y += bar + gap
    ends = (f"equal, {1 / len(names):.0%}", "all, 100%")
    draw_text(out, (0, y), ends[0], small, QUIET)
    draw_text(out, (width - math.ceil(text_width(ends[1], small)), y), ends[1], small, QUIET)
    set_lines(out, (0, y + line_height(small)), said)
    return out


_GROUND: Colour = (212, 212, 212)


def _ramp(references: int, width: int) -> Floats:
    ramp: Floats = (OPACITY * strength(torch.linspace(1 / references, 1, width), references)).numpy()
    return ramp
