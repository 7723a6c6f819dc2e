"""Runs that ended, by the content of everything that went into them, so that an interrupted set goes on from them."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor

from ...maps.value import AttributionMaps
from .content import Alive, is_alive

LIMIT = 300_000_000
"""Bytes of latents and maps."""


@dataclass(frozen=True, eq=False)
class Finished:
    """What a run left.

    Attributes:
        latent: (1, C, h, w).
        maps: of the run, if it was recorded.
    """

    latent: Tensor
    maps: AttributionMaps | None = None

    @property
    def nbytes(self) -> int:
        """Of both."""
        return self.latent.nbytes + (0 if self.maps is None else self.maps.nbytes)


class FinishedRuns:
    """Finished runs by name, the least used first; safe to use from several threads.

    Args:
        limit: bytes that are kept; the newest run is always kept.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, tuple[Finished, tuple[Alive, ...]]] = OrderedDict()
        self._owners = 0

    def put(self, name: str, alive: tuple[Alive, ...], run: Finished) -> None:
        """Keep a run as long as what it was made with lives; drop the least used ones beyond the limit."""
        with self._lock:
            self._sweep()
            self._runs.pop(name, None)
            self._runs[name] = run, alive
            while len(self._runs) > 1 and sum(kept.nbytes for kept, _ in self._runs.values()) > self.limit:
                self._runs.popitem(last=False)

    def find(self, name: str) -> Finished | None:
        """The run of this name."""
        with self._lock:
            self._sweep()
            found = self._runs.get(name)
            if found is None:
                return None
            self._runs.move_to_end(name)
            return found[0]

    def keep_while(self, owner: object) -> None:
        """Drop everything when the last of the owners is gone."""
        self._owners += 1
        weakref.finalize(owner, self._lose).atexit = False

    def _lose(self) -> None:
        self._owners -= 1  # it may run at any moment: whatever holds the lock sweeps

    def _sweep(self) -> None:
        dead = [name for name, (_, alive) in self._runs.items() if not is_alive(alive)]
        for name in [*self._runs] if self._owners < 1 else dead:
            del self._runs[name]


FINISHED = FinishedRuns()
