"""One panel of a heat painted over a picture."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageDraw

from ..levels.heat import Heat, Normalised, box_of, keep_above
from .bar import mix
from .colours import Floats, colourise, opencv
from .lettering import INK, PAPER, draw_text, line_height, size_of_text, text_width
from .look import ResolvedLook

OFFICIAL = (0.7, 0.5)
"""The weights of picture and colours in the authors' own overlays."""
FULL, FADE = 0.6, 1.5
"""Opacity grows as (value / FULL) ** FADE up to the value FULL: low values show the picture, high ones their colour."""


def _line_cover(values: Floats, at: float, width: float) -> Floats:
    """(H, W) in 0-1: how much of each pixel is covered by the iso-line at a value, ``width`` pixels wide.

    The distance to the line is |value − at| / |gradient|, trusted only near a true crossing.
    """
    if min(values.shape) < 2:
        return np.zeros_like(values)
    cv2 = opencv()
    slope_y, slope_x = np.gradient(values)
    distance = np.abs(values - at) / np.maximum(np.hypot(slope_x, slope_y), 1e-6)
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * math.ceil(width / 2) + 3,) * 2)
    above = (values > at).astype(np.uint8)
    near = cv2.dilate(above, reach) & cv2.dilate(1 - above, reach)
    cover: Floats = (np.clip(width / 2 + 0.5 - distance, 0, 1) * near).astype(np.float32)
    return cover


def _blend(picture: Floats, values: Floats, look: ResolvedLook, text: int) -> Floats:
    """Blend values (H, W) in 0-1 with the part (H, W, 3) of a picture that they cover."""
    shown = values if look.threshold is None else keep_above(torch.from_numpy(values), look.threshold).numpy()
    colour = colourise(shown, look.colours).astype(np.float32)
    if look.official:
        out = picture * OFFICIAL[0] + colour * OFFICIAL[1]
    else:
        strength: Floats = look.opacity * np.minimum(shown / np.float32(FULL), 1) ** np.float32(FADE)
        out = mix(picture, colour, strength)
    if look.contour is not None:  # a white line with dark edges
        width = max(1.6, text / 8)
        out = mix(out, (0, 0, 0), 0.7 * _line_cover(values, look.contour, width + 2))
        out = mix(out, (255, 255, 255), _line_cover(values, look.contour, width))
    return np.clip(out + 0.5, 0, 255)


def _flat_mark(picture: Image.Image, text: int) -> None:
    """Write "flat" into the picture's lower left corner."""
    inset, pad = round(text * 0.5), round(text * 0.45)
    width, height = math.ceil(text_width("flat", text)) + 2 * pad, line_height(text) + round(text * 0.2)
    box = (inset, picture.height - inset - height, inset + width, picture.height - inset)
    ImageDraw.Draw(picture).rounded_rectangle(box, radius=height // 3, fill=INK, outline=PAPER)
    draw_text(picture, (inset + pad, box[1] + round(text * 0.1)), "flat", text, PAPER)


def paint(picture: Image.Image, heat: Heat, normal: Normalised, panel: int, look: ResolvedLook) -> Image.Image:
    """One panel on a picture of the size that the heat was normalised at, without bar or caption."""
    text = size_of_text(min(picture.size))
    if normal.flat[panel]:
        out = picture.copy()
        _flat_mark(out, text)
        return out
    left, top, right, bottom = box_of(heat.rect, (picture.height, picture.width))
    part = (slice(max(top, 0), bottom), slice(max(left, 0), right))
    pixels = np.array(picture)
    values = normal.values[panel].detach().float().cpu().numpy()[part]
    pixels[part] = _blend(pixels[part].astype(np.float32), values, look, text).astype(np.uint8)
    return Image.fromarray(pixels)
