"""Latents of several streams: newer hosts sample a video and its sound as one flat tensor; the first stream is the pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

SHAPES = "latent_shapes"
"""Name of an argument of a guider's ``outer_sample`` and of a model's call: the shapes of the streams, in order."""


def picture_shape(given: Mapping[str, Any], flat: Tensor) -> tuple[int, ...]:
    """The shape of the pictures' latent, from the arguments of a call by name and the tensor that it samples."""
    shapes: Sequence[Sequence[int]] = given.get(SHAPES) or ()
    return tuple(shapes[0]) if len(shapes) > 1 else tuple(flat.shape)


def picture_of(flat: Tensor, shape: Sequence[int]) -> Tensor:
    """The pictures' latent, (B, …) of ``shape``, from what is sampled: (B, 1, all numbers) of several streams, or itself."""
    if flat.ndim == len(shape):
        return flat
    return flat[:, 0, : math.prod(shape[1:])].reshape(len(flat), *shape[1:])


def pictures_mask(mask: Tensor | None, shape: Sequence[int]) -> Tensor | None:
    """A sampler's mask; of a video, or of several streams the pictures' part, each frame by itself, (B * frames, C, h, w)."""
    if mask is None or len(shape) != 5:
        return mask
    own = picture_of(mask, shape)
    return own.movedim(2, 1).flatten(0, 1) if own.ndim == 5 else own


def picture_in(latent: Any) -> Tensor:
    """The pictures' latent in the numbers of a LATENT, of one stream or of several."""
    found: Tensor = latent if isinstance(latent, Tensor) else latent.unbind()[0]
    return found
