"""Changes a drawn garment's print: another pattern, base colour or letter; the cut stays."""

from __future__ import annotations

from dataclasses import replace

from .spec import COLOUR_NAMES, COLOURS, GLYPHS, PATTERNS, Garment


def restyle(garment: Garment, pattern: str = "", colour: str = "", letter: str = "") -> Garment:
    """The garment with another pattern, base colour or first letter; an empty name keeps what was drawn.

    Raises:
        ValueError: there is no such pattern, colour or letter; names those that exist.
    """
    for name, known in ((pattern, PATTERNS), (colour, COLOUR_NAMES), (letter, GLYPHS)):
        if name and name not in known:
            raise ValueError(f"{name!r} is none of {', '.join(known)}")
    if pattern:
        garment = replace(garment, pattern=list(PATTERNS).index(pattern))
    if colour:
        rgb = COLOURS[colour]
        plain = {garment.base_rgb: rgb}
        garment = replace(
            garment,
            base=COLOUR_NAMES.index(colour),
            base_rgb=rgb,
            collar_rgb=plain.get(garment.collar_rgb, garment.collar_rgb),
            sleeve_rgb=tuple(plain.get(c, c) for c in garment.sleeve_rgb),  # type: ignore[arg-type]
            cuff_rgb=tuple(plain.get(c, c) for c in garment.cuff_rgb),  # type: ignore[arg-type]
            glyphs=tuple(replace(g, badge=rgb) for g in garment.glyphs),
        )
    if letter:
        first, *others = garment.glyphs
        garment = replace(garment, glyphs=(replace(first, index=GLYPHS.index(letter)), *others))
    return garment
