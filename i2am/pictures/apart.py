"""A difference of two maps painted over a picture, with the scale that it is read by."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from ..geometry.resample import bicubic
from ..levels.difference import SHARE, Difference
from ..levels.heat import box_of
from .bar import colour_bar, mix
from .colours import DIVERGING, colourise
from .paint import FADE, FULL

PALE = 0.35
"""How far the grey picture below is lightened, so that both colours show on it."""
OPACITY = 0.95
UNITS = {SHARE: "percentage points", "mean": "× of each map's own mean"}
"""What the numbers of a scale count."""


def paint_difference(picture: Image.Image, apart: Difference, limit: float | None = None) -> Image.Image:
    """What the second run has more (orange) and less (blue) than the first, over the picture in grey.

    Args:
        picture: what the maps lie on, of any size.
        limit: the absolute difference that has the strongest colour; None: the largest one of this map. Where it is 0, the
            picture alone is shown.
    """
    grey = ImageOps.grayscale(picture).convert("RGB")
    pixels = np.asarray(grey, np.float32)
    pixels = pixels + (255 - pixels) * PALE
    limit = apart.limit if limit is None else limit
    if limit > 0:
        left, top, right, bottom = box_of(apart.rect, (picture.height, picture.width))
        part = (slice(max(top, 0), bottom), slice(max(left, 0), right))
        size = pixels[part].shape[:2]
        level = (bicubic(apart.values[None], (size[0], size[1]), clamped=False)[0] / limit).clamp(-1, 1).numpy()
        strength = OPACITY * np.minimum(np.abs(level) / np.float32(FULL), 1) ** np.float32(FADE)
        pixels[part] = mix(pixels[part], colourise((level + 1) / 2, DIVERGING).astype(np.float32), strength)
    return Image.fromarray((pixels + 0.5).clip(0, 255).astype(np.uint8))


def difference_bar(height: int, apart: Difference, text: int, limit: float | None = None) -> Image.Image:
    """The scale of a difference, centred at 0; see `UNITS` for what its numbers count."""
    limit = apart.limit if limit is None else limit
    most = 100 * limit if apart.unit == SHARE else limit
    return colour_bar(height, -most, most, colours=DIVERGING, flat=limit <= 0, text=text)
