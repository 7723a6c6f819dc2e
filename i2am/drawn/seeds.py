"""Which seeds belong to training and which are held out."""

from __future__ import annotations

HELD_OUT = 10_000_000
"""Seeds from here on are never trained on; evaluation asserts `is_held_out`."""


SHARD = 512


def is_held_out(seed: int) -> bool:
    """Whether a seed is outside training's range."""
    return seed >= HELD_OUT
