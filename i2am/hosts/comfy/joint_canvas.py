"""What is made of a canvas in ComfyUI: the model's own input says it, or the sampler's noise mask."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def mask_of(given: Mapping[str, Any], channels: int, noise_mask: Tensor | None) -> Tensor | None:
    """What is made of a canvas, 1 inside, (pixels or cells of the latent's rows, and of its columns); None: nothing says it.

    An inpainting model's own input says it: channels behind those of the picture hold the s x s pixels of each cell. Else
    the sampler's noise mask does. A part that is made in one image of a batch counts as made in all.

    Args:
        given: the arguments of a call.
        channels: of the latent.
        noise_mask: the sampler's, (B, h, w).
    """
    beside = given.get("c_concat")
    if isinstance(beside, Tensor) and beside.ndim == 4:
        side = math.isqrt(max(0, beside.shape[1] - channels))
        if side > 1 and beside.shape[1] == channels + side**2:
            pixels = beside[:, channels:].detach().float().cpu().amax(0)
            return pixels.unflatten(0, (side, side)).permute(2, 0, 3, 1).flatten(2).flatten(0, 1)
    return None if noise_mask is None else noise_mask.amax(0)
