"""Masks in every form that people save them in, and what cannot be a mask."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import MaskError
from .pictures import SIXTEEN, read_upright, upright

log = logging.getLogger("i2am")

Array = NDArray[np.float32]
NEUTRAL = 12
"""How far the channels of a grey pixel may lie apart, of 255: what a JPEG leaves."""
COLOURED = 0.005
"""The share of coloured pixels from which on a picture is one in colours."""
HALF = 0.5
HANDS = (14, 15)
"""The left and the right arm, with its hand, in VITON-HD's parse maps (the labels of LIP)."""
MOST_LABELS = 20
"""Of these parse maps."""


def open_mask(path: Path, name: str = "mask") -> Image.Image:
    """A mask file as a picture of brightness, mode L, white = 1, upright; see `mask_values`.

    Raises:
        I2AMError: the file is missing or cannot be read.
        MaskError: it is no mask, or it cannot be told what it means.
    """
    values = mask_values(read_upright(path), f"{name} {path}")
    return Image.fromarray((values * 255).round().astype(np.uint8))


def open_hands(path: Path) -> Image.Image:
    """The hands and arms of a parse map without the garment (VITON-HD's image-parse-agnostic-v3.2), white = 1, upright.

    Raises:
        I2AMError: the file is missing or cannot be read.
        MaskError: it is no map of labels.
    """
    picture = read_upright(path)
    labels = np.asarray(picture) if picture.mode in ("P", "L") else None
    if labels is None or labels.max(initial=0) >= MOST_LABELS:
        raise MaskError(
            f"{path} is not a parse map: expected a label of 0 to {MOST_LABELS - 1} per pixel, as a palette or grey picture "
            f"(image-parse-agnostic-v3.2 of VITON-HD); if it shows the hands white on black, give it as --hands"
        )
    if not np.isin(labels, HANDS).any():
        log.warning("the parse map %s shows no arm (labels %s)", path, " and ".join(map(str, HANDS)))
    return Image.fromarray(np.isin(labels, HANDS).astype(np.uint8) * 255)


def mask_tensor(picture: Image.Image, name: str = "mask") -> Tensor:
    """A mask in a Pillow picture as (1, H, W) in 0-1; see `mask_values`.

    Raises:
        MaskError: it is no mask, or it cannot be told what it means.
    """
    return torch.from_numpy(mask_values(upright(picture), name))[None]


def mask_values(picture: Image.Image, name: str = "mask") -> Array:
    """What a mask means, (H, W) in 0-1.

    Brightness, of 255 or in 16 bits of 65535; pictures that hold 0 and 1 alone mean these numbers. Palettes of two labels
    mean 0 and not 0. Where the transparency varies and the colours do not say another thing, it is the mask, opaque = 1.

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
        return _of_alpha(picture.convert("RGBA"), name)
    return _bright(_greys(picture, name), name)


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


def _of_alpha(picture: Image.Image, name: str) -> Array:
    """The mask of a picture with transparency."""
    red_green_blue, alpha = picture.convert("RGB"), np.asarray(picture.getchannel("A"), dtype=np.float32)
    if np.ptp(alpha) == 0:
        return _bright(_greys(red_green_blue, name), name)
    opaque = (alpha / 255).astype(np.float32)
    shown = np.asarray(red_green_blue)
    spread = int(np.ptp(shown[alpha > 0], axis=0).max())
    if spread <= NEUTRAL:
        return opaque
    if _is_coloured(red_green_blue):
        log.warning("the %s is a picture with transparency: what is opaque counts as white", name)
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


def _bright(values: Array, name: str) -> Array:
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
        log.warning("the %s is neither black nor white on %.0f %% of its pixels; is it a mask?", name, 100 * between)
    return out
