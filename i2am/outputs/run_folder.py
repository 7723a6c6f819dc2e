"""A try-on with one of the paper's models from files to files: the picture, its maps, a first look, a page and the scores."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..data.pictures import colours, grey
from ..errors import MaskError
from ..maps.value import AttributionMaps
from ..models.pictures import mask_to_size, thumbnail
from .first_look import first_look
from .report import report_of_run

log = logging.getLogger("i2am")


def write_run(
    out: Path, made: Tensor, maps: AttributionMaps, pictures: dict[str, Image.Image], seconds: float
) -> dict[str, Any]:
    """Write the picture, its maps, the first look, the page and the scores to a folder; returns what ``scores.json`` holds.

    Raises:
        OSError: the folder cannot be written to.
    """
    out.mkdir(parents=True, exist_ok=True)
    maps.save(out / "maps.safetensors")
    generated = Image.fromarray(thumbnail(made).numpy())
    generated.save(out / "generated.png")
    size = (generated.height, generated.width)
    inpaint = mask_to_size(grey(pictures["inpaint_mask"]), size)[0] if "inpaint_mask" in pictures else None
    shown = grey(pictures["reference_mask"]) if "reference_mask" in pictures else None
    person = pictures.get("person")
    if inpaint is not None and person is not None:
        below = colours(person.resize(generated.size, Image.Resampling.BICUBIC))[0].movedim(-1, 0)
        pasted = made * inpaint + below * (1 - inpaint)
        Image.fromarray(thumbnail(pasted).numpy()).save(out / "generated_pasted.png")
    reference = pictures["reference"].convert("RGB")
    masks: tuple[Tensor | None, Tensor | None] = (inpaint, shown)
    try:
        look = first_look(maps, [generated], [reference], *masks)
    except MaskError as error:  # the run took long, so a mask takes nothing away but the scores
        log.warning("no scores: %s", error)
        masks = (None, None)
        look = first_look(maps, [generated], [reference], *masks)
    look.sheets[0].save(out / "first_look.png")
    title = f"I²AM: {maps.run.model}, seed {maps.run.seed}"
    report_of_run(out / "report.html", maps, [generated], [reference], *masks, title=title)
    scores = {
        "model": maps.run.model,
        "seed": maps.run.seed,
        "steps": maps.run.steps,
        "cfg": maps.run.cfg,
        "imacs": {letter: score.as_dict() for scored in look.scores for letter, score in scored.scores.items()},
        "recording_bytes": maps.nbytes,
        "seconds": seconds,
    }
    (out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    return scores
