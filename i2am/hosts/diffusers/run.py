"""One recorded run of a diffusers model, from its first evaluation to its maps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...errors import RecordingError
from ...geometry.layout import Layout
from ...maps.facts import RunInfo
from ...maps.value import AttributionMaps
from ...recording.recorder import Recorder
from ..registry import fingerprint
from .network import Attentions, Evaluation, Given, Network
from .rows import PLAIN, Branches
from .steps import BEFORE, Counted, Scheduled, sigmas_of, steps_of


@dataclass(frozen=True, eq=False)
class Settings:
    """The arguments of `record`: what the run is, and what to keep of it."""

    layout: Layout | Callable[[str], Layout] | None
    steps: int | None
    branches: tuple[str, ...] | None
    images: int
    keep: tuple[str, ...]
    timesteps: list[float] | None = None
    scheduler: Any = None
    generated_size: tuple[int, int] | None = None
    info: dict[str, Any] = field(default_factory=dict)
    thumbnails: dict[str, Tensor] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        branches = PLAIN if self.branches is None else self.branches
        missing = [b for b in self.keep if b not in branches]
        if missing or len(set(branches)) != len(branches):
            raise RecordingError(f"branches to keep {self.keep} must be among the run's branches {branches}, each named once")


class Run:
    """One run, from its first evaluation to its last.

    Args:
        model: the model or pipeline.
        network: its network.
        settings: what the run is.
    """

    def __init__(self, model: Any, network: Network, settings: Settings) -> None:
        self._model, self._network, self._settings = model, network, settings
        self._thread, self._elsewhere = threading.get_ident(), False
        self._scheduler: Any = None
        self._steps: Scheduled | Counted | None = None
        self._branches: Branches | None = None
        self._layout: Layout | Callable[[str], Layout] | None = None
        self._recorder: Recorder | None = None
        self._place, self._over = BEFORE, False
        self._evaluation: Evaluation | None = None
        self._input = ""

    def before_evaluation(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before every call of the network: find out its step, and which rows belong to which branch."""
        if threading.get_ident() != self._thread:
            self._elsewhere = True
            return
        self._evaluation = None
        given = self._network.given(args, kwargs)
        if self._recorder is None:
            self._begin(given)
        assert self._steps is not None
        assert self._branches is not None
        assert self._recorder is not None
        if self._over or self._steps.left_by(self._scheduler_now()):
            self._over = True
            return
        place = self._steps.place(given.time)
        if place.position < self._place.position:
            self._over = True
            return
        if place.position != self._place.position:
            if place.step != self._place.step and self._place != BEFORE:
                self._recorder.end_step(self._place.step)
            self._branches.begin()
        self._place = place
        rows = self._branches.split(given.sample.shape[0])
        if rows:
            self._evaluation = Evaluation(place.step, given.latent, given.sample.shape[0], rows)

    def _scheduler_now(self) -> Any:
        own = self._settings.scheduler
        return getattr(self._model, "scheduler", None) if own is None else own

    def _begin(self, given: Given) -> None:
        """Prepare for the steps, branches and keys of the run, at its first evaluation."""
        self._network.of(self._model)  # refuses one that was compiled since
        settings, self._scheduler = self._settings, self._scheduler_now()
        self._layout = settings.layout or self._network.layout(given)
        if self._layout is None:
            raise RecordingError(
                "it is not known what the keys of this model's attention are: give the `layout` of the reference's tokens, for "
                "example Layout.of(TokenGrid(16, 16, leading=1))"
            )
        self._steps = steps_of(self._scheduler, settings.timesteps, settings.steps)
        last = isinstance(self._steps, Counted)  # where evaluations are not told apart, the last one counts
        self._branches = Branches(self._model, settings.branches, settings.images, last)
        self._input = fingerprint(given.sample)
        self._recorder = Recorder(
            self._layout,
            steps=self._steps.steps,
            images=settings.images,
            branches=settings.keep,
            generated_size=settings.generated_size or self._picture_size(given.latent),
            **settings.options,
        )

    def observe(self, layer: str, attentions: Attentions) -> None:
        """Record one call of a layer, if it is of an evaluation that is recorded."""
        if self._recorder is None or self._evaluation is None or not self._recorder.wants(layer):
            return
        layout = self._layout(layer) if callable(self._layout) else self._layout
        assert layout is not None
        for attention in attentions(self._evaluation):
            if layout.indices(attention.softmax):
                attention.record(self._recorder, self._evaluation.step)

    def abandon(self) -> None:
        """The run was interrupted or failed: keep nothing of it."""
        if self._recorder is not None:
            self._recorder.abandon()

    def finish(self) -> AttributionMaps:
        """The maps of the run.

        Raises:
            RecordingError: the model was not called, or nothing was recorded.
        """
        if self._recorder is None or self._branches is None:
            where = " (it was called in another thread: enter the recording in the thread that runs the model)"
            raise RecordingError(
                f"the model was not called inside the `with` block{where if self._elsewhere else ''}, so nothing was recorded"
            )
        self._recorder.end_step(self._place.step)
        notes = self._branches.notes
        if self._over:
            notes.append("a second run in the same `with` block was left out: one recording holds one run")
        return self._recorder.finish(self._info(), self._settings.thumbnails, notes)

    def _picture_size(self, latent: tuple[int, int]) -> tuple[int, int]:
        factor = int(getattr(self._model, "vae_scale_factor", 8))
        return latent[0] * factor, latent[1] * factor

    def _info(self) -> RunInfo:
        assert self._steps is not None
        times, told, scheduler = tuple(self._steps.timesteps), self._settings.info, self._scheduler
        facts: dict[str, Any] = {
            "sampler": type(scheduler).__name__ if scheduler is not None else "",
            "sigmas": sigmas_of(scheduler, times),
        }
        extra = {"input_hash": self._input, **told.get("extra", {})}
        return RunInfo(**{**facts, **told, "extra": extra, "steps": self._steps.steps, "timesteps": times, "host": "diffusers"})
