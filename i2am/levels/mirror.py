"""Where an object on the reference went."""

from __future__ import annotations

from ..geometry.cells import cells_under
from ..geometry.masks import MaskLike, mask_of
from ..geometry.shapes import check_shape
from ..maps.value import AttributionMaps
from .choice import EVERYTHING, Choice, check_choice
from .heat import Heat
from .patch import asked_grid, sram


def mirror_of_object(
    maps: AttributionMaps, reference_mask: MaskLike, choice: Choice = EVERYTHING, *, preset: str = "default"
) -> Heat:
    """Where an object on the reference went: the mean mirror over the patches that its mask covers.

    This is R2G-balanced over the pairwise layers, with votes from the object's patches only.

    Args:
        maps: a recording with pairwise maps.
        reference_mask: MASK (1 or images, H, W), 1 = the object; a tensor, an array or a Pillow picture.
        choice: what to take of the recording; see `sram`.
        preset: see `ulam`.

    Raises:
        I2AMError: the mask has another shape than the recorded reference image.
        MaskError: the mask does not fit the run, is empty or lies outside of what the tokens cover.
        UnavailableError: as `sram`.
    """
    check_choice(choice)
    mask = mask_of(reference_mask, choice.image, maps.images, "reference mask")
    grid = asked_grid(maps, "generated", choice, preset=preset)
    if grid.picture is not None:
        check_shape("reference mask", (mask.shape[0], mask.shape[1]), grid.picture, "recorded reference image")
    return sram(maps, cells_under(mask, grid, "reference mask"), "generated", choice, preset=preset)
