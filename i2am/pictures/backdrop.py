"""The picture to draw a map on when none is given: the recording's own thumbnail, or a neutral grey."""

from __future__ import annotations

from PIL import Image

from ..geometry.resample import Size
from ..maps.value import AttributionMaps

NEUTRAL = (96, 96, 96)


def neutral(size: Size) -> Image.Image:
    """A grey picture of (H, W)."""
    return Image.new("RGB", (size[1], size[0]), NEUTRAL)


def backdrop(maps: AttributionMaps, picture: str, index: int, size: Size) -> Image.Image:
    """The kept thumbnail of a "generated" image or a "reference", counted from 0, else a neutral picture of (H, W)."""
    kept = maps.thumbnails.get(picture if index == 0 else f"{picture} {index + 1}")
    return neutral(size) if kept is None else Image.fromarray(kept.numpy())
