"""The cross-attention layers of ComfyUI's U-Nets: their names, and what tokens they take."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from ...errors import RecordingError

GARMENT = "i2am_garment"
"""What StableVITON's weights beside its U-Net are filed under in a MODEL."""
WARP = "warp"
WARPS = tuple(f"{WARP}.{k}" for k in range(9))

_ATTENTION = re.compile(r"(input|middle|output)_blocks?\.(\d+)\.(?:\d+\.)?transformer_blocks\.(\d+)\.attn2")


def layer_name(place: dict[str, Any]) -> str:
    """The name of the layer that a call's options speak of, such as "output.4.1.0": block, its attention, depth in it.

    StableVITON's warp blocks, which stand beside the U-Net's own, are "warp.0" to "warp.8".
    """
    kind, block = place["block"]
    if kind == WARP:
        return f"{WARP}.{block}"
    return f"{kind}.{block}.1.{place['block_index']}"


def check_layers(network: nn.Module, patterns: Sequence[str], beside: Sequence[str] = ()) -> None:
    """Refuse names or globs that no cross-attention of a U-Net or ``beside`` it has, before its sampler runs in vain.

    Raises:
        RecordingError: names the pattern and the layers that there are.
    """
    # the host calls the middle block 0, whichever of its parts attends
    names = [
        layer_name({"block": (kind, 0 if kind == "middle" else block), "block_index": depth})
        for (kind, block, depth), _ in _layers(network)
    ]
    names += beside if names else ()
    for pattern in patterns:
        if names and not fnmatch.filter(names, pattern):
            raise RecordingError(f"no layer of this MODEL matches {pattern!r}; it has: {', '.join(names)}")


def token_widths(network: nn.Module) -> set[int]:
    """How many numbers a token has that the cross-attention takes; nothing where the layers do not say so."""
    widths = {getattr(getattr(layer, "to_k", None), "in_features", None) for _, layer in _layers(network)}
    return {width for width in widths if width is not None}


def _layers(network: nn.Module) -> Iterator[tuple[tuple[str, ...], nn.Module]]:
    for name, module in network.named_modules():
        found = _ATTENTION.fullmatch(name)
        if found is not None:
            yield found.groups(), module
