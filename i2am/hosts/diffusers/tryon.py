"""Try-ons with one of the paper's models in diffusers, recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ...data.checks import check_masks
from ...data.masks import mask_tensor
from ...data.pictures import colours
from ...errors import I2AMError, RecordingError
from ...geometry.masks import mask_to_score
from ...geometry.resample import Size
from ...maps.value import AttributionMaps
from ...models.carried import carried_by
from ...models.conditioning import Ready, assemble, joined
from ...models.pictures import mask_to_size, thumbnail, to_size
from ...models.resizing import linear
from ...models.tryon.model import TryOnModel, try_on
from ...models.tryon.sampling import SAMPLERS, timesteps_of
from .record import DiffusersRecording, record

MASKS = ("inpaint_mask", "hands_mask", "reference_mask")
"""The pictures that are masks: white = 1."""
Progress = Callable[[int, int], object]
"""Called with the number of finished steps, and of all."""


@dataclass(frozen=True)
class Made:
    """What a run made of one image; what failed after the sampling is None.

    Attributes:
        picture: (3, H, W) in 0-1, at the size that the model's authors show it at.
        pasted: the same with the person's own pixels outside of the inpainting mask; None also without person or mask.
        maps: what was recorded, of the whole batch; None also where the run was not recorded.
        failed: what went wrong, by the name of what is missing: "picture", "pasted" or "maps".
        image: which image of the batch it is, from 0.
    """

    picture: Tensor | None
    pasted: Tensor | None
    maps: AttributionMaps | None
    failed: Mapping[str, str] = field(default_factory=dict)
    image: int = 0


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


def make_tryon(model: TryOnModel, pictures: Mapping[str, Image.Image], *, seed: int = 0, **options: Any) -> Made:
    """Sample and record one try-on; takes what `make_tryons` takes.

    Raises:
        I2AMError: a picture is missing or does not fit, or a number is out of range.
    """
    return make_tryons(model, [pictures], [seed], **options)[0]


def make_tryons(
    model: TryOnModel,
    batch: Sequence[Mapping[str, Image.Image]],
    seeds: Sequence[int],
    *,
    steps: int | None = None,
    cfg: float | None = None,
    sampler: str | None = None,
    on_step: Progress | None = None,
    recorded: bool = True,
    on_recording: Callable[[DiffusersRecording], object] | None = None,
    **options: Any,
) -> list[Made]:
    """Sample and record try-ons in one batch; what can be checked is checked before the first step.

    Args:
        model: the model.
        batch: per image "reference", and what the model's `Family` asks for, by name; masks: white = 1. All have the same
            names, and references of one size.
        seeds: of each image's noise.
        steps: the wanted number; None: the authors'. See `timesteps_of`.
        cfg: scale of classifier-free guidance, 1 is without; None: the authors'.
        sampler: "ddim" or "plms"; None: the authors'.
        on_step: for progress.
        recorded: whether to record.
        on_recording: called with the recording before the run.
        **options: of `Recorder`, such as pairwise and budget.

    Raises:
        I2AMError: a picture is missing or does not fit, or a number is out of range.
    """
    family, size = model.encoder.family, model.encoder.size
    steps, cfg = family.steps if steps is None else steps, family.cfg if cfg is None else cfg
    sampler = family.sampler if sampler is None else sampler
    if not 1 <= steps <= 1000 or not 0 < cfg < float("inf") or not all(0 <= seed < 1 << 64 for seed in seeds):
        raise I2AMError(
            f"a run takes 1 to 1000 steps, a finite cfg > 0 and a seed from 0 to {(1 << 64) - 1}, got {steps} steps, cfg "
            f"{cfg:g}, seed {', '.join(map(str, seeds))}"
        )
    if sampler not in SAMPLERS:
        raise I2AMError(f"sampler is {sampler!r}; choose one of {', '.join(SAMPLERS)}")
    for pictures in batch:
        check_masks(pictures)
    ready, times = joined([_assembled(model, pictures) for pictures in batch]), timesteps_of(steps)
    masks = _inpaint_masks(model, batch)
    recording: AbstractContextManager[Any] = nullcontext()
    if recorded:
        carried = carried_by(ready.positive[0][1])
        assert carried is not None
        if masks is not None:
            options["inpaint_mask"] = torch.stack([mask_to_score(mask[0], _mask_name(size)) for mask in masks])
        recording = record(
            model.unet,
            lambda layer: carried.layers.get(layer, carried.layout),
            steps=len(times),
            timesteps=times,
            branches=("cond",) if cfg == 1 else ("uncond", "cond"),
            images=len(batch),
            generated_size=family.shown_size(size),
            info=_info(family.name, seeds, sampler, cfg, steps, len(times)),
            thumbnails=carried.thumbnails if len(batch) == 1 else None,
            **options,
        )
        if on_recording is not None:
            on_recording(recording)
    latents, failed = None, {}
    try:
        with recording:
            latents = try_on(
                model,
                ready,
                seeds=seeds,
                steps=steps,
                cfg=cfg,
                sampler=sampler,
                on_step=on_step and (lambda done: on_step(done, len(times))),
            )
    except (I2AMError, RuntimeError, MemoryError) as error:
        if latents is None:
            raise
        failed["maps"] = str(error)
    maps = recording.maps if isinstance(recording, DiffusersRecording) and "maps" not in failed else None
    try:
        whole = model.decode(latents)
    except (RuntimeError, MemoryError) as error:
        failed["picture"] = f"the latents could not be decoded ({error})"
        return [Made(None, None, maps, failed, image) for image in range(len(batch))]
    shown = _shown(model, whole)
    if maps is not None and len(batch) == 1:
        maps = maps.with_thumbnails({**maps.thumbnails, "generated": thumbnail(shown[0])})
    pasted = None if masks is None else _pasted(model, whole, masks, batch)
    return [
        Made(picture, None if pasted is None else pasted[image], maps, failed, image) for image, picture in enumerate(shown)
    ]


def _info(family: str, seeds: Sequence[int], sampler: str, cfg: float, wanted: int, steps: int) -> dict[str, Any]:
    """What the maps say of the run."""
    extra: dict[str, Any] = {} if steps == wanted else {"steps_wanted": wanted}
    if len(seeds) > 1:
        extra["seeds"] = list(seeds)
    return {"seed": seeds[0], "sampler": sampler.upper(), "cfg": cfg, "model": family, "extra": extra}


def _mask_name(size: Size) -> str:
    return f"inpaint_mask, at the model's {size[1]} x {size[0]} pixels,"


def _inpaint_masks(model: TryOnModel, batch: Sequence[Mapping[str, Image.Image]]) -> Tensor | None:
    """(B, 1, H, W) at the model's size; None where there are none."""
    if not all("inpaint_mask" in pictures for pictures in batch):
        return None
    family, size = model.encoder.family, model.encoder.size
    masks = (mask_tensor(pictures["inpaint_mask"], "inpaint_mask") for pictures in batch)
    return torch.cat([mask_to_size(mask, size, family.resize_mask) for mask in masks])


def _pasted(model: TryOnModel, whole: Tensor, masks: Tensor, batch: Sequence[Mapping[str, Image.Image]]) -> Tensor | None:
    """Pictures (B, 3, H, W) with the person's own pixels outside of the masks, as shown; None without the persons."""
    if not all("person" in pictures for pictures in batch):
        return None
    family, size = model.encoder.family, model.encoder.size
    below = torch.cat([to_size(colours(pictures["person"]), size, family.resize) for pictures in batch])
    return _shown(model, whole * masks + below * (1 - masks))


def _shown(model: TryOnModel, pictures: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) at the size that the authors show them at.

    They resize with torchvision on tensors: without antialias in their version, with it from 0.17 on.
    """
    return linear(pictures, model.encoder.family.shown_size(model.encoder.size))


def _assembled(model: TryOnModel, pictures: Mapping[str, Image.Image]) -> Ready:
    """Conditioning and start latent of the pictures, of which those named as masks are read as such."""
    masks = {name: mask_tensor(picture, name) for name, picture in pictures.items() if name in MASKS}
    shown = {name: colours(picture) for name, picture in pictures.items() if name not in MASKS}
    if "reference" not in shown:
        raise I2AMError(f"the {model.encoder.family.name} model also needs reference; give it")
    reference, cut_to = shown.pop("reference"), masks.pop("reference_mask", None)
    return assemble(model.encoder, model.encode, reference, {**shown, **masks}, cut_to)
