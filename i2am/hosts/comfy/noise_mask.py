"""The mask that travels with a latent: what the sampler repaints."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...geometry.masks import has_two_sides


def noise_mask(denoise_mask: Tensor | None) -> Tensor | None:
    """A sampler's ``denoise_mask``, (B, C, …, h, w), 1 = repainted, as (B, h, w); None where it has no inside or no outside.

    The host has brought it to the latent's size already, and repeated it over its channels.
    """
    if denoise_mask is None or denoise_mask.ndim < 3:
        return None
    mask = denoise_mask.flatten(1, -3)[:, 0] if denoise_mask.ndim > 3 else denoise_mask
    mask = mask.detach().cpu().float().clamp(0, 1)
    return mask if has_two_sides(mask) else None


def canvas_mask(mask: Tensor | None, guider: Any) -> Tensor | None:
    """A `noise_mask` where it may say which part of a canvas is made; None where it says what of a picture is repainted.

    A run whose conditionings bring reference latents has its references there: its latent is a canvas in no branch.
    """
    brings = any(entry.get("reference_latents") for entries in guider.conds.values() for entry in entries or ())
    return None if brings else mask
