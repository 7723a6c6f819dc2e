"""The row of one image: what is measured of its picture, in the 8 bits that it is kept in, and of its maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..data.masks import mask_tensor
from ..data.pictures import open_picture
from ..models.pictures import mask_to_size, thumbnail
from .facts import Lacking, Row
from .metrics.attribution import Recorded, Told, of_maps, raw_maps
from .metrics.names import OF_MAPS, OF_PICTURE, shares_of
from .metrics.networks import Lpips
from .metrics.pictures import of_picture
from .run_folder import RunFolder
from .samplers.sampler import Sample, Sampler
from .work import Item, truth_of

Picture = NDArray[np.uint8]
NO_TRUTH = "there is no photo of this person in this garment"
NOT_RECORDED = "the run was not recorded"


def eight_bits(picture: Tensor) -> Picture:
    """(3, H, W) in 0-1 as (H, W, 3) in whole steps of 1/255."""
    out: Picture = thumbnail(picture).numpy()
    return out


def row_of(
    item: Item, sample: Sample, pictures: Mapping[str, Image.Image], sampler: Sampler, lpips: Lpips | Lacking
) -> tuple[Row, dict[str, Tensor]]:
    """An image's row, without seconds, and its maps to keep, by side.

    Args:
        item: the pair.
        sample: what was made of it.
        pictures: that it was made of.
        sampler: that made it.
        lpips: the network, or why there is none.
    """
    generated = eight_bits(sample.picture)
    told, maps = _of_maps(sample, generated, pictures, sampler.parts)
    values, unavailable = picture_values(item, generated, sampler, lpips)
    row = Row(
        name=item.pair.name,
        kind=item.key[0],
        person=item.pair.person,
        garment=item.pair.garment,
        values={**values, **told.values},
        unavailable={**unavailable, **told.unavailable},
        by_threshold=told.by_threshold,
    )
    return row, maps


def picture_values(
    item: Item, generated: Picture, sampler: Sampler, lpips: Lpips | Lacking
) -> tuple[dict[str, float], dict[str, str]]:
    """What is measured of a generated picture (H, W, 3), and why other things are not, by name."""
    truth = truth_of(item.pair)
    if not truth:
        return {}, dict.fromkeys(OF_PICTURE, NO_TRUTH)
    true = eight_bits(sampler.true(item.pair.open([truth])[truth]))
    return of_picture(floats(generated), floats(true), lpips)


def with_lacking(row: Row, item: Item, folder: RunFolder, sampler: Sampler, lpips: Lpips | Lacking) -> Row | None:
    """The row with the values that can be had by now of the picture that was kept; None: there are no more."""
    lacks = "lpips" not in row.values and isinstance(lpips, Lpips)
    if not (lacks and truth_of(item.pair)):
        return None
    generated = np.asarray(open_picture(folder.sample(row.key)))
    values, unavailable = picture_values(item, generated, sampler, lpips)
    others = {name: why for name, why in row.unavailable.items() if name not in values}
    return row.model_copy(update={"values": {**row.values, **values}, "unavailable": {**others, **unavailable}})


def floats(picture: Picture) -> Tensor:
    """(H, W, 3) of 8 bits as (3, H, W) in 0-1."""
    return torch.from_numpy(picture.astype(np.float32) / 255).movedim(-1, 0).contiguous()


def _of_maps(
    sample: Sample, generated: Picture, pictures: Mapping[str, Image.Image], parts: Sequence[str]
) -> tuple[Told, dict[str, Tensor]]:
    if sample.maps is None:
        return Told(unavailable=dict.fromkeys((*OF_MAPS, *shares_of(parts)), sample.failed or NOT_RECORDED)), {}
    reference = pictures["reference"]
    recorded = Recorded(
        sample.maps,
        sample.image,
        generated,
        np.asarray(reference.convert("RGB")),
        _mask(pictures, "inpaint_mask", (generated.shape[0], generated.shape[1])),
        _mask(pictures, "reference_mask", (reference.height, reference.width)),
        sample.reference,
    )
    return of_maps(recorded), raw_maps(recorded)


def _mask(pictures: Mapping[str, Image.Image], name: str, size: tuple[int, int]) -> Tensor | None:
    """(H, W) of ``size``; None: there is none."""
    return mask_to_size(mask_tensor(pictures[name], name), size)[0, 0] if name in pictures else None
