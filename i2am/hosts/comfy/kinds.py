"""The kinds of network that can be recorded in ComfyUI."""

from __future__ import annotations

from typing import Any

from ...errors import RecordingError
from .blocks import UNSEEN, brings_kernels
from .joint import Joint
from .network import Network
from .unet import UNet
from .wan import Wan

KINDS: tuple[Network, ...] = (UNet(), Joint(), Wan())
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
    if brings_kernels(network):
        raise RecordingError(f"this MODEL is a {type(network).__name__} (of {type(network).__module__}): it {UNSEEN}")
    known = ", ".join(kind.takes for kind in KINDS)
    raise RecordingError(
        f"this MODEL is a {type(network).__name__}, which cannot be recorded here yet; what can: {known}. Connect one of "
        f"those, or record the same model with the diffusers library, where its pipeline is known (i2am.record)"
    )
