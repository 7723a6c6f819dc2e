"""Runs whose answer is known: attention as it is told to be, and pictures of a print at known places."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from i2am.geometry.layout import Layout, TokenGrid
from i2am.maps.facts import RunInfo
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder

GENERATED, REFERENCE = (32, 24), (20, 14)
SIZE, GARMENT = (128, 96), (160, 112)
"""(H, W) of the generated picture and of the reference."""
STEPS = 5
BOX = (40, 64, 72, 96)
"""Left, top, right and bottom of the print on the reference."""
TURN = torch.tensor([[0.82, 0.06], [-0.06, 0.76]])
SHIFT = torch.tensor([8.0, 1.0])
"""A reference pixel p (x, y) belongs at ``p @ TURN + SHIFT`` of the generated picture."""
MARKS = {
    "F": ((0, 0, 8, 32), (0, 0, 28, 8), (0, 13, 20, 20)),
    "U": ((2, 0, 9, 32), (23, 0, 30, 32), (2, 25, 30, 32)),
}
"""Rectangles of a print of 32 x 32."""


def home() -> Tensor:
    """(Q, 2) the row and column, in cells of the reference from the middle of the first, that each patch belongs to."""
    rows, columns = torch.meshgrid(torch.arange(GENERATED[0]), torch.arange(GENERATED[1]), indexing="ij")
    pixels = torch.stack([columns.flatten() * 4 + 2.0, rows.flatten() * 4 + 2.0], 1)
    return ((pixels - SHIFT) @ torch.linalg.inv(TURN)).flip(1) / 8 - 0.5


def looking_at(places: Tensor, width: float = 0.8) -> Tensor:
    """(Q, K) logits of a bell about each place."""
    rows, columns = torch.meshgrid(torch.arange(REFERENCE[0]), torch.arange(REFERENCE[1]), indexing="ij")
    cells = torch.stack([rows.flatten(), columns.flatten()], 1).float()
    inside = torch.minimum(places.clamp(min=0), torch.tensor(REFERENCE) - 1.0)
    return -(inside[:, None] - cells).square().sum(-1) / (2 * width**2)


def run(logits: Callable[[int], Tensor], *, pairwise: str | None = "mean") -> AttributionMaps:
    """A recording of one layer whose softmax at each step is that of the logits (Q, K)."""
    count = REFERENCE[0] * REFERENCE[1]
    layout, keys = Layout.of(TokenGrid(*REFERENCE, picture=GARMENT)), torch.eye(count)[None, None]
    recorder = Recorder(lambda _: layout, steps=STEPS, groups=STEPS, pairwise=pairwise, generated_size=SIZE)
    for step in range(STEPS):
        recorder.observe("up.0", GENERATED, step, "cond", logits(step)[None, None], keys, None, scale=1.0)
        recorder.end_step(step)
    return recorder.finish(RunInfo(steps=STEPS))


def printed(name: str, colour: tuple[int, int, int] = (200, 30, 40)) -> Image.Image:
    """The reference: a grey cloth with soft stripes and a print in `BOX`."""
    pixels = np.full((*GARMENT, 3), 180, np.uint8)
    pixels[::16, :, 2] = 150
    for left, top, right, bottom in MARKS[name]:
        pixels[BOX[1] + top : BOX[1] + bottom, BOX[0] + left : BOX[0] + right] = colour
    return Image.fromarray(pixels)


def worn(reference: Image.Image) -> Image.Image:
    """The generated picture: the reference where it belongs."""
    back = torch.linalg.inv(TURN)
    offset = -SHIFT @ back
    (a, d), (b, e) = back.tolist()
    data = (a, b, float(offset[0]), d, e, float(offset[1]))
    return reference.transform((SIZE[1], SIZE[0]), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)


def region(box: tuple[int, int, int, int] = BOX) -> Tensor:
    """(160, 112), 1 in a box of the reference."""
    mask = torch.zeros(GARMENT)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return mask


def belongs() -> tuple[float, float]:
    """(x, y) on the generated picture of the middle of the print."""
    x, y = torch.tensor([(BOX[0] + BOX[2]) / 2, (BOX[1] + BOX[3]) / 2]) @ TURN + SHIFT
    return float(x), float(y)
