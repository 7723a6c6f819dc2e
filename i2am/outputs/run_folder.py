"""A try-on with one of the paper's models from files to files: the picture, its maps, a first look, a page and the scores."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..data.masks import mask_tensor
from ..errors import I2AMError, UnavailableError
from ..maps.value import AttributionMaps
from ..models.pictures import mask_to_size, thumbnail
from ..scores.run import ImageScores, score_image
from .first_look import first_look
from .report import report_of_run

log = logging.getLogger("i2am")

Masks = tuple[Tensor | None, Tensor | None]
"""The inpainting mask and the reference's."""
LATER = (I2AMError, ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
"""What may go wrong in one output without touching the others."""


class RunFolder:
    """The files of one run; each is written as far as it can be, and `failed` says what is missing and why.

    Args:
        out: the folder; it is made where missing.
        failed: what went wrong before, by name.
    """

    def __init__(self, out: Path, failed: Mapping[str, str] | None = None) -> None:
        self.out, self.failed = out, dict(failed or {})
        out.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, make: Callable[[Path], object]) -> None:
        """Make one file; what goes wrong is told and noted."""
        try:
            make(self.out / name)
        except LATER as error:
            self.failed[name] = " ".join(str(error).split()) or type(error).__name__
            log.warning("%s was not written: %s", name, self.failed[name])


def write_run(
    out: Path,
    made: Tensor | None,
    maps: AttributionMaps | None,
    pictures: dict[str, Image.Image],
    seconds: float,
    *,
    pasted: Tensor | None = None,
    failed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write the picture, its maps, the first look, the page and the scores to a folder; returns what ``scores.json`` holds.

    Args:
        out: the folder.
        made: (3, H, W) in 0-1; None: there is none.
        maps: what was recorded; None: there is nothing.
        pictures: what the run was given, by name, masks among them.
        seconds: that it took.
        pasted: (3, H, W), the picture with the person's own pixels outside of the mask; or None.
        failed: what went wrong before, by name.

    Raises:
        OSError: the folder cannot be made.
    """
    folder = RunFolder(out, failed)
    generated = None if made is None else Image.fromarray(thumbnail(made).numpy())
    if generated is not None:
        folder.write("generated.png", generated.save)
    if pasted is not None:
        folder.write("generated_pasted.png", Image.fromarray(thumbnail(pasted).numpy()).save)
    scores: dict[str, Any] = {"seconds": seconds, "imacs": {}}
    if maps is not None:
        folder.write("maps.safetensors", maps.save)
        scores |= _facts(maps)
        _write_looks(folder, maps, generated, pictures, scores)
    scores["failed"] = folder.failed
    folder.write("scores.json", lambda path: path.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8"))
    return scores


def _facts(maps: AttributionMaps) -> dict[str, Any]:
    run = maps.run
    return {"model": run.model, "seed": run.seed, "steps": run.steps, "cfg": run.cfg, "recording_bytes": maps.nbytes}


def _write_looks(
    folder: RunFolder,
    maps: AttributionMaps,
    generated: Image.Image | None,
    pictures: dict[str, Image.Image],
    scores: dict[str, Any],
) -> None:
    """The first look and the page; the scores are put into ``scores``."""
    found, masks = _scored(folder, maps, _masks(maps, pictures))
    scores["imacs"] = {} if found is None else {letter: score.as_dict() for letter, score in found.scores.items()}
    if generated is None:
        return
    reference = pictures["reference"].convert("RGB")
    title = f"I²AM: {maps.run.model}, seed {maps.run.seed}"

    def look(path: Path) -> None:
        first_look(maps, [generated], [reference], *masks).sheets[0].save(path)

    folder.write("first_look.png", look)
    folder.write("report.html", lambda path: report_of_run(path, maps, [generated], [reference], *masks, title=title))


def _masks(maps: AttributionMaps, pictures: dict[str, Image.Image]) -> Masks:
    """The inpainting mask at the generated picture's size, and the reference's at its own."""
    inpaint, reference = (
        mask_tensor(pictures[name], name) if name in pictures else None for name in ("inpaint_mask", "reference_mask")
    )
    return None if inpaint is None else mask_to_size(inpaint, maps.generated_size)[0], reference


def _scored(folder: RunFolder, maps: AttributionMaps, masks: Masks) -> tuple[ImageScores | None, Masks]:
    """The scores, and those of the masks that can be used."""
    if masks == (None, None):
        return None, masks
    for used in (masks, (masks[0], None)):
        try:
            return score_image(maps, *used), used
        except UnavailableError as error:  # of the maps; the masks are right
            folder.failed["IMACS"] = str(error)
            return None, used
        except I2AMError as error:
            name = "IMACS_r" if used[1] is not None else "IMACS_g"
            folder.failed[name] = str(error)
            log.warning("no %s: %s", name, error)
    return None, (None, None)
