"""The colour bar beside a map."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from ..errors import I2AMError
from .colours import Floats, colourise
from .lettering import BASELINE, INK, PAPER, QUIET, draw_text, line_height, power_text, text_width, tick_labels


def mix(base: Floats, colour: Floats | tuple[int, int, int], share: Floats) -> Floats:
    """Colours (H, W, 3) blended with others, whose share in each pixel is (H, W) in 0-1.

    >>> mix(np.zeros((1, 1, 3), np.float32), (200, 100, 0), np.full((1, 1), 0.5, np.float32)).tolist()
    [[[100.0, 50.0, 0.0]]]
    """
    mixed: Floats = base + (np.asarray(colour, np.float32) - base) * share[..., None]
    return mixed


def colour_bar(
    height: int,
    low: float,
    high: float,
    *,
    colours: str = "inferno",
    invert: bool = False,
    threshold: float | None = None,
    contour: float | None = None,
    flat: bool = False,
    text: int = 15,
) -> Image.Image:
    """A vertical scale with raw values at its ticks; ``info["ticks"]`` lists (place in 0-1, raw value).

    ``threshold`` greys out what is hidden, ``contour`` marks the value of the line, ``flat`` shows one value and
    no colours, ``invert`` puts the lowest raw value at the upper end.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise I2AMError(f"a colour bar runs from a low to a high raw value, got {low:g} to {high:g}")
    count = 1 if flat else 5 if height > 12 * text else 3 if height > 6 * text else 2
    places = [0.5] if flat else [i / (count - 1) for i in range(count)]
    raw = [low + (1 - t if invert else t) * (high - low) for t in places]
    labels, power = tick_labels(raw)
    small = max(12, text - 1)
    head = power_text(power)
    bar, tick, half = round(text * 0.95), round(text * 0.35), line_height(small) // 2
    top = line_height(small) + half if head else half
    length = max(height - top - half, 3 * text)
    columns = bar + 2 * tick
    width = columns + math.ceil(max(text_width(s, small) for s in labels))
    out = Image.new("RGB", (max(width, math.ceil(text_width(head, small))), top + length + half), PAPER)
    draw = ImageDraw.Draw(out)
    draw_text(out, (0, 0), head, small, QUIET)
    t = np.linspace(1, 0, length, dtype=np.float32)[:, None]
    strip = np.full((length, 1, 3), 225, np.float32) if flat else colourise(t, colours).astype(np.float32)
    if threshold is not None and not flat:
        strip = mix(strip, PAPER, 0.85 * (t <= threshold).astype(np.float32))
    out.paste(Image.fromarray(np.repeat(strip, bar, 1).astype(np.uint8)), (0, top))
    draw.rectangle((0, top, bar - 1, top + length - 1), outline=QUIET)
    if contour is not None and not flat:
        y = top + round((1 - contour) * (length - 1))
        draw.rectangle((0, y - 2, bar - 1, y + 2), fill=INK)
        draw.rectangle((0, y - 1, bar - 1, y + 1), fill=PAPER)
    for place, label in zip(places, labels, strict=True):
        y = top + round((1 - place) * (length - 1))
        draw.line((bar, y, bar + tick - 1, y), fill=QUIET)
        draw_text(out, (columns, y - round(small * (BASELINE - 0.35))), label, small, INK)
    out.info["ticks"] = tuple(zip(places, raw, strict=True))
    return out
