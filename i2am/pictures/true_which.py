"""Which of its two references each pixel of a drawn edit truly comes from, in the colours that maps of it have."""

from __future__ import annotations

import torch
from PIL import Image

from ..drawn.groups import Edits
from ..levels.heat import Heat
from .which import paint_which


def true_shares(edits: Edits, index: int = 0) -> Heat:
    """The truth as shares of person and garment, 0 or 1 at every pixel; both are 0 where neither reference shows it."""
    truth = torch.cat([edits.from_person[index], edits.from_garment[index]])
    size = int(truth.shape[1]), int(truth.shape[2])
    return Heat(truth, "which reference", "generated", "truth", ("person", "garment"), size, parts=2)


def true_which(answer: Image.Image, edits: Edits, index: int = 0) -> Image.Image:
    """The right answer in pale grey, each pixel in the colour of the reference that it comes from; see `paint_which`."""
    return paint_which(answer, true_shares(edits, index))
