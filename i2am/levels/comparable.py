"""Whether the patches of two recordings are the same places, so that their maps can be compared patch by patch."""

from __future__ import annotations

from ..errors import UnavailableError
from ..geometry.layout import Rect, TokenGrid
from ..maps.given import check_maps
from ..maps.value import AttributionMaps
from .grids import common_grid, reference_grid

REMEDY = {
    "references": "record both with the same references in the same order",
    "generated": "sample both at the same size, with models that cut pictures into the same patches, and record both with the "
    "same queries",
    "reference": "give both runs reference pictures of one size, and read them with the same image encoder",
}
"""What to do about each thing that may differ."""


def check_comparable(first: AttributionMaps, second: AttributionMaps) -> None:
    """Refuse two recordings whose patches are not the same places; nothing is ever resampled to make them fit.

    Seeds, cfg, steps, samplers, models, layers and heads may differ.

    Raises:
        I2AMError: one of the two is no recording.
        UnavailableError: the number of references, the patches of the generated picture or those of a reference differ, or what
            they cover of a picture; names what was seen in each, and what to do.
    """
    check_maps(first, "the first run's maps")
    check_maps(second, "the second run's maps")
    found = _different(first, second)
    if found:
        said = "; ".join(said for said, _ in found)
        todo = ", and ".join(dict.fromkeys(REMEDY[what] for _, what in found))
        raise UnavailableError(f"these two runs cannot be compared patch by patch: {said}. Nothing is resampled to fit: {todo}")


def _different(first: AttributionMaps, second: AttributionMaps) -> list[tuple[str, str]]:
    """What differs, in words, and the key of `REMEDY` for it."""
    counts = [len(maps.references) for maps in (first, second)]
    if counts[0] != counts[1]:
        names = [", ".join(reference.name for reference in maps.references) for maps in (first, second)]
        return [(f"the first has {counts[0]} reference(s) ({names[0]}), the second {counts[1]} ({names[1]})", "references")]
    found = [
        (_of_grids("the generated picture", common_grid(first, "generated"), common_grid(second, "generated")), "generated")
    ]
    found += [
        (_of_grids(f"reference {i + 1}", reference_grid(first, i), reference_grid(second, i)), "reference")
        for i in range(counts[0])
    ]
    return [one for one in found if one[0]]


def _of_grids(name: str, first: TokenGrid, second: TokenGrid) -> str:
    """How two grids of one picture differ, in words; empty: they do not. What is unknown is not held against them."""
    sizes = [(grid.rows, grid.columns) for grid in (first, second)]
    if sizes[0] != sizes[1]:
        (a, b), (c, d) = sizes
        return f"{name} has {a} x {b} patches (rows x columns) in the first and {c} x {d} in the second"
    if first.edge != second.edge:
        return f"the last patches of {name} hold {first.edge} of a patch in the first and {second.edge} in the second"
    if None not in (first.rect, second.rect) and first.rect != second.rect:
        return f"the patches cover {_covers(first.rect)} of {name} in the first and {_covers(second.rect)} in the second"
    return ""


def _covers(rect: Rect | None) -> str:
    return "an unknown part" if rect is None else f"({', '.join(f'{value:.3g}' for value in rect)})"
