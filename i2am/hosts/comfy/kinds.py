"""The kinds of network that can be recorded in ComfyUI."""

from __future__ import annotations

from typing import Any

from ...errors import RecordingError
from .network import Network
from .unet import UNet

KINDS: tuple[Network, ...] = (UNet(),)
"""A new kind is one file beside `unet`, and one entry here."""


def network_of(model: Any) -> Network:
    """The kind of a MODEL's network.

    Raises:
        RecordingError: ``model`` is no MODEL, or its network is of no kind in `KINDS`.
    """
    network = getattr(getattr(model, "model", None), "diffusion_model", None)
    if network is None:
        raise RecordingError(f"model got a {type(model).__name__}, which is no MODEL; connect that of the model's loader")
    for kind in KINDS:
        if kind.fits(network):
            return kind
    known = " and ".join(kind.takes for kind in KINDS)
    raise RecordingError(
        f"this MODEL is a {type(network).__name__}, and only {known} can be recorded so far; connect one of those"
    )
