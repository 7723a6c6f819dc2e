"""All panels of a heat: side by side on one sheet, or one after another as an animation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import I2AMError
from ..levels.batch import meet
from ..levels.heat import Heat, normalise
from .overlay import OPACITY, Look, caption_of, enlarge, paint, scale_of
from .sheet import PAPER, columns_for, power_text, sheet, size_of_text, tick_labels

SHEET_WIDTH = 1440
"""The width, in pixels, that the pictures of a sheet of panels aim at."""
SUFFIXES = (".gif", ".webp")

Pictures = Image.Image | Sequence[Image.Image]


def _sized(picture: Image.Image, width: int) -> Image.Image:
    """The picture as RGB, brought to ``width`` unless it is at most half as wide again already."""
    base, _ = enlarge(picture, 1)
    if width <= base.width <= 1.5 * width:
        return base
    height = max(1, round(base.height * width / base.width))
    way = Image.Resampling.BICUBIC if base.width < width else Image.Resampling.LANCZOS
    return base.resize((width, height), way)


def _range_text(low: float, high: float, flat: bool) -> str:
    (a, b), power = tick_labels([low, high])
    return f"flat at {a} {power_text(power)}".strip() if flat else f"{a} … {b} {power_text(power)}".strip()


def _draw_all(
    pictures: Sequence[Image.Image], heat: Heat, look: Look, scale: str
) -> tuple[list[Image.Image], list[str], Image.Image]:
    """Every panel on its picture (of one size), each panel's details, and the bar that they share."""
    picture = pictures[0]
    normal = normalise(heat, (picture.height, picture.width), scale)
    count = len(heat.labels)
    scale = scale if count > 1 else "shared"
    drawn = [paint(base, heat, normal, p, look) for p, base in enumerate(pictures)]
    details = []
    for p in range(count):
        words = []
        if scale == "each":
            words.append(_range_text(normal.low[p], normal.high[p], normal.flat[p]))
        if heat.unplaced:
            words.append(f"{heat.unplaced[p]:.1%} without a place")
        details.append("\n".join(words))
    text = size_of_text(min(picture.size))
    low, high, flat = scale_of(normal, 0, scale) if scale == "shared" else (0.0, 1.0, all(normal.flat))
    bar = look.bar(max(picture.height, 12 * text), low, high, heat.invert, flat, text)
    return drawn, details, bar


def panels(
    picture: Pictures,
    heat: Heat,
    *,
    scale: str | None = None,
    columns: int | None = None,
    title: str | None = None,
    threshold: float | None = None,
    colours: str | None = None,
    opacity: float = OPACITY,
    contour: float | bool = False,
    official: bool = False,
    width: int | None = None,
) -> Image.Image:
    """All panels of a heat side by side, with their labels and one colour bar.

    Args:
        picture: one, or those of a batch: one an image or one a panel (`batch.meet`), of one size.
        scale: "shared" makes colours comparable between panels; "each" stretches every panel alone and writes
            its raw range below it, while the bar counts from 0 to 1; None takes the heat's own, else "shared".
        columns: how many stand in a row; None chooses.
        title: None says what the heat is.
        width: the width of a panel in pixels; None chooses by their number.

    For the other arguments see `overlay`.

    Raises:
        I2AMError: an unknown scale or colour map, or a number outside of its range.
    """
    look = Look.of(heat, threshold, colours, opacity, contour, official)
    scale = scale or heat.scale or "shared"
    heat, pictures = meet(heat, [picture] if isinstance(picture, Image.Image) else picture)
    count = len(heat.labels)
    if columns is None:
        columns = columns_for(count, (pictures[0].width, pictures[0].height * 1.15))
    if columns < 1:
        raise I2AMError(f"a sheet needs at least 1 column, got {columns}")
    if width is not None and width < 1:
        raise I2AMError(f"a panel's width is 1 pixel or more, got {width}")
    width = width if width is not None else min(384, max(150, SHEET_WIDTH // columns))
    drawn, details, bar = _draw_all([_sized(p, width) for p in pictures], heat, look, scale)
    head, *notes = caption_of(heat, None, look).split("\n")
    if count > 1:
        notes.append("one scale for all panels" if scale == "shared" else "every panel has its own scale")
    labels = ["" if label == heat.level else label for label in heat.labels]
    items = [(d, f"{label}\n{detail}") for d, label, detail in zip(drawn, labels, details, strict=True)]
    return sheet(items, columns, title if title is not None else head, notes=notes, side=bar)


def frames(
    picture: Pictures,
    heat: Heat,
    *,
    scale: str | None = None,
    threshold: float | None = None,
    colours: str | None = None,
    opacity: float = OPACITY,
    contour: float | bool = False,
    official: bool = False,
    min_side: int = 384,
) -> list[Image.Image]:
    """Every panel as a labelled overlay, in order and of one size, ready for `animation`; see `overlay`."""
    look = Look.of(heat, threshold, colours, opacity, contour, official)
    scale = scale or heat.scale or "shared"
    heat, pictures = meet(heat, [picture] if isinstance(picture, Image.Image) else picture)
    drawn, details, bar = _draw_all([enlarge(p, min_side)[0] for p in pictures], heat, look, scale)
    head, *notes = caption_of(heat, None, look).split("\n")
    images = heat.images or (0,) * len(drawn)
    out = []
    for i, (one, label, detail) in enumerate(zip(drawn, heat.labels, details, strict=True)):
        place = f"{images[:i].count(images[i]) + 1} of {images.count(images[i])}"
        words = "\n".join(w for w in (f"{label}  ({place})", detail) if w)
        out.append(sheet([(one, words)], title=head, notes=notes, side=bar))
    return same_size(out)


def film(pictures: Sequence[Image.Image], heat: Heat, **look: Any) -> list[Image.Image]:
    """The frames of one film: panel after panel in order; several images of a batch play side by side.

    ``look`` is that of `frames`.
    """
    heat, pictures = meet(heat, pictures)
    drawn = frames(pictures, heat, **look)
    images = list(dict.fromkeys(heat.images))
    if len(images) < 2:
        return drawn
    rows = [[drawn[i] for i, of in enumerate(heat.images) if of == image] for image in images]
    return same_size([sheet([(one, "") for one in row], columns=len(images)) for row in zip(*rows, strict=True)])


def same_size(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """All pictures as RGB, with white added right and below up to the largest."""
    size = (max(p.width for p in pictures), max(p.height for p in pictures))
    out = []
    for picture in pictures:
        canvas = Image.new("RGB", size, PAPER)
        canvas.paste(picture.convert("RGB"), (0, 0))
        canvas.info["cells"] = picture.info.get("cells", ())
        out.append(canvas)
    return out


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
    """256 colours for all frames: the commonest as they are, the others spread over every colour that occurs.

    A palette by area would leave only a handful of colours to the colour bar and the heat.
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
    """Write frames as an endless animation, a GIF or WebP by the suffix of ``path``.

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
