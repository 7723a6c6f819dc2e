"""Two runs that can be compared, with pictures for them."""

from __future__ import annotations

from functools import lru_cache

from edit_run import SHAPES, edit_run
from PIL import Image
from report_case import picture

from i2am.maps.value import AttributionMaps
from i2am.outputs.second import SecondRun


@lru_cache(maxsize=4)
def run(seed: int, steps: int = 3) -> AttributionMaps:
    return edit_run(SHAPES[:2], steps=steps, seed=seed)


def pictures_of(maps: AttributionMaps, seed: int) -> tuple[Image.Image, list[Image.Image]]:
    height, width = maps.generated_size
    sizes = [reference.grid.picture or (8, 8) for reference in maps.references]
    return picture(width, height, seed), [picture(w, h, 10 + i) for i, (h, w) in enumerate(sizes)]


def two() -> tuple[AttributionMaps, Image.Image, list[Image.Image], SecondRun]:
    """The first run with its pictures, and the second one."""
    maps, other = run(0), run(1)
    generated, references = pictures_of(maps, 0)
    return maps, generated, references, SecondRun(other, pictures_of(other, 1)[0])
