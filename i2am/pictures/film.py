"""The panels of a heat one after another, as an animation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import I2AMError
from ..levels.heat import Heat
from .look import AS_IS, Look, caption_of
from .marks import enlarge
from .matching import is_film, meet, same_size
from .panels import Pictures, draw_all
from .sheet import sheet

SUFFIXES = (".gif", ".webp")
MIN_SIDE = 384
"""Smaller pictures are enlarged to it, so that what is written can be read."""


def frames(picture: Pictures, heat: Heat, look: Look = AS_IS, *, min_side: int = MIN_SIDE) -> list[Image.Image]:
    """Every panel as a labelled overlay, in order and of one size, ready for `animation`; see `overlay`."""
    return _drawn([picture] if isinstance(picture, Image.Image) else picture, heat, look, min_side)[0]


def _drawn(pictures: Sequence[Image.Image], heat: Heat, look: Look, min_side: int) -> tuple[list[Image.Image], list[int]]:
    """The frames, and for each which film it is of: the image's, or the video's whose latent frames the panels are."""
    resolved, length = look.resolve(heat), heat.frames if is_film(heat) else 1
    heat, pictures = meet(heat, pictures, spread=True)
    drawn, details, bar = draw_all([enlarge(p, min_side)[0] for p in pictures], heat, resolved)
    head, *notes = caption_of(heat, None, resolved).split("\n")
    films = [image // length for image in heat.images or (0,) * len(drawn)]
    out = []
    for i, (one, label, detail) in enumerate(zip(drawn, heat.labels, details, strict=True)):
        place = f"{films[:i].count(films[i]) + 1} of {films.count(films[i])}"
        words = "\n".join(w for w in (f"{label}  ({place})", detail) if w)
        out.append(sheet([(one, words)], title=head, notes=notes, beside=bar))
    return same_size(out), films


def film(pictures: Sequence[Image.Image], heat: Heat, look: Look = AS_IS) -> list[Image.Image]:
    """The frames of one film: panel after panel in order; several images of a batch, or several videos, play side by side."""
    drawn, films = _drawn(pictures, heat, look, MIN_SIDE)
    several = list(dict.fromkeys(films))
    if len(several) < 2:
        return drawn
    rows = [[drawn[i] for i, of in enumerate(films) if of == one] for one in several]
    return same_size([sheet([(one, "") for one in row], columns=len(several)) for row in zip(*rows, strict=True)])


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
    """256 colours for all frames: the most frequent ones exactly, the others spread over every colour that occurs.

    A palette chosen by area would leave only a handful of colours for the colour bar and the heat.
    """
    pixels = np.concatenate([np.asarray(f).reshape(-1, 3) for f in frames])
    pixels = pixels[:: max(1, len(pixels) // 4_000_000)]
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    seen, counts = np.unique(packed, return_counts=True)
    common = seen[np.argsort(-counts)[:24]]
    _, first = np.unique(seen & 0xF8F8F8, return_index=True)  # one colour of each of 32 x 32 x 32 boxes
    colours = np.stack([seen >> 16, seen >> 8 & 255, seen & 255], 1).astype(np.uint8)
    spread = Image.fromarray(colours[first][None]).quantize(256 - len(common), method=Image.Quantize.MAXCOVERAGE)
    table = [channel for colour in common.tolist() for channel in (colour >> 16, colour >> 8 & 255, colour & 255)]
    out = Image.new("P", (1, 1))
    out.putpalette((table + list(spread.getpalette() or []))[: 3 * 256])
    return out


def animation(frames: Sequence[Image.Image], path: str | Path, ms: int = 400) -> Path:
    """Write frames as a looping animation, a GIF or WebP by the suffix of ``path``.

    Args:
        ms: how long each frame stays, in milliseconds; a GIF counts in steps of 10.

    Raises:
        I2AMError: no frames, a time below 20 ms, or another suffix.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not frames:
        raise I2AMError("an animation needs at least one frame, got none")
    if suffix not in SUFFIXES:
        raise I2AMError(f"an animation is written as {' or '.join(SUFFIXES)}, got {path.name!r}")
    if ms < 20:
        raise I2AMError(f"a frame must stay for 20 ms or more (viewers slow down anything faster), got {ms}")
    same = same_size(frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".webp":
        same[0].save(path, save_all=True, append_images=same[1:], duration=ms, loop=0, quality=90, method=4)
    else:
        palette = _palette(same)
        small = [f.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for f in same]
        small[0].save(path, save_all=True, append_images=small[1:], duration=ms, loop=0, disposal=1, optimize=False)
    return path
