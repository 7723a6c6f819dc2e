"""The report of a run: one HTML file in which pointing at a patch of either picture shows its map on the other."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..errors import I2AMError
from ..geometry.masks import mask_of
from ..geometry.shapes import check_shape
from ..levels.choice import Choice
from ..levels.grids import picture_size, reference_grid
from ..maps.value import AttributionMaps
from ..pictures.backdrop import backdrop
from ..pictures.matching import one_of
from ..scores.run import score_image
from .page import page_of
from .viewer_data import viewer_data

log = logging.getLogger("i2am")


def write_report(
    path: str | Path,
    maps: AttributionMaps,
    generated: Image.Image,
    references: Sequence[Image.Image],
    *,
    scores: Mapping[str, Any] | None = None,
    title: str = "I²AM report",
    images: Mapping[str, Image.Image] | None = None,
    truth: Tensor | None = None,
    reference_mask: Tensor | None = None,
    branch: str = "cond",
    image: int = 0,
) -> Path:
    """Write one HTML file in which to explore a recording; it needs neither network nor server.

    Args:
        path: the file to write; its folder is made if missing.
        maps: what was recorded.
        generated: the generated picture.
        references: one picture for each reference of ``maps``.
        scores: content of scores.json, shown as tables; `imacs.Score` values are accepted.
        title: heading of the page.
        images: further pictures to show, by caption.
        truth: (2, H, W) true place (x, y) of each generated pixel in pixels of the first reference, NaN if none.
        reference_mask: (H, W), 1 = the object on the first reference; the page then opens with where it went.
        branch: half of classifier-free guidance to show.
        image: which image of the batch to show.

    Returns:
        The path written.

    Raises:
        I2AMError: pictures do not fit the recording, or the viewer's files are missing.
        UnavailableError: branch or image was not recorded.
    """
    data = viewer_data(
        maps,
        generated,
        references,
        scores=scores,
        title=title,
        images=images,
        truth=truth,
        reference_mask=reference_mask,
        branch=branch,
        image=image,
    )
    path, page = Path(path), page_of(data).encode()  # before the file is opened: a failure must not leave an empty one
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(page)
    log.info("report of %.1f MB written to %s", path.stat().st_size / 1e6, path)
    return path


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
    """Write the page of one image of a run; with masks, also its scores and where the object went.

    Args:
        path: the file to write.
        maps: a recording.
        generated: one picture per image of the batch, or one.
        references: one picture per reference; None takes the recording's thumbnails, or grey.
        inpaint_mask: MASK on the generated image.
        reference_mask: MASK on the first reference.
        image: which image of the batch.
        branch: half of classifier-free guidance.
        title: heading; empty: "I²AM report".

    Raises:
        I2AMError: pictures or masks do not fit the run; names both numbers or sizes.
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
        found = score_image(maps, inpaint_mask, reference_mask, Choice(branch=branch, image=image))
        scores = {"imacs": {"default": {letter: score.as_dict() for letter, score in found.scores.items()}}}
    return write_report(
        path,
        maps,
        picture,
        references,
        scores=scores,
        title=str(title).strip() or "I²AM report",
        reference_mask=None if reference_mask is None else mask_of(reference_mask, image, maps.images, "reference mask"),
        branch=branch,
        image=image,
    )
