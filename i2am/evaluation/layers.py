"""The layers of one recorded run ranked by what OpenCV's SIFT finds on its pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image
from torch import Tensor

from ..answers.alike import check_pictures
from ..errors import LayoutError, MaskError, UnavailableError
from ..geometry.cells import cells_at
from ..geometry.masks import MaskLike, check_range, mask_of
from ..geometry.resample import Size, area
from ..geometry.shapes import check_shape
from ..levels.choice import EVERYTHING, Choice
from ..levels.grids import common_grid, reference_grid
from ..levels.selection import check_reference
from ..maps.given import check_maps
from ..maps.value import AttributionMaps
from ..pictures.matching import picture_of
from ..scores.pointing import Match
from ..scores.ranking import Pointing, pointing_of_layers
from .metrics.keypoints import keypoint_matches


def rank_by_details(
    maps: AttributionMaps,
    generated: Image.Image,
    reference: Image.Image,
    choice: Choice = EVERYTHING,
    *,
    inpaint_mask: MaskLike | None = None,
    reference_mask: MaskLike | None = None,
    heads: bool = False,
) -> list[Pointing]:
    """How well each layer points at the details that SIFT finds on both pictures; see `pointing_of_layers`.

    Args:
        maps: a recording with pairwise maps of each layer.
        generated, reference: the pictures, of the shapes that were recorded.
        choice: what to take of the recording.
        inpaint_mask: (H, W) of the generated picture, of any size, or one for each image; details outside of it are left out.
        reference_mask: the same, of the reference.
        heads: whether to look at each head too.

    Raises:
        I2AMError: a picture or mask is of another shape than was recorded, or a mask is empty; a picture looks like another one
            than it is said to be, or is no Pillow picture.
        UnavailableError: no detail is found on both pictures; or as `pointing_of_layers`.
    """
    check_maps(maps)
    check_reference(maps, choice.reference)
    generated, reference = picture_of(generated, "generated picture"), picture_of(reference, "picture of the reference")
    sizes = (generated.height, generated.width), (reference.height, reference.width)
    known = maps.references[choice.reference].grid.picture or (0, 0)
    check_shape("picture", sizes[0], maps.generated_size, "recorded generated image")
    check_shape("reference picture", sizes[1], known, f"recorded reference {choice.reference}")
    check_pictures(maps, generated, reference, choice.reference)
    pictures = [np.asarray(picture.convert("RGB")) for picture in (generated, reference)]
    given = (inpaint_mask, sizes[0], "inpainting mask"), (reference_mask, sizes[1], "reference mask")
    masks = [
        None if one is None else _fitted(mask_of(one, choice.image, maps.images, name), size, name) for one, size, name in given
    ]
    found = keypoint_matches(pictures[0], pictures[1], *masks)
    matches = [match for match in found if _covered(maps, match, generated, reference, choice.reference)]
    if not matches:
        raise UnavailableError(
            "SIFT finds no detail on both pictures, so nothing can be said of where layers look; take a reference with more "
            "texture (a print, a weave), a larger picture, or a run whose result keeps more of it"
        )
    return pointing_of_layers(maps, matches, *sizes, choice, heads=heads)


def _fitted(mask: Tensor, size: Size, name: str) -> Tensor:
    """A mask at the size of its picture."""
    check_range(mask, name)
    check_shape(name, (mask.shape[0], mask.shape[1]), size, "picture that it is of")
    if not bool((mask > 0).any()):
        raise MaskError(f"the {name} is empty: no pixel of it is 1; connect another, or none")
    return area(mask[None].float(), size)[0]


def _covered(maps: AttributionMaps, match: Match, generated: Image.Image, reference: Image.Image, index: int) -> bool:
    """Whether the tokens cover a match on both pictures: some encoders crop their reference."""
    places = (
        (match.generated, generated, common_grid(maps, "generated")),
        (match.reference, reference, reference_grid(maps, index)),
    )
    try:
        for point, picture, grid in places:
            cells_at([point], (picture.height, picture.width), grid)
    except LayoutError:
        return False
    return True
