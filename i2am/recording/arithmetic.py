"""What of an attention call is filed under each kind of map.

Most kinds are numbers that the reductions leave in `CallMaps` under the kind's own name. A kind that can be made of those
needs a function here, under its name; one that cannot needs a field of `CallMaps` and its sums in both reductions.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .call_maps import CallMaps

FURTHER: dict[str, Callable[[CallMaps], Tensor | None]] = {}
"""Kinds made of a call's other numbers: (B, H, N) along queries, (B, H, S) along tokens; None where a call has none."""


def of_call(kind: str, call: CallMaps) -> Tensor | None:
    """A call's numbers of a kind, (B, H or 1, ...); None where it has none."""
    return FURTHER[kind](call) if kind in FURTHER else getattr(call, kind)  # type: ignore[no-any-return]
