"""The part of a recording that a map is made from, as one value, and how to parse it from text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from operator import index
from typing import Any

from ..errors import I2AMError, shown
from ..maps.facts import Range


@dataclass(frozen=True)
class Choice:
    """The part of a recording that a map is made from; by default all that the run offers, in the conditional branch.

    Lists become tuples, so that a choice can be compared and hashed.

    Attributes:
        branch: half of classifier-free guidance, "cond" or "uncond".
        reference: which reference of the run, counted from 0.
        image: which image of the batch, counted from 0.
        layers: layer names or globs, one or several; None means the preset's layers of the run's default ones, which are all
            unless its model says otherwise (`RunInfo.default_layers`).
        heads: head numbers, counted from 0; None means all heads.
        steps: half-open range (first, stop), 0 being the noisiest; None means all steps.

    Raises:
        I2AMError: something is of another type, such as a number where names are expected, or ``steps`` is not a pair.

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
        if not isinstance(self.branch, str):
            raise I2AMError(f"the branch of a choice is a name, 'cond' or 'uncond', got {shown(repr(self.branch), 100)}")
        numbers = {name: _number(name, getattr(self, name)) for name in ("reference", "image")}
        layers = (self.layers,) if isinstance(self.layers, str) else self.layers
        several = {
            name: _several(name, value) for name, value in (("layers", layers), ("heads", self.heads), ("steps", self.steps))
        }
        for name, value in {**numbers, **several}.items():
            object.__setattr__(self, name, value)
        if self.steps is not None and len(self.steps) != 2:
            raise _wrong("steps", self.steps)

    def on_image(self, image: int) -> Choice:
        """The same choice on another image of the batch."""
        return replace(self, image=image)


EXPECTED = {
    "layers": "several, such as 'up_blocks.*' or ('double.0', 'single.*'), names or globs",
    "heads": "several, such as (0, 3), whole numbers",
    "steps": "several, such as (0, 10), a half-open range (first, stop) of whole numbers",
    "reference": "one number, counted from 0, such as 1 for the second",
    "image": "one number, counted from 0",
}
"""What the fields of a choice are, in words."""


def _wrong(name: str, value: object) -> I2AMError:
    verb = "are" if name.endswith("s") else "is"
    return I2AMError(f"the {name} of a choice {verb} {EXPECTED[name]}, got {shown(repr(value), 100)}")


def _number(name: str, value: Any) -> int:
    try:
        number = index(value)
    except TypeError:
        raise _wrong(name, value) from None
    if isinstance(value, bool):
        raise _wrong(name, value)
    return number


def _several(name: str, value: Any) -> tuple[Any, ...] | None:
    """Several names or numbers as a tuple; None: all."""
    if value is None:
        return None
    if isinstance(value, str | bytes | Mapping | Set) or not isinstance(value, Iterable):
        raise _wrong(name, value)
    found = tuple(value)
    try:
        return tuple(_name(x) for x in found) if name == "layers" else tuple(_number(name, x) for x in found)
    except (I2AMError, TypeError):
        raise _wrong(name, value) from None


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return str(value)


def check_choice(choice: object) -> None:
    """Refuse what is no choice, such as the number of a reference alone.

    Raises:
        I2AMError: names what was given.
    """
    if not isinstance(choice, Choice):
        raise I2AMError(f"what to take of a recording is a Choice, such as Choice(reference=1), got {shown(repr(choice), 100)}")


EVERYTHING = Choice()
"""The default layers, all heads and steps of the first reference and image, in the conditional branch."""


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
        raise I2AMError(f"heads is {shown(text, 100)!r}; expected numbers such as 0,2,5") from None


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
        raise I2AMError(
            f"steps is {shown(text, 100)!r}; expected first:stop, such as 0:10 (step 10 is not included; 0 is the noisiest)"
        )
    first = int(found[1])
    return first, first + 1 if found[2] is None else int(found[2])
