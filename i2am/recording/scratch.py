"""Room for intermediate numbers that is used again from call to call."""

from __future__ import annotations

import torch
from torch import Tensor


class Scratch:
    """Uninitialised fp32 numbers by name, on one device; each name's room grows to the most that was asked for.

    On the CPU a large tensor's memory is fresh each time, and its first use costs several times what writing to it does.
    """

    def __init__(self) -> None:
        self._rooms: dict[str, Tensor] = {}

    def take(self, name: str, count: int, device: torch.device) -> Tensor:
        """(count,) numbers; they hold until the same name is asked for again."""
        room = self._rooms.get(name)
        if room is None or room.device != device or room.numel() < count:
            self._rooms.pop(name, None)
            with torch.inference_mode(False):  # a room that is made in inference mode could not be written to outside of it
                room = self._rooms[name] = torch.empty(count, device=device)
        return room[:count]
