"""The report of one image of a run from whatever pictures and masks there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..errors import I2AMError
from ..geometry.masks import mask_of
from ..geometry.shapes import check_shape
from ..levels.grids import picture_size, reference_grid
from ..maps.value import AttributionMaps
from ..pictures.backdrop import backdrop
from ..pictures.matching import one_of
from ..scores.run import score_image
from .report import write_report


def report_of_run(
    path: str | Path,
    maps: AttributionMaps,
    generated: Sequence[Image.Image],
    references: Sequence[Image.Image] | None = None,
    inpaint_mask: Tensor | None = None,
    reference_mask: Tensor | None = None,
    *,
    image: int = 0,
    branch: str = "cond",
    title: str = "",
) -> Path:
    """Write the page of one image of a run, with its scores, and where the object went, where there are masks.

    Args:
        path: the file to write.
        maps: a recording.
        generated: one picture an image of the batch, or one.
        references: one picture a reference; None takes the recording's thumbnails, or grey.
        inpaint_mask: MASK on the generated image.
        reference_mask: MASK on the first reference.
        image: which image of the batch.
        branch: half of classifier-free guidance.
        title: heading; empty: "I²AM report".

    Raises:
        I2AMError: pictures or masks that do not fit the run, with both numbers or sizes.
    """
    if not 0 <= image < maps.images:
        raise I2AMError(f"image {image} does not exist; the run had {maps.images}, counted from 0")
    picture = one_of(generated, image, maps.images)
    check_shape("picture", (picture.height, picture.width), maps.generated_size, "recorded generated image")
    count = len(maps.references)
    if references is None:
        sizes = [picture_size(reference_grid(maps, i)) for i in range(count)]
        references = [backdrop(maps, "reference", i, size) for i, size in enumerate(sizes)]
    elif len(references) != count:
        raise I2AMError(
            f"{len(references)} reference pictures were given, but the run had {count} reference(s); give one for each"
        )
    scores: dict[str, Any] | None = None
    if inpaint_mask is not None or reference_mask is not None:
        found = score_image(maps, inpaint_mask, reference_mask, image=image, branch=branch)
        scores = {"imacs": {"default": {side: score.as_dict() for side, score in found.scores.items()}}}
    title = title.strip() or "I²AM report"
    mask = None if reference_mask is None else mask_of(reference_mask, image, maps.images, "reference mask")
    look: dict[str, Any] = {"reference_mask": mask, "branch": branch, "image": image}
    return write_report(path, maps, picture, references, scores=scores, title=title, **look)
