"""The bundled edit model: a person in their own clothes and a garment are its references, and there is no mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...bench.modes import Clock
from ...data.pictures import colours
from ...drawn.spec import PICTURE, REFERENCE
from ...geometry.resample import Size
from ...hosts.diffusers.steps import spread
from ...maps.value import AttributionMaps
from ...models.demo.family import load_part
from ...models.demo.networks import build_vae
from ...models.edit.blocks import attend
from ...models.edit.calls import BOTH
from ...models.edit.family import STEPS, WEIGHTS
from ...models.edit.model import FILE, EditModel
from ...models.edit.sampling import edit_noise, sample
from ...models.pictures import to_size
from ..errors import EvaluationError
from . import EDIT
from .edit_recording import EditRecording
from .sampler import RECORDED, Sample, Sampling

EULER = "euler"
MOST_STEPS = 1000


class EditSampler:
    """The edit model as a `Sampler`; its maps are of the garment, the second reference, unless they are shares.

    Args:
        model: the network and its text.
        vae: the bundled autoencoder.
        how: how it samples.

    Raises:
        EvaluationError: it cannot be sampled so.
    """

    family, dtype, inpaints = EDIT, "float32", False
    needs: tuple[str, ...] = ("person", "reference")
    takes: tuple[str, ...] = ()
    size: Size = PICTURE
    parts: tuple[str, ...] = (*BOTH, "text", "generated")

    def __init__(self, model: EditModel, vae: AutoencoderKL, how: Sampling | None = None) -> None:
        how = how or Sampling()
        if how.pasted:
            raise EvaluationError("the edit model has no mask outside of which the person could be pasted; leave out --pasted")
        if how.sampler not in (None, EULER):
            raise EvaluationError(f"the edit model is sampled by {EULER} alone, not by {how.sampler}; leave out --sampler")
        steps = STEPS if how.steps is None else how.steps
        if not 1 <= steps <= MOST_STEPS:
            raise EvaluationError(f"the edit model takes 1 to {MOST_STEPS} steps, got {steps}")
        self._model, self._vae = model, vae
        self.how = replace(
            how,
            steps=steps,
            every=max(1, steps // RECORDED) if how.every is None else how.every,
            cfg=1.0 if how.cfg is None else how.cfg,
            sampler=EULER,
        )

    @classmethod
    def load(cls, path: Path | None, how: Sampling | None = None, device: str = "cpu") -> EditSampler:
        """From a file or a folder with `edit.safetensors`; None: the bundled one.

        Raises:
            EvaluationError: there is no such file, it is not whole or of another model, or it cannot be sampled so.
        """
        file = edit_file(path)
        try:
            model = _model_of(file)
        except (RuntimeError, KeyError, SafetensorError) as error:
            raise EvaluationError(f"{file} is not of the edit model's layout ({' '.join(str(error).split())[:200]})") from error
        vae = build_vae().eval()
        vae.load_state_dict(load_part("vae"))
        return cls(model.to(device), vae.to(device), how)

    def true(self, picture: Image.Image) -> Tensor:
        """See `Sampler`."""
        return to_size(colours(picture), PICTURE)[0]

    def sample(self, batch: Sequence[Mapping[str, Image.Image]], seeds: Sequence[int]) -> list[Sample]:
        """See `Sampler`; pairs with garments of one size are sampled in one batch."""
        groups: dict[tuple[int, int], list[int]] = {}
        for index, pictures in enumerate(batch):
            groups.setdefault(pictures["reference"].size, []).append(index)
        out: dict[int, Sample] = {}
        for (width, height), group in groups.items():
            made = self._sampled([batch[i] for i in group], [seeds[i] for i in group], (height, width))
            out.update(zip(group, made, strict=True))
        return [out[index] for index in range(len(batch))]

    @torch.no_grad()
    def _sampled(self, batch: Sequence[Mapping[str, Image.Image]], seeds: Sequence[int], garment: Size) -> list[Sample]:
        device, how = self._model.context.device, self.how
        whole, hooks = Clock(device), Clock(device)
        recording = self._recording(len(batch), garment, hooks) if how.recorded else None
        made, maps = whole.timed(self._run)(batch, seeds, recording)
        record, taken = hooks.take() / len(batch), whole.take() / len(batch)
        seconds = {"sample": taken - record, "record": record}
        return [Sample(picture, maps, index, seconds=seconds, reference=1) for index, picture in enumerate(made)]

    def _run(
        self, batch: Sequence[Mapping[str, Image.Image]], seeds: Sequence[int], recording: EditRecording | None
    ) -> tuple[Tensor, AttributionMaps | None]:
        """The pictures (B, 3, H, W) in 0-1, and their maps."""
        device, how = self._model.context.device, self.how
        assert how.steps is not None
        assert how.cfg is not None
        sides = (("person", PICTURE), ("reference", REFERENCE))
        latents = sample(
            self._model.network,
            self._model.context,
            [self._encoded([pictures[name] for pictures in batch], size, device) for name, size in sides],
            edit_noise(seeds).to(device),
            how.steps,
            how.cfg,
            attend=attend if recording is None else recording.attend,
            on_step=None if recording is None else recording.on_step,
        )
        decoded = (self._vae.decode(latents).sample / 2 + 0.5).clamp(0, 1).cpu()
        return decoded, None if recording is None else recording.finish()

    def _recording(self, images: int, garment: Size, hooks: Clock) -> EditRecording:
        how = self.how
        assert how.steps is not None
        return EditRecording(
            images,
            how.steps,
            kept=spread(how.steps, how.every or 1),
            garment=garment,
            timed=hooks.timed,
            about={"sampler": EULER, "cfg": how.cfg, "model": "edit", "host": "i2am"},
            budget=how.budget * images,
        )

    def _encoded(self, pictures: Sequence[Image.Image], size: Size, device: torch.device) -> Tensor:
        values = torch.cat([to_size(colours(picture), size) for picture in pictures])
        latents: Tensor = self._vae.encode(values.to(device) * 2 - 1).latent_dist.mode()
        return latents


def _model_of(file: Path) -> EditModel:
    """The model of a file, in fp32 and ready to run."""
    model = EditModel()
    model.load_file_state({name: value.float() for name, value in load_file(file).items()})
    return model.eval()


def edit_file(path: Path | None) -> Path:
    """The file of the edit model's weights: itself, in a folder, or the bundled one.

    Raises:
        EvaluationError: there is none.
    """
    file = WEIGHTS / FILE if path is None else path / FILE if path.is_dir() else path
    if not file.is_file():
        raise EvaluationError(f"there is no {file}; give the edit model's weights, or a folder with {FILE}, by --model")
    return file
