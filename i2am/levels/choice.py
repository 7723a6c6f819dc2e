"""The part of a recording that a map is made from, as one value, and how to parse it from text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import I2AMError
from ..maps.facts import Range


@dataclass(frozen=True)
class Choice:
    """The part of a recording that a map is made from; by default all of it, in the conditional branch.

    Lists become tuples, so that a choice can be compared and hashed.

    Attributes:
        branch: half of classifier-free guidance, "cond" or "uncond".
        reference: which reference of the run, counted from 0.
        image: which image of the batch, counted from 0.
        layers: layer names or globs, one or several; None means all layers of the preset.
        heads: head numbers, counted from 0; None means all heads.
        steps: half-open range (first, stop), 0 being the noisiest; None means all steps.

    Raises:
        I2AMError: ``steps`` is not a pair.

    >>> Choice(layers="up_blocks.*", heads=[3, 0]) == Choice(layers=("up_blocks.*",), heads=(3, 0))
    True
    >>> Choice(steps=(0, 10)).on_image(2)
    Choice(branch='cond', reference=0, image=2, layers=None, heads=None, steps=(0, 10))
    """

    branch: str = "cond"
    reference: int = 0
    image: int = 0
    layers: str | Sequence[str] | None = None
    heads: Sequence[int] | None = None
    steps: Range | None = None

    def __post_init__(self) -> None:
        layers = (self.layers,) if isinstance(self.layers, str) else self.layers
        for name, value in (("layers", layers), ("heads", self.heads), ("steps", self.steps)):
            object.__setattr__(self, name, None if value is None else tuple(value))
        if self.steps is not None and len(self.steps) != 2:
            raise I2AMError(f"steps are a half-open range (first, stop), such as (0, 10), got {self.steps}")

    def on_image(self, image: int) -> Choice:
        """The same choice on another image of the batch."""
        return replace(self, image=image)


EVERYTHING = Choice()
"""All layers, heads and steps of the first reference and image, in the conditional branch."""


def choice_of(
    layers: str = "", heads: str = "", steps: str = "", *, branch: str = "cond", reference: int = 0, image: int = 0
) -> Choice:
    """A choice from typed texts; branch, reference and image are taken as they are.

    Raises:
        I2AMError: a text cannot be parsed; see `heads_of` and `steps_of`.

    >>> choice_of("output.*, middle.*", "", "0:10").layers
    ('output.*', 'middle.*')
    """
    return Choice(branch, reference, image, layers_of(layers), heads_of(heads), steps_of(steps))


def layers_of(text: str) -> tuple[str, ...] | None:
    """Layer names or globs, separated by spaces or commas; nothing means all layers.

    >>> layers_of("output.4.1.0 middle.*")
    ('output.4.1.0', 'middle.*')
    """
    return tuple(part for part in re.split(r"[\s,]+", text) if part) or None


def heads_of(text: str) -> tuple[int, ...] | None:
    """Head numbers such as "0,2"; nothing means all heads.

    Raises:
        I2AMError: the text is anything else.

    >>> heads_of("0, 2 5")
    (0, 2, 5)
    >>> heads_of("") is None
    True
    """
    parts = [part for part in re.split(r"[\s,]+", text) if part]
    try:
        return tuple(int(part) for part in parts) or None
    except ValueError:
        raise I2AMError(f"expected head numbers such as 0,2,5, got {text!r}") from None


def steps_of(text: str) -> Range | None:
    """A half-open range of steps such as "0:10", or one step such as "7"; nothing means all steps.

    Raises:
        I2AMError: the text is anything else.

    >>> steps_of("0:10"), steps_of("7")
    ((0, 10), (7, 8))
    """
    if not text.strip():
        return None
    found = re.fullmatch(r"\s*([+-]?\d{1,9})\s*(?::\s*([+-]?\d{1,9})\s*)?", text)
    if found is None:
        raise I2AMError(f"expected steps first:stop, such as 0:10 (step 10 is not included; 0 is the noisiest), got {text!r}")
    first = int(found[1])
    return first, first + 1 if found[2] is None else int(found[2])
