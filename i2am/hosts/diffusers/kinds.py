"""The kinds of network that can be recorded in diffusers."""

from __future__ import annotations

from typing import Any

from ...errors import RecordingError
from .network import Network
from .unet import UNet

KINDS: tuple[type[Network], ...] = (UNet,)
"""A new kind is one file beside `unet`, and one entry here."""


def network_of(model: Any) -> Network:
    """The network of a model or pipeline.

    Raises:
        RecordingError: it has none of a kind in `KINDS`.
    """
    for kind in KINDS:
        network = kind.of(model)
        if network is not None:
            return network
    raise RecordingError(f"expected {' or '.join(kind.takes for kind in KINDS)}, got {type(model).__name__}")
