"""What a person types to choose layers, heads, steps and points, read the same on the command line and in nodes."""

from __future__ import annotations

import re
from typing import Any

from ..errors import I2AMError
from ..maps.facts import Range


def layers_of(text: str) -> tuple[str, ...] | None:
    """Layer names or globs, separated by spaces or commas; nothing means all layers."""
    return tuple(part for part in re.split(r"[\s,]+", text) if part) or None


def heads_of(text: str) -> tuple[int, ...] | None:
    """Head numbers such as "0,2"; nothing means all heads.

    Raises:
        I2AMError: something else.
    """
    parts = [part for part in re.split(r"[\s,]+", text) if part]
    try:
        return tuple(int(part) for part in parts) or None
    except ValueError:
        raise I2AMError(f"expected head numbers such as 0,2,5, got {text!r}") from None


def steps_of(text: str) -> Range | None:
    """A half-open range of steps such as "0:10", or one step such as "7"; nothing means all steps.

    Raises:
        I2AMError: something else.
    """
    if not text.strip():
        return None
    try:
        first, *stop = (int(part) for part in text.split(":"))
        if len(stop) > 1:
            raise ValueError
    except ValueError:
        raise I2AMError(
            f"expected steps first:stop, such as 0:10 (step 10 is no longer meant; 0 is the noisiest), got {text!r}"
        ) from None
    return first, stop[0] if stop else first + 1


def choice_of(layers: str = "", heads: str = "", steps: str = "", **others: Any) -> dict[str, Any]:
    """What `ulam` and its like take as their choice, from the texts that a person typed and what needs no reading."""
    return {"layers": layers_of(layers), "heads": heads_of(heads), "steps": steps_of(steps), **others}
