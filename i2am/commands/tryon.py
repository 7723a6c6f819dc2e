"""A try-on with one of the paper's models from files to files: the picture, its maps, a first look, a page and the scores."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import I2AMError, MaskError
from ..geometry.layout import Layout
from ..hosts.diffusers.record import record
from ..maps.value import AttributionMaps
from ..models.carried import carried_by
from ..models.families import KINDS, assemble
from ..models.pictures import mask_to_size, thumbnail
from ..models.tryon.model import TryOnModel, try_on
from ..outputs.first_look import first_look
from ..outputs.run_report import report_of_run

log = logging.getLogger("i2am")

Progress = Callable[[int, int], object]
"""Called with the number of finished steps, and of all."""


def run_tryon(
    model: TryOnModel,
    pictures: dict[str, Image.Image],
    *,
    steps: int | None = None,
    cfg: float | None = None,
    seed: int = 0,
    on_step: Progress | None = None,
    **options: Any,
) -> tuple[Tensor, AttributionMaps]:
    """Sample and record one try-on; the picture (3, H, W) in 0-1 and its maps.

    Args:
        model: the model.
        pictures: "reference", and what the model's `families.Kind` asks for, by name; "inpaint_mask": white = repainted.
        steps: DDIM steps; None: the authors' number.
        cfg: scale of classifier-free guidance, 1 is without; None: the authors'.
        seed: of the noise.
        on_step: for progress.
        **options: of `Recorder`, such as pairwise and budget.

    Raises:
        I2AMError: a picture is missing or does not fit, or a number is out of range.
    """
    kind = KINDS[model.encoder.name]
    steps, cfg = kind.steps if steps is None else steps, kind.cfg if cfg is None else cfg
    if not 1 <= steps <= 1000 or not cfg > 0 or seed < 0:
        raise I2AMError(f"a run takes 1 to 1000 steps, cfg > 0 and seed >= 0, got {steps} steps, cfg {cfg:g}, seed {seed}")
    given: dict[str, Tensor | None] = {
        name: grey(picture) if name == "inpaint_mask" else colours(picture)
        for name, picture in pictures.items()
        if name not in ("reference", "reference_mask")
    }
    cut_to = grey(pictures["reference_mask"]) if "reference_mask" in pictures else None
    ready = assemble(model.encoder, model.encode, colours(pictures["reference"]), given, cut_to)
    carried = carried_by(ready.positive[0][1])
    assert carried is not None

    def layout_of(layer: str) -> Layout:
        return carried.layers.get(layer, carried.layout)

    mask = given.get("inpaint_mask")
    if mask is not None:
        options["inpaint_mask"] = mask_to_size(mask, model.encoder.size)[0, 0]
    recording = record(
        model.unet,
        layout_of,
        steps=steps,
        branches=("cond",) if cfg == 1 else ("uncond", "cond"),
        generated_size=model.encoder.size,
        info={"seed": seed, "sampler": "DDIM", "cfg": cfg, "model": model.encoder.name},
        thumbnails=carried.thumbnails,
        **options,
    )
    with recording:
        latents = try_on(
            model, ready, seeds=[seed], steps=steps, cfg=cfg, on_step=on_step and (lambda done: on_step(done, steps))
        )
    made = model.decode(latents)[0]
    maps = recording.maps
    return made, maps.with_thumbnails({**maps.thumbnails, "generated": thumbnail(made)})


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
        "imacs": {side: score.as_dict() for scored in look.scores for side, score in scored.scores.items()},
        "recording_bytes": maps.nbytes,
        "seconds": seconds,
    }
    (out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    return scores


def colours(picture: Image.Image) -> Tensor:
    """A picture as (1, H, W, 3) in 0-1."""
    return torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float32) / 255)[None]


def grey(picture: Image.Image) -> Tensor:
    """A mask as (1, H, W) in 0-1."""
    return torch.from_numpy(np.asarray(picture.convert("L"), dtype=np.float32) / 255)[None]
