"""Finds a run's maps by the latent that the run produced, within one memory limit for the whole process."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import weakref
from collections import Counter, OrderedDict, deque

import torch
from torch import Tensor

from ..errors import I2AMError
from ..maps.value import AttributionMaps

log = logging.getLogger("i2am")

VARIABLE = "I2AM_MAPS_MB"
"""The environment variable that sets the limit, in millions of bytes."""
DEFAULT_MB = 1000

Result = AttributionMaps | I2AMError
"""What a finished run leaves: its maps, or the error that stopped its recording."""


def fingerprint(latent: Tensor) -> str:
    """A name for a latent's exact numbers and shape, whatever device it lies on."""
    values = latent.detach().to(device="cpu", dtype=torch.float32).contiguous()
    digest = hashlib.blake2b(repr(tuple(values.shape)).encode(), digest_size=16)
    digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def bare(error: I2AMError) -> I2AMError:
    """The same error without its traceback, which would keep the tensors of a run alive."""
    return type(error)(*error.args)


def limit_of(value: str | None) -> int:
    """Bytes of maps kept for all recordings together, from `VARIABLE`; any other value is ignored with a warning."""
    if value is None or not value.strip():
        return DEFAULT_MB * 1_000_000
    try:
        megabytes = int(value)
    except ValueError:
        megabytes = -1
    if megabytes < 0:
        log.warning("%s is %r, expected a whole number of megabytes; %d is used", VARIABLE, value, DEFAULT_MB)
        megabytes = DEFAULT_MB
    return megabytes * 1_000_000


class Registry:
    """Results by fingerprint and recording, oldest first; safe to use from several threads.

    Args:
        limit: bytes of maps kept; those of the newest run are always kept.
    """

    def __init__(self, limit: int = DEFAULT_MB * 1_000_000) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._results: OrderedDict[tuple[str, str, str], Result] = OrderedDict()
        self._keepers: Counter[str | None] = Counter()
        self._gone: deque[str | None] = deque()

    def put(self, names: set[str], recording: str, options: str, result: Result) -> None:
        """Keep a result under all ``names`` of its latent; drop the oldest results once the limit is passed."""
        with self._lock:
            self._sweep()
            for name in names:
                self._results.pop((name, recording, options), None)
                self._results[name, recording, options] = result
            while self._bytes() > self.limit:
                oldest = next(iter(self._results.values()))
                if oldest is result:
                    break
                for key in [key for key, kept in self._results.items() if kept is oldest]:
                    del self._results[key]

    def find(self, name: str, recording: str, options: str) -> Result | None:
        """A latent's result: this recording's own, else the newest of another with the same options.

        The host may run a recording node again while its sampler stays cached; the new recording is then empty.
        """
        with self._lock:
            self._sweep()
            own = self._results.get((name, recording, options))
            if own is not None:
                return own
            others = reversed(self._results.items())
            return next((kept for (known, _, same), kept in others if (known, same) == (name, options)), None)

    def keep_while(self, owner: object, recording: str | None = None) -> None:
        """Keep a recording's results, or those of all recordings, as long as ``owner`` lives.

        A recording's results are dropped when the last of its owners, and the last of all recordings', is gone. Those of a
        recording that never had an owner stay within the limit.
        """
        with self._lock:
            self._keepers[recording] += 1
        weakref.finalize(owner, self._lose, recording).atexit = False

    def _lose(self, recording: str | None) -> None:
        # this may run at any moment, even inside a method that holds the lock; then a later call sweeps
        self._gone.append(recording)
        if self._lock.acquire(blocking=False):
            try:
                self._sweep()
            finally:
                self._lock.release()

    def _sweep(self) -> None:
        """Drop results whose owners are all gone."""
        while self._gone:
            self._keepers[self._gone.popleft()] -= 1
        if self._keepers[None] > 0:
            return
        lost = {recording for recording, count in self._keepers.items() if count == 0 and recording is not None}
        for recording in lost:
            del self._keepers[recording]
        for key in [key for key in self._results if key[1] in lost]:
            del self._results[key]

    def _bytes(self) -> int:
        return sum({id(kept): kept.nbytes for kept in self._results.values() if isinstance(kept, AttributionMaps)}.values())


REGISTRY = Registry(limit_of(os.environ.get(VARIABLE)))
