"""What a picture means as a mask: brightness, labels or transparency."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import MaskError

log = logging.getLogger("i2am")

Array = NDArray[np.float32]
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error)
"""What Pillow raises over files that are not whole or not what they say."""
SIXTEEN = 65535
"""White in 16 bits."""
NEUTRAL = 12
"""How far the channels of a grey pixel may lie apart, of 255: what a JPEG leaves."""
COLOURED = 0.005
"""The share of coloured pixels from which on a picture is one in colours."""
HALF = 0.5
Warn = Callable[..., None]
"""Takes a text with its arguments, as a logger's ``warning`` does."""


def upright(picture: Image.Image) -> Image.Image:
    """A picture turned as its EXIF data says; data that cannot be read turns nothing."""
    try:
        return ImageOps.exif_transpose(picture)
    except DAMAGED:
        return picture.copy()


def mask_values(picture: Image.Image, name: str = "mask", warn: Warn = log.warning) -> Array:
    """What a mask means, (H, W) in 0-1.

    Brightness, of 255 or in 16 bits of 65535; pictures that hold 0 and 1 alone mean these numbers. Palettes of two labels
    mean 0 and not 0. Where the transparency varies and the colours do not say another thing, it is the mask, opaque = 1.

    Args:
        picture: upright.
        name: in messages.
        warn: is told where it may not be meant so.

    Raises:
        MaskError: it is a picture in colours or a map of several labels, it holds two different masks, or it is nowhere white.

    >>> mask_values(Image.new("L", (1, 1), 255)).tolist(), mask_values(Image.new("1", (1, 1), 1)).tolist()
    ([[1.0]], [[1.0]])
    """
    if picture.mode == "P" and "transparency" not in picture.info:
        labels = _labels(picture, name)
        if labels is not None:
            return labels
    if "A" in picture.getbands() or "transparency" in picture.info:
        return _of_alpha(picture.convert("RGBA"), name, warn)
    return _bright(_greys(picture, name), name, warn)


def _labels(picture: Image.Image, name: str) -> Array | None:
    """The mask of a palette picture with colours in its palette; None: it has greys alone."""
    indices = np.asarray(picture)
    used = np.unique(indices)
    palette = np.array(picture.getpalette("RGB"), dtype=np.int64).reshape(-1, 3)
    if all(np.ptp(palette[i]) <= NEUTRAL for i in used if i < len(palette)):
        return None
    if len(used) > 2 or (len(used) == 2 and used[0] != 0):
        raise MaskError(
            f"the {name} is a map of {len(used)} labels ({', '.join(map(str, used[:6]))}…), not a mask of two; save what is "
            f"meant as white on black"
        )
    return (indices != 0).astype(np.float32)


def _of_alpha(picture: Image.Image, name: str, warn: Warn) -> Array:
    """The mask of a picture with transparency."""
    red_green_blue, alpha = picture.convert("RGB"), np.asarray(picture.getchannel("A"), dtype=np.float32)
    if np.ptp(alpha) == 0:
        return _bright(_greys(red_green_blue, name), name, warn)
    opaque = (alpha / 255).astype(np.float32)
    shown = np.asarray(red_green_blue)
    spread = int(np.ptp(shown[alpha > 0], axis=0).max())
    if spread <= NEUTRAL:
        return opaque
    if _is_coloured(red_green_blue):
        warn("the %s is a picture with transparency: what is opaque counts as white", name)
        return opaque
    bright = shown.max(2).astype(np.float32) / 255
    if np.abs(bright * opaque - opaque).max() * 255 <= NEUTRAL:
        return opaque
    raise MaskError(
        f"the {name} holds two masks that differ, one in its brightness and one in its transparency; save the one that is "
        f"meant as white on black, without transparency"
    )


def _greys(picture: Image.Image, name: str) -> Array:
    """(H, W) as stored: of 255, of 65535, or 0 and 1."""
    if picture.mode in ("1", "L", "F") or picture.mode.startswith("I"):
        values = np.asarray(picture, dtype=np.float32)
        return values * 255 if picture.mode == "1" else values
    shown = picture.convert("RGB")
    if not _is_coloured(shown):
        return np.asarray(shown, dtype=np.float32).max(2)
    found = shown.getcolors(2)
    if found is not None and any(not np.any(colour) for _, colour in found):  # one colour on black
        return np.asarray(shown).any(2).astype(np.float32) * 255
    raise MaskError(
        f"the {name} is a picture in colours, not a mask; give a black and white picture (is this the agnostic picture, or the "
        f"photo that the mask belongs to?)"
    )


def _is_coloured(picture: Image.Image) -> bool:
    return bool((np.ptp(np.asarray(picture).astype(np.int16), axis=2) > NEUTRAL).mean() > COLOURED)


def _bright(values: Array, name: str, warn: Warn) -> Array:
    """Brightness in 0-1."""
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if not np.isfinite(values).all() or low < 0 or high > SIXTEEN:
        raise MaskError(
            f"the {name} holds values from {low:g} to {high:g}; expected 0 to 1, to 255, or to {SIXTEEN} in 16 bits"
        )
    out: Array = (values / (1 if high <= 1 else 255 if high <= 255 else SIXTEEN)).astype(np.float32)
    if 0 < out.max(initial=0) < HALF:
        raise MaskError(
            f"the {name} is nowhere white: its brightest value is {high:g}, so it cannot be told what it means; save it as "
            f"white on black"
        )
    between = float(((out > 0.1) & (out < 0.9)).mean()) if out.size else 0.0
    if between > HALF:
        warn("the %s is neither black nor white on %.0f %% of its pixels; is it a mask?", name, 100 * between)
    return out
