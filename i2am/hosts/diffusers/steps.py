"""Which step of the schedule an evaluation of the model belongs to."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import RecordingError


class Steps:
    """The steps of one run: every change of the timestep begins another one.

    Args:
        known: the scheduler's timesteps, which number the steps; None: steps are counted.
    """

    def __init__(self, known: Sequence[float] | None) -> None:
        self.now = -1
        self._known = None if known is None else list(dict.fromkeys(known))
        self._visited: list[float] = []

    @property
    def timesteps(self) -> list[float]:
        """The timestep of every step, by number: all of the scheduler's where known, else those visited."""
        return self._visited if self._known is None else self._known

    def begins(self, time: float) -> bool:
        """Whether an evaluation at this timestep is the first of a step."""
        return not self._visited or time != self._visited[-1]

    def begin(self, time: float) -> None:
        """Move to the step of this timestep.

        Raises:
            RecordingError: the scheduler has no such timestep.
        """
        self._visited.append(time)
        if self._known is None:
            self.now += 1
            return
        if time not in self._known:
            raise RecordingError(
                f"the model was called at timestep {time:g}, which is not among the {len(self._known)} given; give the "
                f"scheduler's own `timesteps`, or none"
            )
        self.now = self._known.index(time)
