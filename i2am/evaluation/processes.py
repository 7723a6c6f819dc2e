"""The processes of one evaluation: one, or those that `accelerate launch` started on one or more machines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from .errors import EvaluationError

T = TypeVar("T")

SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes there are."""
PATIENCE = timedelta(days=30)
"""How long a process waits for those with more to do."""


@dataclass(frozen=True)
class Processes:
    """This process among all of them.

    Attributes:
        index: its number, from 0; number 0 writes what there is one of.
        count: how many there are.
        device: what the launcher gave to it; "": that is left open.
    """

    index: int = 0
    count: int = 1
    device: str = ""
    _state: Any = None
    _launcher: int = 0

    @property
    def first(self) -> bool:
        """Whether this is process 0."""
        return self.index == 0

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self._state is not None:
            self._state.wait_for_everyone()

    def share(self, work: Sequence[T]) -> list[T]:
        """This process's part of a list that is the same in all of them.

        >>> Processes(1, 3).share("abcdefg")
        ['b', 'e']
        """
        return list(work[self.index :: self.count])

    def check(self) -> None:
        """Go no further once the launcher has been killed, which does not end its processes.

        Raises:
            EvaluationError: it has been.
        """
        if self._launcher and os.getppid() != self._launcher:
            raise EvaluationError("the launcher of these processes has ended; start again with --resume")

    def close(self) -> None:
        """Leave the others; no more waiting."""
        if self._state is not None:
            self._state.destroy_process_group()


def launched(device: str = "") -> Processes:
    """The processes that a launcher started, as accelerate finds them; one, where none did.

    Args:
        device: such as "cpu" or "cuda"; "": the launcher's choice.
    """
    if max(int(os.environ.get(name) or 1) for name in SIZES) < 2:
        return Processes()
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=PATIENCE)
    return Processes(state.process_index, state.num_processes, str(state.device), state, os.getppid())
