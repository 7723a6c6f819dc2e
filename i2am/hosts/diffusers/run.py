"""One recorded run of a diffusers model, from its first evaluation to its maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import RecordingError
from ...geometry.layout import Layout
from ...maps.facts import RunInfo
from ...maps.value import AttributionMaps
from ...recording.recorder import Recorder
from ..registry import fingerprint
from .network import Attentions, Evaluation, Network
from .rows import Branches
from .steps import Steps


@dataclass(frozen=True, eq=False)
class Settings:
    """The arguments of `record`: what the run is, and what to keep of it."""

    layout: Layout | Callable[[str], Layout]
    steps: int
    branches: tuple[str, ...]
    images: int
    keep: tuple[str, ...]
    timesteps: list[float] | None = None
    generated_size: tuple[int, int] | None = None
    info: dict[str, Any] = field(default_factory=dict)
    thumbnails: dict[str, Tensor] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [b for b in self.keep if b not in self.branches]
        if missing or len(set(self.branches)) != len(self.branches):
            raise RecordingError(
                f"branches to keep {self.keep} must be among the run's branches {self.branches}, each named once"
            )


class Run:
    """One run, from its first evaluation to its last.

    Args:
        model: the model or pipeline.
        network: its network.
        settings: what the run is.
    """

    def __init__(self, model: Any, network: Network, settings: Settings) -> None:
        self._model, self._network, self._settings = model, network, settings
        self._steps = Steps(settings.timesteps)
        self._branches = Branches(settings.branches, settings.images)
        self._recorder: Recorder | None = None
        self._evaluation: Evaluation | None = None
        self._input = ""

    def before_evaluation(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before every call of the network: find out its step, and which rows belong to which branch."""
        given = self._network.given(args, kwargs)
        if self._steps.begins(given.time):
            if self._recorder is not None:
                self._recorder.end_step(self._steps.now)
            self._steps.begin(given.time)
            self._branches.begin_step()
        self._evaluation = Evaluation(self._steps.now, given.latent, self._branches.split(given.sample.shape[0]))
        if self._recorder is None:
            self._input = fingerprint(given.sample)
            self._recorder = Recorder(
                self._settings.layout,
                steps=self._settings.steps,
                images=self._settings.images,
                branches=self._settings.keep,
                generated_size=self._settings.generated_size or self._picture_size(given.latent),
                **self._settings.options,
            )

    def observe(self, layer: str, attentions: Attentions) -> None:
        """Record one call of a layer."""
        assert self._recorder is not None
        assert self._evaluation is not None
        if self._recorder.wants(layer):
            for attention in attentions(self._evaluation):
                attention.record(self._recorder, self._evaluation.step)

    def abandon(self) -> None:
        """The run was interrupted or failed: keep nothing of it."""
        if self._recorder is not None:
            self._recorder.abandon()

    def finish(self) -> AttributionMaps:
        """The maps of the run.

        Raises:
            RecordingError: the model was never called, or nothing was recorded.
        """
        if self._recorder is None:
            raise RecordingError("the model was not called inside the `with` block, so nothing was recorded")
        self._recorder.end_step(self._steps.now)
        return self._recorder.finish(self._info(), self._settings.thumbnails)

    def _picture_size(self, latent: tuple[int, int]) -> tuple[int, int]:
        factor = int(getattr(self._model, "vae_scale_factor", 8))
        return latent[0] * factor, latent[1] * factor

    def _info(self) -> RunInfo:
        scheduler = getattr(self._model, "scheduler", None)
        alphas = getattr(scheduler, "alphas_cumprod", None)
        sigmas: tuple[float, ...] = ()
        times, told = self._steps.timesteps, self._settings.info
        if alphas is not None:
            index = torch.tensor(times).round().long().clamp(0, len(alphas) - 1)
            sigmas = tuple((((1 - alphas[index]) / alphas[index]) ** 0.5).tolist())
        facts: dict[str, Any] = {"sampler": type(scheduler).__name__ if scheduler is not None else "", "sigmas": sigmas}
        extra = {"input_hash": self._input, **told.get("extra", {})}
        return RunInfo(
            **{**facts, **told, "extra": extra, "steps": self._settings.steps, "timesteps": tuple(times), "host": "diffusers"}
        )
