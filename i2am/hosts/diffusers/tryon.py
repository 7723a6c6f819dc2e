"""A try-on with one of the paper's models in diffusers, recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from torch import Tensor

from ...data.checks import check_masks
from ...data.masks import mask_tensor
from ...data.pictures import colours
from ...errors import I2AMError, RecordingError
from ...geometry.layout import Layout
from ...geometry.masks import mask_to_score
from ...maps.value import AttributionMaps
from ...models.carried import carried_by
from ...models.conditioning import Ready, assemble
from ...models.pictures import mask_to_size, thumbnail, to_size
from ...models.resizing import linear
from ...models.tryon.model import TryOnModel, try_on
from ...models.tryon.sampling import SAMPLERS, timesteps_of
from .record import record

MASKS = ("inpaint_mask", "hands_mask", "reference_mask")
"""The pictures that are masks: white = 1."""
Progress = Callable[[int, int], object]
"""Called with the number of finished steps, and of all."""


@dataclass(frozen=True)
class Made:
    """What a run made; what failed after the sampling is None.

    Attributes:
        picture: (3, H, W) in 0-1, at the size that the model's authors show it at.
        pasted: the same with the person's own pixels outside of the inpainting mask; None also without person or mask.
        maps: what was recorded.
        failed: what went wrong, by the name of what is missing: "picture", "pasted" or "maps".
    """

    picture: Tensor | None
    pasted: Tensor | None
    maps: AttributionMaps | None
    failed: Mapping[str, str] = field(default_factory=dict)


def run_tryon(
    model: TryOnModel, pictures: dict[str, Image.Image], *, on_step: Progress | None = None, **options: Any
) -> tuple[Tensor, AttributionMaps]:
    """Sample and record one try-on; the picture (3, H, W) in 0-1 and its maps. Takes what `make_tryon` takes.

    Raises:
        I2AMError: a picture is missing or does not fit, a number is out of range, or something failed after the sampling.
    """
    made = make_tryon(model, pictures, on_step=on_step, **options)
    if made.picture is None or made.maps is None:
        raise RecordingError("; ".join(f"no {what}: {why}" for what, why in made.failed.items()))
    return made.picture, made.maps


def make_tryon(
    model: TryOnModel,
    pictures: dict[str, Image.Image],
    *,
    steps: int | None = None,
    cfg: float | None = None,
    sampler: str | None = None,
    seed: int = 0,
    on_step: Progress | None = None,
    **options: Any,
) -> Made:
    """Sample and record one try-on; what can be checked is checked before the first step.

    Args:
        model: the model.
        pictures: "reference", and what the model's `Family` asks for, by name; masks: white = 1.
        steps: the wanted number; None: the authors'. See `timesteps_of`.
        cfg: scale of classifier-free guidance, 1 is without; None: the authors'.
        sampler: "ddim" or "plms"; None: the authors'.
        seed: of the noise.
        on_step: for progress.
        **options: of `Recorder`, such as pairwise and budget.

    Raises:
        I2AMError: a picture is missing or does not fit, or a number is out of range.
    """
    family, size = model.encoder.family, model.encoder.size
    steps, cfg = family.steps if steps is None else steps, family.cfg if cfg is None else cfg
    sampler = family.sampler if sampler is None else sampler
    if not 1 <= steps <= 1000 or not cfg > 0 or seed < 0:
        raise I2AMError(f"a run takes 1 to 1000 steps, cfg > 0 and seed >= 0, got {steps} steps, cfg {cfg:g}, seed {seed}")
    if sampler not in SAMPLERS:
        raise I2AMError(f"sampler is {sampler!r}; choose one of {', '.join(SAMPLERS)}")
    check_masks(pictures)
    ready, times = _assembled(model, pictures), timesteps_of(steps)
    carried = carried_by(ready.positive[0][1])
    assert carried is not None

    def layout_of(layer: str) -> Layout:
        return carried.layers.get(layer, carried.layout)

    mask = None
    if "inpaint_mask" in pictures:
        mask = mask_to_size(mask_tensor(pictures["inpaint_mask"]), size, family.resize_mask)[0]
        options["inpaint_mask"] = mask_to_score(mask[0], f"inpaint_mask, at the model's {size[1]} x {size[0]} pixels,")
    recording = record(
        model.unet,
        layout_of,
        steps=len(times),
        timesteps=times,
        branches=("cond",) if cfg == 1 else ("uncond", "cond"),
        generated_size=family.shown_size(size),
        info={
            "seed": seed,
            "sampler": sampler.upper(),
            "cfg": cfg,
            "model": family.name,
            "extra": {} if len(times) == steps else {"steps_wanted": steps},
        },
        thumbnails=carried.thumbnails,
        **options,
    )
    latents, failed = None, {}
    try:
        with recording:
            latents = try_on(
                model,
                ready,
                seeds=[seed],
                steps=steps,
                cfg=cfg,
                sampler=sampler,
                on_step=on_step and (lambda done: on_step(done, len(times))),
            )
    except (I2AMError, RuntimeError, MemoryError) as error:
        if latents is None:
            raise
        failed["maps"] = str(error)
    maps = None if "maps" in failed else recording.maps
    try:
        whole = model.decode(latents)
    except (RuntimeError, MemoryError) as error:
        return Made(None, None, maps, failed | {"picture": f"the latents could not be decoded ({error})"})
    picture = _shown(model, whole)
    if maps is not None:
        maps = maps.with_thumbnails({**maps.thumbnails, "generated": thumbnail(picture)})
    pasted = None
    if mask is not None and "person" in pictures:
        below = to_size(colours(pictures["person"]), size, family.resize)
        pasted = _shown(model, whole * mask + below * (1 - mask))
    return Made(picture, pasted, maps, failed)


def _shown(model: TryOnModel, pictures: Tensor) -> Tensor:
    """The first of pictures (B, 3, H, W), at the size that the authors show it at.

    They resize with torchvision on tensors: without antialias in their version, with it from 0.17 on.
    """
    return linear(pictures, model.encoder.family.shown_size(model.encoder.size))[0]


def _assembled(model: TryOnModel, pictures: dict[str, Image.Image]) -> Ready:
    """Conditioning and start latent of the pictures, of which those named as masks are read as such."""
    masks = {name: mask_tensor(picture, name) for name, picture in pictures.items() if name in MASKS}
    shown = {name: colours(picture) for name, picture in pictures.items() if name not in MASKS}
    if "reference" not in shown:
        raise I2AMError(f"the {model.encoder.name} model also needs reference; give it")
    reference, cut_to = shown.pop("reference"), masks.pop("reference_mask", None)
    return assemble(model.encoder, model.encode, reference, {**shown, **masks}, cut_to)
