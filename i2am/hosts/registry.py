"""Finds a run's maps by the latent that the run produced, within one memory limit for the whole process."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

import torch
from torch import Tensor

from ..errors import I2AMError
from ..maps.value import AttributionMaps

LIMIT = 1_000_000_000
"""Bytes of maps kept for all recordings together; those of the newest run are always kept."""

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


class Registry:
    """Results by fingerprint and recording, oldest first; safe to use from several threads."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._results: OrderedDict[tuple[str, str, str], Result] = OrderedDict()

    def put(self, names: set[str], recording: str, options: str, result: Result) -> None:
        """Keep a result under all ``names`` of its latent; drop the oldest results once the limit is passed."""
        with self._lock:
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
            own = self._results.get((name, recording, options))
            if own is not None:
                return own
            others = reversed(self._results.items())
            return next((kept for (known, _, same), kept in others if (known, same) == (name, options)), None)

    def _bytes(self) -> int:
        return sum({id(kept): kept.nbytes for kept in self._results.values() if isinstance(kept, AttributionMaps)}.values())


REGISTRY = Registry()
