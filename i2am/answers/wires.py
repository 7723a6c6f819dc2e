"""What looks wrongly connected: pictures and masks compared with each other and with what the recording kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..levels.kept import inpaint_mask_from
from ..maps.value import AttributionMaps
from .alike import mistaken
from .said import Said
from .thresholds import OVERLAP, SAME_MASK


def wires(
    maps: AttributionMaps,
    generated: Image.Image,
    references: Sequence[Image.Image | None],
    image: int = 0,
    *,
    inpaint_mask: Tensor | None = None,
    reference_mask: Tensor | None = None,
) -> Iterator[Said]:
    """A warning for each thing that looks wrongly connected; none is certain.

    Args:
        inpaint_mask, reference_mask: (H, W), as given; None: not given.
        image: which image of the batch the masks are of.
    """
    yield from mistaken(maps, generated, references)
    if "cond" in maps.null_branches:
        text = (
            "Check the wires: positive and negative are swapped: the sampler's positive is what stands for 'no reference'. "
            "Connect positive of I²AM Try-On Conditioning to the sampler's positive."
        )
        yield Said("wires", text, "the conditioning says by itself that it stands for 'no reference'", verdict="positive")
    kept = maps.inpaint_mask
    recorded = None if kept is None else kept if kept.ndim == 2 else kept[image if len(kept) > 1 else 0]
    yield from _masks(inpaint_mask, reference_mask, recorded, inpaint_mask_from(maps))


def _masks(inpaint: Tensor | None, reference: Tensor | None, recorded: Tensor | None, source: str) -> Iterator[Said]:
    rule = f"masks that overlap by {SAME_MASK:.0%} or more are the same, below {OVERLAP:.0%} they are others"
    of_record = recorded if recorded is not None else inpaint
    shared = 1.0 if inpaint is None or recorded is None else overlap(inpaint, recorded, squashed=True)
    if shared < OVERLAP:
        swapped = reference is not None and recorded is not None and overlap(reference, recorded) >= SAME_MASK
        what = (
            "inpaint_mask and reference_mask look swapped"
            if swapped
            else f"inpaint_mask is another than that of {source} (they overlap by {shared:.0%})"
        )
        yield Said("wires", f"Check the wires: {what}.", rule, {"overlap": shared}, "swapped" if swapped else "inpaint_mask")
    elif reference is not None and of_record is not None and overlap(reference, of_record) >= SAME_MASK:
        text = "Check the wires: reference_mask is the inpainting mask. Connect the mask of the object on the reference."
        yield Said("wires", text, rule, {"overlap": overlap(reference, of_record)}, "reference_mask")


def overlap(one: Tensor, other: Tensor, squashed: bool = False) -> float:
    """The intersection of two masks (H, W) over their union, at the larger size; 0 where either is empty.

    Masks of other shapes have none, unless one picture may be ``squashed`` to the other's shape.

    >>> overlap(torch.ones(4, 4), torch.ones(8, 8))
    1.0
    """
    size = (max(one.shape[0], other.shape[0]), max(one.shape[1], other.shape[1]))
    if not squashed and abs(one.shape[0] * other.shape[1] - one.shape[1] * other.shape[0]) > max(size):
        return 0.0
    a, b = (F.interpolate(x[None, None].float().clamp(0, 1), size, mode="nearest")[0, 0] for x in (one, other))
    union = float(torch.maximum(a, b).sum())
    return float(torch.minimum(a, b).sum()) / union if union > 0 else 0.0
