"""How each kind of map is computed from one attention call.

Most kinds are fields of `CallMaps` with the kind's name, filled by the reductions. A kind that can be computed from those
fields needs a function here, under its name; any other needs a field of its own, and code in both reductions.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .call_maps import CallMaps

FURTHER: dict[str, Callable[[CallMaps], Tensor | None]] = {}
"""Kinds computed from other fields: (B, H, N) along queries, (B, H, S) along tokens; None if the call has none."""


def of_call(kind: str, call: CallMaps) -> Tensor | None:
    """A call's values of a kind, (B, H or 1, ...); None if it has none."""
    return FURTHER[kind](call) if kind in FURTHER else getattr(call, kind)  # type: ignore[no-any-return]
