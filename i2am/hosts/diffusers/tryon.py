"""A try-on with one of the paper's models in diffusers, recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image
from torch import Tensor

from ...data.pictures import colours, grey
from ...errors import I2AMError
from ...geometry.layout import Layout
from ...maps.value import AttributionMaps
from ...models.carried import carried_by
from ...models.conditioning import Ready, assemble
from ...models.pictures import mask_to_size, thumbnail
from ...models.tryon.model import TryOnModel, try_on
from .record import record

MASKS = ("inpaint_mask", "reference_mask")
"""The pictures that are masks: white = 1."""
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
        pictures: "reference", and what the model's `Family` asks for, by name; "inpaint_mask" and "reference_mask": white = 1.
        steps: DDIM steps; None: the authors' number.
        cfg: scale of classifier-free guidance, 1 is without; None: the authors'.
        seed: of the noise.
        on_step: for progress.
        **options: of `Recorder`, such as pairwise and budget.

    Raises:
        I2AMError: a picture is missing or does not fit, or a number is out of range.
    """
    family = model.encoder.family
    steps, cfg = family.steps if steps is None else steps, family.cfg if cfg is None else cfg
    if not 1 <= steps <= 1000 or not cfg > 0 or seed < 0:
        raise I2AMError(f"a run takes 1 to 1000 steps, cfg > 0 and seed >= 0, got {steps} steps, cfg {cfg:g}, seed {seed}")
    ready = _assembled(model, pictures)
    carried = carried_by(ready.positive[0][1])
    assert carried is not None

    def layout_of(layer: str) -> Layout:
        return carried.layers.get(layer, carried.layout)

    if "inpaint_mask" in pictures:
        options["inpaint_mask"] = mask_to_size(grey(pictures["inpaint_mask"]), model.encoder.size)[0, 0]
    recording = record(
        model.unet,
        layout_of,
        steps=steps,
        branches=("cond",) if cfg == 1 else ("uncond", "cond"),
        generated_size=model.encoder.size,
        info={"seed": seed, "sampler": "DDIM", "cfg": cfg, "model": family.name},
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


def _assembled(model: TryOnModel, pictures: dict[str, Image.Image]) -> Ready:
    """Conditioning and start latent of the pictures, of which those named as masks are read as such."""
    masks = {name: grey(picture) for name, picture in pictures.items() if name in MASKS}
    shown = {name: colours(picture) for name, picture in pictures.items() if name not in MASKS}
    reference, cut_to = shown.pop("reference"), masks.pop("reference_mask", None)
    return assemble(model.encoder, model.encode, reference, {**shown, **masks}, cut_to)
