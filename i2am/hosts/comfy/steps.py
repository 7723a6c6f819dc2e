"""Which step of the schedule an evaluation of the model belongs to."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

BY_SIGMA = ("dpm_fast_function", "dpm_adaptive_function")
"""Samplers whose callback does not count the steps of the schedule: there a step is found by its sigma."""


class Steps:
    """The steps of one sampler's run.

    Most samplers report the end of a step, and the last evaluation before that belongs to it. What they evaluate after the
    last step's end belongs to none: Heun's second evaluation at the end of a slice, or a corrected one. For those in
    `BY_SIGMA`, an evaluation belongs to the last step whose sigma is not below its own.

    Args:
        sigmas: the schedule, one more value than there are steps.
        sampler: the name of the sampler's function.
    """

    def __init__(self, sigmas: Sequence[float], sampler: str) -> None:
        self.sigmas = tuple(sigmas)
        self.total = max(0, len(self.sigmas) - 1)
        self.now = 0
        self._by_sigma = sampler in BY_SIGMA

    @property
    def over(self) -> bool:
        """Whether the last step has ended, so that a further evaluation belongs to none."""
        return self.now >= self.total

    def before_evaluation(self, sigma: Tensor) -> int | None:
        """Move on to the step of an evaluation at ``sigma``; gives the step that this ends, or None."""
        if not self._by_sigma:
            return None
        now = float(sigma.max())
        step = max((i for i in range(self.total) if self.sigmas[i] >= now * (1 - 1e-5)), default=0)
        if step <= self.now:  # dpm_adaptive goes back when it rejects a step, and takes a shorter one
            return None
        ended, self.now = self.now, step
        return ended

    def after_callback(self, step: int) -> int | None:
        """The sampler reported ``step`` as done; gives the step that this ends, or None."""
        if self._by_sigma:
            return None
        self.now = step + 1
        return step

    def at_end(self) -> int | None:
        """The step that ends with the run, or None if the sampler has reported it."""
        return self.now if self._by_sigma else None
