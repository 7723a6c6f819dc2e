"""Records a run of the edit model through its ``attend`` and ``on_step``: every generated token, and every pair."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor

from ...drawn.spec import PICTURE, REFERENCE
from ...geometry.resample import Size
from ...hosts.attention import Attention
from ...maps.facts import RunInfo
from ...maps.value import AttributionMaps
from ...models.edit.blocks import attend
from ...models.edit.calls import sequence
from ...models.edit.family import LATE, STEPS
from ...models.edit.sampling import sigmas
from ...recording.recorder import Recorder

Timed = Callable[[Callable[..., Any]], Callable[..., Any]]


class EditRecording:
    """See `models.edit.sampling.sample`, which calls it.

    Args:
        images: pictures of the batch.
        steps: of the run.
        groups: time groups of the pairwise maps.
        kept: the steps that are recorded; None: all.
        garment: (H, W) of the garment's picture.
        timed: wraps what records, to measure it.
        about: facts of the run, for `RunInfo`.
        options: of `Recorder`.
    """

    def __init__(
        self,
        images: int = 1,
        steps: int = STEPS,
        *,
        groups: int = 1,
        kept: Collection[int] | None = None,
        garment: Size = REFERENCE,
        timed: Timed = lambda function: function,
        about: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        own: dict[str, Any] = {"stride": 1, "cells": 0, "null_branches": (), "generated_size": PICTURE, **options}
        self.recorder = Recorder(None, steps=steps, images=images, groups=min(groups, steps), **own)
        levels = tuple(sigmas(steps)[:-1].tolist())
        facts: dict[str, Any] = {"sampler": "Euler", "cfg": 1.0, "model": "I2AM edit model", **(about or {})}
        self.run = RunInfo(steps=steps, sigmas=levels, default_layers=LATE, **facts)
        self._kept, self._garment, self._step = frozenset(range(steps) if kept is None else kept), garment, 0
        self._observe, self._end, self.finish = timed(self._observed), timed(self._ended), timed(self._finished)

    def attend(self, name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The layer's own attention, after it was recorded; see `models.edit.blocks.Attend`."""
        if self._step in self._kept:
            self._observe(name, q, k)
        return attend(name, q, k, v)

    def on_step(self, done: int) -> None:
        """A step has ended; ``done`` are."""
        if self._step in self._kept:
            self._end()
        self._step = done

    def _observed(self, name: str, q: Tensor, k: Tensor) -> None:
        of = sequence(q.shape[2] < k.shape[2], self._garment)
        Attention.joint(name, of, "cond", q, k, None, scale=q.shape[-1] ** -0.5).record(self.recorder, self._step)

    def _ended(self) -> None:
        self.recorder.end_step(self._step)

    def _finished(self) -> AttributionMaps:
        """What was recorded."""
        some = f"recorded in {len(self._kept)} of {self.run.steps} steps, evenly spread"
        return self.recorder.finish(self.run, notes=[some] * (len(self._kept) < self.run.steps))
