"""One labelled sheet: the panels of a heat on their pictures, or pictures alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from ..errors import I2AMError
from ..levels.heat import Heat, normalise
from .backdrop import neutral
from .lettering import power_text, size_of_text, tick_labels
from .look import AS_IS, Look, ResolvedLook, caption_of, scale_of
from .marks import enlarge
from .matching import check_pictures, meet
from .paint import paint
from .sheet import columns_for, sheet

SHEET_WIDTH = 1440
"""The width, in pixels, that a row of panels aims at."""

Pictures = Image.Image | Sequence[Image.Image]


def panels(
    picture: Pictures,
    heat: Heat,
    look: Look = AS_IS,
    *,
    columns: int | None = None,
    title: str | None = None,
    width: int | None = None,
) -> Image.Image:
    """All panels of a heat side by side, with their labels and one colour bar.

    Args:
        picture: one, or those of a batch: one per image or one per panel (see `meet`), of one size.
        heat: whose panels are drawn.
        look: how to draw them. Scale "shared" makes colours comparable between panels; "each" stretches every panel to
            its own raw range and writes that below it, while the bar runs from 0 to 1. If neither the look nor the heat
            has a scale, "shared".
        columns: panels per row; None: chosen automatically.
        title: None: what the heat shows.
        width: the width of a panel in pixels; None: chosen by their number.

    Raises:
        I2AMError: the pictures do not fit the heat, or columns or width is below 1.
    """
    resolved = look.resolve(heat)
    heat, pictures = meet(heat, [picture] if isinstance(picture, Image.Image) else picture)
    count = len(heat.labels)
    if columns is None:
        columns = columns_for(count, (pictures[0].width, pictures[0].height * 1.15))
    if columns < 1:
        raise I2AMError(f"a sheet needs at least 1 column, got {columns}")
    if width is not None and width < 1:
        raise I2AMError(f"a panel's width must be 1 pixel or more, got {width}")
    width = width if width is not None else min(384, max(150, SHEET_WIDTH // columns))
    drawn, details, bar = draw_all([_sized(p, width) for p in pictures], heat, resolved)
    head, *notes = caption_of(heat, None, resolved).split("\n")
    if count > 1:
        notes.append("one scale for all panels" if resolved.scale == "shared" else "every panel has its own scale")
    labels = ["" if label == heat.level else label for label in heat.labels]
    items = [(d, f"{label}\n{detail}") for d, label, detail in zip(drawn, labels, details, strict=True)]
    return sheet(items, columns, title if title is not None else head, notes=notes, beside=bar)


def draw_all(
    pictures: Sequence[Image.Image], heat: Heat, look: ResolvedLook
) -> tuple[list[Image.Image], list[str], Image.Image]:
    """Every panel on its picture (of one size), each panel's details, and the bar that they share."""
    picture = pictures[0]
    normal = normalise(heat, (picture.height, picture.width), look.scale)
    count = len(heat.labels)
    scale = look.scale if count > 1 else "shared"
    drawn = [paint(base, heat, normal, p, look) for p, base in enumerate(pictures)]
    details = []
    for p in range(count):
        words = []
        if scale == "each":
            words.append(_range_text(normal.low[p], normal.high[p], normal.flat[p]))
        if heat.unplaced and heat.unplaced[p]:
            words.append(f"{heat.unplaced[p]:.1%} without a place")
        details.append("\n".join(words))
    text = size_of_text(min(picture.size))
    low, high, flat = scale_of(normal, 0, scale) if scale == "shared" else (0.0, 1.0, all(normal.flat))
    bar = look.bar(max(picture.height, 12 * text), low, high, invert=heat.invert, flat=flat, text=text)
    return drawn, details, bar


def _range_text(low: float, high: float, flat: bool) -> str:
    """A raw range in words.

    >>> _range_text(0.0, 4e-5, False)
    '0.00 … 4.00 ×10⁻⁵'
    """
    (a, b), power = tick_labels([low, high])
    return f"flat at {a} {power_text(power)}".strip() if flat else f"{a} … {b} {power_text(power)}".strip()


def _sized(picture: Image.Image, width: int) -> Image.Image:
    """The picture as RGB, resized to ``width`` unless it is already that wide, or up to half as wide again."""
    base, _ = enlarge(picture, 1)
    if width <= base.width <= 1.5 * width:
        return base
    height = max(1, round(base.height * width / base.width))
    way = Image.Resampling.BICUBIC if base.width < width else Image.Resampling.LANCZOS
    return base.resize((width, height), way)


def sheet_of(
    heat: Heat | None,
    pictures: Sequence[Image.Image] | None,
    labels: str = "",
    title: str = "",
    columns: int = 0,
    look: Look = AS_IS,
) -> Image.Image:
    """A heat on its pictures or, if there are none, on grey; or pictures side by side.

    Args:
        heat: its panels are drawn; may be None.
        pictures: those of a batch, see `meet`; may be None if there is a heat.
        labels: one line per panel or picture; empty: the heat's own.
        title: written above everything; empty: what the heat shows.
        columns: panels or pictures per row; 0: chosen automatically.
        look: how to draw the heat; see `panels`.

    Raises:
        I2AMError: neither is given, or the numbers of panels, pictures or labels do not match.
    """
    lines = [line.strip() for line in labels.strip().splitlines()]
    if heat is None:
        if not pictures:
            raise I2AMError("neither heat nor image is connected, so there is nothing to draw; connect one of them")
        named = _named(lines, len(pictures)) if lines else [""] * len(pictures)
        return sheet(list(zip(pictures, named, strict=True)), columns or None, title or None)
    pictures = [neutral(heat.size)] if pictures is None else pictures
    check_pictures(heat, pictures)
    heat, pictures = meet(heat, pictures)
    if lines:
        heat = replace(heat, labels=tuple(_named(lines, len(heat.labels))))
    return panels(pictures, heat, look, columns=columns or None, title=title or None)


def _named(lines: list[str], count: int) -> list[str]:
    if len(lines) != count:
        raise I2AMError(f"{len(lines)} labels were given for {count} panels; give one line for each, or none")
    return lines
