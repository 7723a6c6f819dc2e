"""The kinds of network that can be recorded in diffusers."""

from __future__ import annotations

from typing import Any

from torch import nn

from ...errors import RecordingError
from .joint import Joint
from .network import Network
from .unet import UNet
from .wan import Wan

KINDS: tuple[type[Network], ...] = (UNet, Joint, Wan)
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
    transformer = getattr(model, "transformer", None)
    of = "" if transformer is None else f" with a {type(transformer).__name__}"
    takes, held = " or ".join(kind.takes for kind in KINDS), _held(model if transformer is None else transformer)
    raise RecordingError(f"expected {takes}, or a pipeline with one of them, got {type(model).__name__}{of}{held}")


def _held(wrapper: Any) -> str:
    """Where a wrapper that was given in place of a network holds one, as the end of an error."""
    if isinstance(wrapper, nn.Module):
        for name, module in wrapper.named_modules():
            if name and any(kind.of(module) is not None for kind in KINDS):
                return f", which holds a {type(module).__name__} as {name!r}: record that one"
    return ""
