"""Where in a U-Net an attention is called, and how many of its keys are a conditioning's own."""

from __future__ import annotations

from typing import Any

from .call import Rows
from .network import LAYER

Place = dict[str, Any]
"""The options that the host gives to the patches and the attention of one transformer block."""


def layer_name(place: Place) -> str:
    """The name of a layer, such as "output.4.1.0": block, attention within the block, depth within the attention.

    A module beside the network names its layer itself, see `network.LAYER`.
    """
    if LAYER in place:
        return str(place[LAYER])
    kind, block = place["block"]
    return f"{kind}.{block}.1.{place['block_index']}"


def own_keys(keys: int, row: Rows) -> int:
    """How many of a call's keys are a row's own: the host repeats a shorter context to the length of a longer one."""
    return row.tokens if row.tokens and keys % row.tokens == 0 and row.tokens == row.layout.key_count else keys
