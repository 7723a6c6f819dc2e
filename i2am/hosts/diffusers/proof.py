"""Runs of a diffusers pipeline with the same noise, uncut and with cuts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import I2AMError, RecordingError, shown
from ...interventions.plan import Cut
from ...interventions.questions import UNCUT, Ran
from .record import intervene, record

OnStep = Callable[[int, int], None]


class PipelineRuns:
    """One call of a pipeline, which can be made with any cut; its noise is that of the seed.

    Args:
        pipeline: one that `record` takes without a layout: FLUX.1 Kontext, FLUX.2, Qwen-Image-Edit, IP-Adapters and so on.
        given: what the pipeline is called with: pictures, prompt, steps, guidance, size.
        seed: of the noise.
        steps: how many the call makes.
    """

    def __init__(self, pipeline: Any, given: Mapping[str, Any], seed: int, steps: int) -> None:
        self._pipeline, self._given, self._seed, self.steps = pipeline, given, seed, steps

    def run(self, cut: Cut = UNCUT, *, recorded: bool = False, on_step: OnStep | None = None) -> Ran:
        """The picture, (1, H, W, 3) in 0-1, of the run with a cut; recording changes no bit of it."""
        if recorded:
            recording = record(self._pipeline, cuts=() if cut.what == "nothing" else (cut,), pairwise=None, stride=1)
            with recording:
                picture = self._picture(on_step)
            return Ran(picture, recording.maps)
        if cut.what == "nothing":
            return Ran(self._picture(on_step))
        with intervene(self._pipeline, [cut]):
            return Ran(self._picture(on_step))

    def _picture(self, on_step: OnStep | None) -> Tensor:
        done = 0

        def ended(_pipeline: Any, _step: int, _timestep: Any, kept: dict[str, Any]) -> dict[str, Any]:
            nonlocal done
            done += 1
            if on_step is not None:
                on_step(done, self.steps)
            return kept

        generator = torch.Generator().manual_seed(self._seed)
        out = self._pipeline(
            **self._given,
            num_inference_steps=self.steps,
            generator=generator,
            output_type="pt",
            callback_on_step_end=ended,
        )
        picture: Tensor = out.images[:1].float().cpu()
        return picture.movedim(1, -1).contiguous()


def load_pipeline(folder: Path, device: str, dtype: torch.dtype, **parts: Any) -> Any:
    """A pipeline of a local folder in diffusers' layout; nothing is downloaded, and no code of the folder is run.

    Args:
        folder: its folder.
        device, dtype: where and as what it runs.
        **parts: of the pipeline, in place of the folder's own, such as ``text_encoder=None``.

    Raises:
        I2AMError: the folder holds none.
    """
    from diffusers import DiffusionPipeline

    if not (folder / "model_index.json").is_file():
        raise I2AMError(f"--model is {folder}, which holds no model_index.json; give a pipeline's folder in diffusers' layout")
    try:
        pipeline = DiffusionPipeline.from_pretrained(folder, local_files_only=True, torch_dtype=dtype, **parts)
    except (OSError, ValueError, ImportError, AttributeError) as error:
        raise RecordingError(f"the pipeline of {folder} cannot be loaded: {shown(error, 300)}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
