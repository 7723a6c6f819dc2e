"""Which step of the schedule an evaluation of the model belongs to: the scheduler's own position says it, if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import RecordingError

TOLERANCE = 4e-3
"""Relative: a timestep may reach the model in bfloat16."""
DIVIDED = 2 * TOLERANCE
"""The same where it was divided in bfloat16 as well."""
ROUNDING = 1e-6
"""Relative: those of a loop of the caller's own may be a tensor in float32."""


@dataclass(frozen=True)
class Place:
    """An evaluation's position in the order of evaluations, and the step that it belongs to."""

    position: int
    step: int


BEFORE = Place(-1, -1)


def spread(steps: int, every: int) -> list[int]:
    """One step of every ``every`` of a schedule, evenly spread over it.

    >>> spread(10, 4), spread(10, 1) == list(range(10))
    ([1, 5, 8], True)
    """
    count = -(-steps // every)
    return [(2 * i + 1) * steps // (2 * count) for i in range(count)]


class Scheduled:
    """Steps by the position of a diffusers scheduler: repeated timesteps and late starts keep their numbers.

    Args:
        scheduler: one whose timesteps are set.
        steps: T as the caller gives it; None: the scheduler's.
        tolerance: relative difference of a timestep that reaches the model.

    Raises:
        RecordingError: T is not the scheduler's, or the order of its timesteps is not known.
    """

    def __init__(self, scheduler: Any, steps: int | None, tolerance: float = TOLERANCE) -> None:
        self._scheduler, self._set, self._tolerance = scheduler, scheduler.timesteps, tolerance
        self._all = [float(t) for t in scheduler.timesteps]
        self._step_of = _steps_by_position(scheduler, self._all)
        self.steps = self._step_of[-1] + 1
        if steps is not None and steps != self.steps:
            raise RecordingError(
                f"steps is {steps}, but the {type(scheduler).__name__} was set to {self.steps}; leave `steps` out (a run that "
                f"starts late, as with a strength below 1, counts in the whole schedule)"
            )
        positions = [self._step_of.index(step) for step in range(self.steps)]
        self.timesteps = [self._all[position] for position in positions]
        self.sigmas = _own_sigmas(scheduler, positions) or sigmas_at(scheduler, self.timesteps)
        self._first: int | None = None
        self._shift: int | None = None

    def left_by(self, scheduler: Any) -> bool:
        """Whether a pipeline's scheduler was set again or replaced, so that another run begins."""
        return scheduler is not self._scheduler or scheduler.timesteps is not self._set

    def place(self, time: float) -> Place:
        """The place of an evaluation at this timestep.

        Raises:
            RecordingError: the scheduler has no such timestep, or is elsewhere.
        """
        counted = _counted(self._scheduler)
        if self._first is None:
            self._first = position = self._begin(time, counted)
            self._shift = None if counted is None else position - counted
        elif counted is None:  # it never counts, or was not stepped yet
            position = self._find(time)
            position = self._first if self._all[position] == self._all[self._first] else position
        else:
            position = self._moved_to(counted, time, self._first)
        return Place(position, self._step_of[position])

    def _begin(self, time: float, counted: int | None) -> int:
        """The position of the first evaluation."""
        for position in (getattr(self._scheduler, "begin_index", None), counted):
            if position is not None and self._is_at(position, time):
                return int(position)
        return self._find(time)

    def _moved_to(self, counted: int, time: float, first: int) -> int:
        """The position of a later evaluation, from what the scheduler counts."""
        if self._shift is None:
            # of several equal first timesteps a scheduler takes the second, where nothing tells it which one it is at
            begun = counted - 1
            self._shift = first - begun if self._is_at(begun, self._all[first]) else 0
        if not self._is_at(counted + self._shift, time) and self._is_at(counted + self._shift - 1, time):
            self._shift -= 1  # PNDM takes its first step twice, wherever it begins
        if not self._is_at(counted + self._shift, time):
            raise RecordingError(
                f"the model was called at timestep {time:g}, but its {type(self._scheduler).__name__} is at another; record "
                f"the bare network and give the `timesteps` of your own loop"
            )
        return counted + self._shift

    def _find(self, time: float) -> int:
        """Where a timestep stands in the schedule."""
        positions = range(len(self._all))
        # PNDM's repeated timestep ends its first step, and begins the second one of a run that starts late
        nearest = min(reversed(positions) if _is_pndm(self._scheduler) else positions, key=lambda p: abs(self._all[p] - time))
        if not self._is_at(nearest, time):
            raise RecordingError(
                f"the model was called at timestep {time:g}, which is not among those of its {type(self._scheduler).__name__}; "
                f"record the bare network and give the `timesteps` of your own loop"
            )
        return nearest

    def _is_at(self, position: int, time: float) -> bool:
        if not 0 <= position < len(self._all):
            return False
        near = 0.0 if time in self._all else self._tolerance * abs(time)
        return abs(self._all[position] - time) <= near


def _steps_by_position(scheduler: Any, timesteps: list[float]) -> list[int]:
    """The step of each entry of a scheduler's timesteps, of which several may belong to one step."""
    count, told = len(timesteps), getattr(scheduler, "num_inference_steps", None)
    known = count if told is None or getattr(scheduler, "custom_timesteps", False) else int(told)
    if getattr(scheduler, "order", 1) == 2 and count == 2 * known - 1:  # Heun, KDPM2, DPM-SDE: the last step has one
        return [p // 2 for p in range(count)]
    if _is_pndm(scheduler) and count == known + 1:  # its first step is taken twice
        return [0, *range(known)]
    if _is_pndm(scheduler) and count == known + 9:  # four Runge-Kutta evaluations in each of the first three steps
        return [p // 4 if p < 12 else p - 9 for p in range(count)]
    counts = hasattr(scheduler, "step_index")
    if count == known and (counts or len(set(timesteps)) == count) and getattr(scheduler, "order", 1) == 1:
        return list(range(count))
    raise RecordingError(
        f"the {type(scheduler).__name__} has {count} timesteps for {known} steps, in an order that is not known; use another "
        f"scheduler, or record the bare network and give the `timesteps` of your own loop"
    )


def _is_pndm(scheduler: Any) -> bool:
    return isinstance(getattr(scheduler, "counter", None), int) and hasattr(scheduler, "ets")


def _counted(scheduler: Any) -> int | None:
    """A scheduler's own position; None: it does not count, or not yet."""
    position = scheduler.counter if _is_pndm(scheduler) else getattr(scheduler, "step_index", None)
    return None if position is None else int(position)


class Counted:
    """Steps by changes of the timestep, for loops whose scheduler is not known.

    Args:
        known: the timesteps of the loop, by which steps have their number; None: they are counted.
        steps: T; None: as many as ``known``.

    Raises:
        RecordingError: neither is given, or timesteps repeat.
    """

    def __init__(self, known: Sequence[float] | None, steps: int | None) -> None:
        self._known = None if known is None else list(known)
        if steps is None and self._known is None:
            raise RecordingError(
                "the number of steps is not known, since there is no scheduler: give `steps`, or record the pipeline"
            )
        if self._known is not None and len(set(self._known)) < len(self._known):
            raise RecordingError(
                "the `timesteps` repeat, so they do not tell one step from the next; give the `scheduler` of your loop instead"
            )
        self.steps = steps if steps is not None else len(self._known or ())
        self._visited: list[float] = []

    @property
    def timesteps(self) -> list[float]:
        """The timestep of every step, by number: all of the loop's where known, else those visited."""
        return self._visited if self._known is None else self._known

    def left_by(self, _scheduler: Any) -> bool:
        """Never: only timesteps show that another run begins."""
        return False

    def place(self, time: float) -> Place:
        """The place of an evaluation at this timestep; `BEFORE` where timesteps turn back, as in another run.

        Raises:
            RecordingError: the loop has no such timestep.
        """
        visited = self._visited
        if not visited or time != visited[-1]:
            if len(visited) > 1 and (time - visited[-1]) * (visited[-1] - visited[0]) < 0:
                return BEFORE
            visited.append(time)
        if self._known is None:
            return Place(len(visited) - 1, len(visited) - 1)
        known = min(self._known, key=lambda t: abs(t - time))
        if abs(known - time) > ROUNDING * abs(time):
            raise RecordingError(
                f"the model was called at timestep {time:g}, which is not among the {len(self._known)} given; give the "
                f"scheduler's own `timesteps`, or none"
            )
        return Place(self._known.index(known), self._known.index(known))


def steps_of(
    scheduler: Any, timesteps: Sequence[float] | None, steps: int | None, tolerance: float = TOLERANCE
) -> Scheduled | Counted:
    """How the steps of a run are told apart, from its scheduler (None: not known) and what the caller gives.

    Raises:
        RecordingError: see `Scheduled` and `Counted`.
    """
    known = getattr(scheduler, "timesteps", None)
    # a scheduler that was never set holds all of its training steps
    is_set = getattr(scheduler, "num_inference_steps", 0) is not None or getattr(scheduler, "custom_timesteps", False)
    if known is not None and is_set and (timesteps is None or list(timesteps) == [float(t) for t in known]):
        return Scheduled(scheduler, steps, tolerance)
    return Counted(timesteps, steps)


def _own_sigmas(scheduler: Any, positions: Sequence[int]) -> tuple[float, ...]:
    """The σ that a scheduler itself keeps beside its timesteps, at these positions; nothing if it keeps none."""
    own, count = getattr(scheduler, "sigmas", None), len(scheduler.timesteps)
    if not isinstance(own, Tensor) or not count <= len(own) <= count + 3:  # one to three more, for its end
        return ()
    return tuple(own[list(positions)].tolist())


def sigmas_at(scheduler: Any, timesteps: Sequence[float]) -> tuple[float, ...]:
    """σ = sqrt((1 - ᾱ) / ᾱ) at these timesteps; nothing if a timestep has none, or an infinite one (zero terminal SNR)."""
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(alphas, Tensor):
        return ()
    index = torch.tensor(timesteps).round().long()
    if not bool(((index >= 0) & (index < len(alphas))).all()):
        return ()
    sigmas = ((1 - alphas[index]) / alphas[index]) ** 0.5
    return tuple(sigmas.tolist()) if bool(sigmas.isfinite().all()) else ()
