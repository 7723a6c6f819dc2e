"""Refusing what is no recording, by its type."""

from __future__ import annotations

from typing import Any

from ..errors import I2AMError, shown
from .value import AttributionMaps


def check_maps(given: Any, name: str = "maps") -> None:
    """Refuse what is given as ``name`` and is no recording.

    Raises:
        I2AMError: says what it is, and where the maps of a recording are.
    """
    if isinstance(given, AttributionMaps):
        return
    got = f"a {type(given).__name__}" + (f", {shown(repr(given), 100)}" if isinstance(given, str) else "")
    raise I2AMError(
        f"{name} are the maps of a recording, such as recording.maps, got {got}; AttributionMaps.load reads them from a file"
    )
