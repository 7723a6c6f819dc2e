"""The common grids that maps of several layers are resized to, and the sizes of their pictures."""

from __future__ import annotations

from ..geometry.layout import TokenGrid
from ..geometry.resample import Size
from ..maps.value import AttributionMaps
from .choice import EVERYTHING, Choice
from .presets import preset_of
from .selection import Selection, select


def common_grid(maps: AttributionMaps, picture: str, choice: Choice = EVERYTHING) -> TokenGrid:
    """The grid that maps on a picture are resized to.

    Args:
        maps: a recording.
        picture: "generated": the finest query grid of all recorded layers (the latent's, if the network
            attends there); "reference": the largest reference grid of the chosen layers.
        choice: its layers and reference, for the grid on the reference picture.

    Raises:
        UnavailableError: the choice does not exist.
    """
    if picture == "generated":
        return max((x.grid for x in maps.layers), key=lambda g: g.placed)
    return selected_reference_grid(select(maps, preset_of("default"), choice))


def reference_grid(maps: AttributionMaps, reference: int = 0) -> TokenGrid:
    """The largest grid that any recorded layer sees of a reference; 0 x 0 if its tokens have no places."""
    return max((x.references[reference].grid for x in maps.layers), key=lambda g: g.placed)


def selected_reference_grid(selection: Selection) -> TokenGrid:
    """The largest grid that any of the selected layers sees of the reference."""
    return max((selection.reference_of(x).grid for x in selection.layers), key=lambda g: g.placed)


def name_of_reference(maps: AttributionMaps, reference: int) -> str:
    """What a map of one of several references is said to be of: its name, with its number where others share that; else ''."""
    names = [r.name for r in maps.references]
    name = names[reference]
    return "" if len(names) == 1 else f"{name} ({reference + 1})" if names.count(name) > 1 else name


def is_sized(grid: TokenGrid) -> bool:
    """Whether the size of the picture that a grid lies on is known; `picture_size` makes up another."""
    return grid.picture is not None and min(grid.picture) > 0


def picture_size(grid: TokenGrid) -> Size:
    """The picture's (H, W); if unknown, 8 pixels per token, or 224 x 224 for tokens without places.

    >>> picture_size(TokenGrid(16, 12)), picture_size(TokenGrid(16, 12, picture=(512, 384)))
    ((128, 96), (512, 384))
    """
    if not grid.placed:
        return grid.picture or (224, 224)
    return grid.picture if grid.picture and is_sized(grid) else (grid.rows * 8, grid.columns * 8)
