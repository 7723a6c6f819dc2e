"""The paper's try-on models and the bundled demo model, through diffusers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image
from torch import Tensor

from ...bench.modes import Clock
from ...data.pictures import colours
from ...hosts.diffusers.tryon import Made, make_tryons
from ...models.pictures import to_size
from ...models.resizing import linear
from ...models.tryon.model import TryOnModel
from ...models.tryon.sampling import timesteps_of
from ..errors import EvaluationError
from .sampler import RECORDED, Sample, Sampling


class TryOnSampler:
    """A try-on model as a `Sampler`.

    Args:
        model: the model.
        how: how it samples.
    """

    inpaints = True
    parts: tuple[str, ...] = ()

    def __init__(self, model: TryOnModel, how: Sampling | None = None) -> None:
        family, how = model.encoder.family, how or Sampling()
        self._model, self.family = model, family.name
        steps = family.steps if how.steps is None else how.steps
        times = timesteps_of(steps)  # refuses what is out of range before anything is done
        self.how = replace(
            how,
            steps=steps,
            every=max(1, len(times) // RECORDED) if how.every is None else how.every,
            cfg=family.cfg if how.cfg is None else how.cfg,
            sampler=how.sampler or family.sampler,
        )
        self.dtype = str(model.unet.dtype).removeprefix("torch.")
        self.needs, self.takes = ("reference", *family.needs), family.takes
        self.size = family.shown_size(model.encoder.size)

    def sample(self, batch: Sequence[Mapping[str, Image.Image]], seeds: Sequence[int]) -> list[Sample]:
        """See `Sampler`; pairs with references of one size and the same pictures are sampled in one batch."""
        groups: dict[object, list[int]] = {}
        for index, pictures in enumerate(batch):
            groups.setdefault((pictures["reference"].size, tuple(sorted(pictures))), []).append(index)
        out: dict[int, Sample] = {}
        for group in groups.values():
            made = self._sampled([batch[i] for i in group], [seeds[i] for i in group])
            out.update(zip(group, made, strict=True))
        return [out[index] for index in range(len(batch))]

    def true(self, picture: Image.Image) -> Tensor:
        """See `Sampler`."""
        encoder = self._model.encoder
        return linear(to_size(colours(picture), encoder.size, encoder.family.resize), self.size)[0]

    def _sampled(self, batch: Sequence[Mapping[str, Image.Image]], seeds: Sequence[int]) -> list[Sample]:
        device, how = self._model.unet.device, self.how
        whole, hooks = Clock(device), Clock(device)
        made: list[Made] = whole.timed(make_tryons)(
            self._model,
            batch,
            seeds,
            steps=how.steps,
            cfg=how.cfg,
            sampler=how.sampler,
            recorded=how.recorded,
            on_recording=hooks.time_hooks,
            **(self._recorder(len(batch)) if how.recorded else {}),
        )
        record, taken = hooks.take() / len(batch), whole.take() / len(batch)
        return [self._told(one, {"sample": taken - record, "record": record}) for one in made]

    def _recorder(self, images: int) -> dict[str, Any]:
        """What to record: patch maps in one time group, since nothing here looks at their course in time."""
        return {"pairwise": "mean", "groups": 1, "budget": self.how.budget * images, "every": self.how.every or 1}

    def _told(self, made: Made, seconds: Mapping[str, float]) -> Sample:
        picture = made.pasted if self.how.pasted else made.picture
        if picture is None:
            why = made.failed.get("picture") or "there is no person or no inpaint_mask to paste the picture into"
            raise EvaluationError(f"no picture was made: {why}; mend that and go on with --resume")
        return Sample(picture, made.maps, made.image, made.failed.get("maps", ""), seconds)
