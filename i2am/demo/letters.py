"""Did the garment's letters arrive? Asked of the demo's try-on as a person would ask it, with each letter named as a region."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from ..answers.regions import Region
from ..drawn.letters import letter_mask
from ..drawn.scene import DemoCase
from ..drawn.spec import GLYPHS
from ..maps.value import AttributionMaps
from ..outputs.first_look import first_look


def draw_look(
    out: Path, maps: AttributionMaps, case: DemoCase, generated: Image.Image, reference: Image.Image
) -> dict[str, str]:
    """Write ``look.png``, the first look at a try-on with the answer in words.

    Returns:
        The verdict on each letter, such as "arrived", by "letter K"; of a letter that is there twice, also by "letter K (2)".
    """
    regions = named_letters(case)
    inside, garment = case.own.inpaint_mask[0], case.worn.reference_mask[0]
    look = first_look(maps, generated, reference, inside, garment, regions=regions)
    look.sheets[0].save(out / "look.png")
    return {one.about: one.verdict for one in look.answers[0].said if one.topic == "region"}


def named_letters(case: DemoCase) -> list[Region]:
    """The letters of the garment that is worn, as regions of its picture."""
    letters = [GLYPHS[glyph.index] for glyph in case.worn_spec.garment.glyphs]
    found = []
    for i, letter in enumerate(letters):
        count = letters[: i + 1].count(letter)
        found.append(Region(f"letter {letter}" + f" ({count})" * (count > 1), letter_mask(case.worn_spec, i)))
    return found
