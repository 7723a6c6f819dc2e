"""How often each step of a run was evaluated, and which of its evaluations a call belongs to."""

from __future__ import annotations

from collections.abc import Collection


class Evaluations:
    """Counts the evaluations of each step by branch.

    A branch's evaluation begins with its first call, with its first call after a host said that one is over, and with a
    call that the one under way already had.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str], int] = {}
        self._open: dict[str, tuple[int, set[tuple[str, int]]]] = {}

    def take(self, step: int, branch: str, layer: str, softmax: int) -> bool:
        """Note a call; returns whether a new evaluation of its branch begins with it."""
        known, calls = self._open.get(branch, (step, set()))
        call = (layer, softmax)
        begins = not calls or known != step or call in calls
        if begins:
            self._open[branch] = step, {call}
            self._counts[step, branch] = self._counts.get((step, branch), 0) + 1
        else:
            calls.add(call)
        return begins

    def has(self, branch: str, layer: str, softmax: int) -> bool:
        """Whether a branch's evaluation under way has had a call."""
        return branch in self._open and (layer, softmax) in self._open[branch][1]

    def end(self, branches: Collection[str]) -> None:
        """The evaluation under way of these branches is over."""
        for branch in branches:
            self._open.pop(branch, None)

    def discard(self, branches: Collection[str]) -> None:
        """The evaluation under way of these branches does not count."""
        for branch in branches:
            if branch in self._open:
                step, _ = self._open.pop(branch)
                self._counts[step, branch] -= 1

    def of(self, step: int) -> int:
        """How often a step was evaluated, in the branch where most often."""
        return max((count for (of, _), count in self._counts.items() if of == step), default=0)
