"""The report of a run: one HTML file in which pointing at a patch of either picture shows its map on the other."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..answers.answer import Answer, answer
from ..errors import I2AMError, MaskError, UnavailableError
from ..geometry.masks import MaskLike, mask_of
from ..geometry.shapes import check_shape
from ..levels.choice import Choice
from ..levels.grids import picture_size, reference_grid
from ..levels.kept import kept_reference_mask
from ..maps.value import AttributionMaps
from ..pictures.backdrop import Given, backdrop, known_references, reference_pictures
from ..pictures.matching import one_of, picture_of, pictures_of
from ..scores.run import score_image
from .joint_look import joint_pictures
from .page import page_of
from .second import SecondRun
from .viewer_data import check_recorded, viewer_data

log = logging.getLogger("i2am")


def write_report(
    path: str | Path,
    maps: AttributionMaps,
    generated: Image.Image | Sequence[Image.Image],
    references: Image.Image | Sequence[Image.Image] | None = None,
    *,
    scores: Mapping[str, Any] | None = None,
    title: str = "I²AM report",
    images: Mapping[str, Image.Image] | None = None,
    truth: Tensor | None = None,
    reference_mask: MaskLike | None = None,
    branch: str = "cond",
    image: int = 0,
    said: Answer | None = None,
    second: SecondRun | None = None,
) -> Path:
    """Write one HTML file in which to explore a recording; it needs neither network nor server.

    Args:
        path: the file to write; its folder is made if missing.
        maps: what was recorded.
        generated: the generated picture, or one for each image of the run.
        references: one picture for each reference of ``maps``; None takes the recording's thumbnails, or grey.
        scores: content of scores.json, shown as tables; `imacs.Score` values are accepted.
        title: heading of the page.
        images: further pictures to show, by caption.
        truth: (2, H, W) true place (x, y) of each generated pixel in pixels of the first reference, NaN if none.
        reference_mask: MASK (1 or images, H, W) or (H, W), or a Pillow picture, 1 = the object on the first reference; the page
            then opens with where it went.
        branch: half of classifier-free guidance to show.
        image: which image of the batch to show.
        said: the answer in words, shown above all.
        second: a run to compare with, side by side, by a wipe and as differences.

    Returns:
        The path written.

    Raises:
        I2AMError: pictures or masks do not fit the recording, something is of another type, or the viewer's files are missing.
        UnavailableError: branch or image was not recorded, or the second run cannot be compared; see `check_comparable`.
    """
    check_recorded(maps, branch, image)
    generated = one_of(pictures_of(generated, "generated picture"), image, maps.images)
    found = _kept(maps) if references is None else pictures_of(references, "picture of a reference")
    for name, given in (("scores", scores), ("images", images)):
        if given is not None and not isinstance(given, Mapping):
            raise I2AMError(f"{name} is a dict, by captions, got a {type(given).__name__}")
    images = {str(name): picture_of(picture, f"picture {name!r}") for name, picture in (images or {}).items()}
    mask = None
    if reference_mask is not None:
        mask = mask_of(reference_mask, image, maps.images, "reference mask")
        known = maps.references[0].grid.picture or (0, 0)
        check_shape("reference mask", (mask.shape[0], mask.shape[1]), known, "recorded reference image")
    if truth is not None:
        truth = torch.as_tensor(truth)
    data = viewer_data(
        maps,
        generated,
        found,
        scores=scores,
        title=title,
        images=images,
        truth=truth,
        reference_mask=mask,
        branch=branch,
        image=image,
        second=second,
    )
    if Path(path).is_dir():
        raise I2AMError(f"{path} is a folder; name the file to write, such as {Path(path) / 'report.html'}")
    path, page = Path(path), page_of(data, said).encode()  # before the file is opened: a failure must not leave an empty one
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(page)
    log.info("report of %.1f MB written to %s", path.stat().st_size / 1e6, path)
    return path


def _kept(maps: AttributionMaps) -> list[Image.Image]:
    """A picture for each reference: the recording's thumbnail, or grey."""
    sizes = [picture_size(reference_grid(maps, i)) for i in range(len(maps.references))]
    return [backdrop(maps, "reference", i, size) for i, size in enumerate(sizes)]


def report_of_run(
    path: str | Path,
    maps: AttributionMaps,
    generated: Sequence[Image.Image],
    references: Sequence[Image.Image] | None = None,
    inpaint_mask: MaskLike | None = None,
    reference_mask: MaskLike | None = None,
    *,
    image: int = 0,
    branch: str = "cond",
    title: str = "",
    further: Sequence[Given] = (),
    second: SecondRun | None = None,
) -> Path:
    """Write the page of one image of a run; with masks, also its scores and where the object went.

    It opens with the answer in words. Of joint attention it also shows, as pictures, what attention went to over time.

    Args:
        path: the file to write.
        maps: a recording.
        generated: one picture per image of the batch, or one.
        references: one picture per reference; or, with ``further`` or if it is a single one, those of the first reference.
            None takes the recording's thumbnails, or grey.
        inpaint_mask: MASK on the generated image; None: what the recording kept, if anything.
        reference_mask: MASK on the first reference; likewise.
        image: which image of the batch.
        branch: half of classifier-free guidance.
        title: heading; empty: "I²AM report".
        further: the pictures of the second reference, the third and so on, one or one per image each; None: as kept.
        second: a run to compare with, see `write_report`.

    Raises:
        I2AMError: pictures or masks do not fit the run; names both numbers or sizes.
        UnavailableError: the second run cannot be compared.
    """
    if not 0 <= image < maps.images:
        raise I2AMError(f"image {image} does not exist; the run had {maps.images}, counted from 0")
    picture = one_of(generated, image, maps.images)
    check_shape("picture", (picture.height, picture.width), maps.generated_size, "recorded generated image")
    count, known = len(maps.references), known_references(maps, (references, *further))
    if any(pictures is not None for pictures in further) or (references is not None and len(references) == 1 < count):
        references = reference_pictures(maps, (references, *further), image)
    elif references is None:
        references = _kept(maps)
    elif len(references) == count:
        known = [True] * count
    else:
        raise I2AMError(
            f"{len(references)} reference pictures were given, but the run had {count} reference(s); give one for each"
        )
    choice = Choice(branch=branch, image=image)
    asked = inpaint_mask is not None or reference_mask is not None
    if reference_mask is None:
        reference_mask = kept_reference_mask(maps)
    masks = [
        None if mask is None else mask_of(mask, image, maps.images, name)
        for mask, name in ((inpaint_mask, "inpainting mask"), (reference_mask, "reference mask"))
    ]
    shown = [one if there else None for one, there in zip(references, known, strict=True)]
    said = answer(maps, picture, shown, choice, inpaint_mask=masks[0], reference_mask=masks[1])
    scores: dict[str, Any] | None = None
    found = None
    if asked:
        found = score_image(maps, inpaint_mask, reference_mask, choice)
    else:
        with suppress(MaskError, UnavailableError):  # nothing was asked for: what the recording kept may not be enough
            found = score_image(maps, None, None, choice)
    if found is not None:
        scores = {"imacs": {"default": {letter: score.as_dict() for letter, score in found.scores.items()}}}
    return write_report(
        path,
        maps,
        picture,
        references,
        scores=scores,
        title=str(title).strip() or "I²AM report",
        images=joint_pictures(maps, picture, choice),
        reference_mask=masks[1],
        branch=branch,
        image=image,
        said=said,
        second=second,
    )
