"""Buffers for intermediate results, reused from call to call."""

from __future__ import annotations

import torch
from torch import Tensor


class Scratch:
    """Uninitialised fp32 buffers by name, on one device; each grows to the largest size that was asked for.

    A large CPU tensor gets fresh memory each time, whose first use costs several times as much as writing to it.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, count: int, device: torch.device) -> Tensor:
        """(count,) numbers, valid until the same name is taken again."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.device != device or buffer.numel() < count:
            self._buffers.pop(name, None)
            with torch.inference_mode(False):  # else it could not be written to outside of inference mode
                buffer = self._buffers[name] = torch.empty(count, device=device)
        return buffer[:count]
