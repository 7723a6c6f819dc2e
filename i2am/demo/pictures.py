"""Tensors of the demo as pictures."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor


def picture_of(tensor: Tensor) -> Image.Image:
    """(3 or 1, H, W) in 0-1 to a picture."""
    array = (tensor.clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(array.expand(3, -1, -1).permute(1, 2, 0).numpy())
