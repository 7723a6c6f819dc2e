"""What an intervention cuts: which tokens are taken away, from whom, and when. A `Cut` is checked when it is made.

The tokens stay where they are. Those who look no longer see them: their keys are left out of the softmax, which is taken over
the keys that are left.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import I2AMError
from ..geometry.masks import MaskLike, as_mask, check_range
from ..maps.facts import Range

WHAT = ("reference", "all references", "text", "nothing")
"""What can be taken away."""
ROUTES = ("all", "generated", "text", "references")
"""From whom: every token, the generated picture's, the text's, or those of the (other) references."""
BOTH = ("cond", "uncond")


def no_such_reference(number: int, names: Sequence[str]) -> str:
    """What is said of a number, counted from 0, that no reference has; people read names that are counted from 1.

    >>> no_such_reference(2, ["reference 1", "reference 2"])
    'reference number 2 is to be cut, but the run has 2: number 0 is reference 1, 1 is reference 2'
    """
    known = ", ".join(f"{i} is {name}" for i, name in enumerate(names))
    return f"reference number {number} is to be cut, but the run has {len(names)}: number {known}"


@dataclass(frozen=True, eq=False)
class Cut:
    """One cut.

    Attributes:
        what: one of `WHAT`.
        reference: which one, counted from 0.
        region: (H, W), 1 = taken away, over the picture of the reference: only the tokens in it; None: the whole reference.
        tokens: of the text, counted from 0; None: all of them.
        route: from whom, one of `ROUTES`. In networks with cross-attention alone (U-Nets, Wan) only the picture looks.
        where: (H, W), 1 = cut, over the generated picture: only its tokens there no longer see what is cut; None: all of it.
        steps: half-open range (first, stop), 0 being the noisiest; None: all.
        layers: names or globs; None: all.
        heads: counted from 0; None: all.
        branches: of classifier-free guidance, "cond", "uncond" or both; None: both, but cond alone for chosen tokens of the
            text, since each branch has a text of its own.

    Raises:
        I2AMError: a value is none of those above, or two of them do not go together; says which.

    >>> Cut("reference", 1, route="text", steps=(0, 10)).sentence
    "Cut: reference 1 (the 2nd) from the text's tokens, in steps 0 to 9."
    """

    what: str = "reference"
    reference: int = 0
    region: MaskLike | None = None
    tokens: tuple[int, ...] | None = None
    route: str = "all"
    where: MaskLike | None = None
    steps: Range | None = None
    layers: tuple[str, ...] | None = None
    heads: tuple[int, ...] | None = None
    branches: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _one_of("what is cut", self.what, WHAT)
        _one_of("the route", self.route, ROUTES)
        if self.branches is not None and (not self.branches or any(branch not in BOTH for branch in self.branches)):
            raise I2AMError(f"the branches of a cut are 'cond', 'uncond' or both, got {self.branches!r}")
        if self.reference < 0:
            raise I2AMError(f"references are counted from 0, got {self.reference}")
        if self.steps is not None and not 0 <= self.steps[0] < self.steps[1]:
            raise I2AMError(
                f"the steps of a cut are first:stop with 0 ≤ first < stop, such as 0:10 (step 10 is not included; 0 is the "
                f"noisiest), got {self.steps[0]}:{self.steps[1]}"
            )
        for name, numbers in (("heads", self.heads), ("tokens", self.tokens)):
            if numbers is not None and (not numbers or min(numbers) < 0):
                raise I2AMError(f"{name} are counted from 0, got {', '.join(map(str, numbers)) or 'none'}; leave out for all")
        if self.region is not None and self.what != "reference":
            raise I2AMError(
                f"a region was given, but {self.what!r} is cut; it is a region of one reference: cut 'reference', or give none"
            )
        if self.tokens is not None and self.what != "text":
            raise I2AMError(f"tokens of the text were given, but {self.what!r} is cut; cut 'text', or give no tokens")
        if self.where is not None and self.route != "generated":
            raise I2AMError(
                f"a region of the generated picture was given, but the route is {self.route!r}, so tokens of others would lose "
                f"sight as well; set the route to 'generated', or give no region"
            )
        if self.what == "text" and self.route == "text":
            raise I2AMError(
                "the text cannot be cut from its own tokens alone; set the route to 'all', 'generated' or 'references'"
            )
        object.__setattr__(self, "region", _mask("region of the reference", self.region))
        object.__setattr__(self, "where", _mask("region of the generated picture", self.where))

    @property
    def sentence(self) -> str:
        """What is cut, in words."""
        if self.what == "nothing":
            return "Nothing is cut: the run is the unchanged one."
        limits = [
            "" if self.steps is None else f"in steps {self.steps[0]} to {self.steps[1] - 1}",
            "" if self.layers is None else f"in layers {' '.join(self.layers)}",
            "" if self.heads is None else f"in heads {' '.join(map(str, self.heads))}",
            "" if len(self.in_branches) > 1 else f"in the branch {self.in_branches[0]}",
        ]
        return f"Cut: {self._what} from {self._from}{''.join(f', {limit}' for limit in limits if limit)}."

    @property
    def _what(self) -> str:
        if self.what == "text":
            return "the whole text" if self.tokens is None else f"tokens {' '.join(map(str, self.tokens))} of the text"
        if self.what == "all references":
            return "all references"
        named = f"reference {self.reference} (the {_ordinal(self.reference + 1)})"
        return named if self.region is None else f"a region of {named}, {_share(self.region)} of its picture,"

    @property
    def _from(self) -> str:
        if self.where is not None:
            return f"a region of the generated picture, {_share(self.where)} of it"
        whose = {
            "all": "all tokens",
            "generated": "the generated picture's tokens",
            "text": "the text's tokens",
            "references": "the references' tokens" if self.what == "text" else "the other references' tokens",
        }
        return whose[self.route]

    @property
    def in_branches(self) -> tuple[str, ...]:
        """The branches that it is made in."""
        return self.branches or (BOTH if self.tokens is None else BOTH[:1])

    def is_due(self, step: int) -> bool:
        """Whether it is made in a step."""
        return self.what != "nothing" and (self.steps is None or self.steps[0] <= step < self.steps[1])


def tokens_of(text: str) -> tuple[int, ...] | None:
    """Numbers of tokens such as "2 5:8", ranges without their end; nothing means all.

    Raises:
        I2AMError: the text is anything else.

    >>> tokens_of("2, 5:8"), tokens_of(" ")
    ((2, 5, 6, 7), None)
    """
    found: list[int] = []
    for part in re.split(r"[\s,]+", text.strip()) if text.strip() else ():
        numbers = re.fullmatch(r"(\d{1,6})(?::(\d{1,6}))?", part)
        if numbers is None or (numbers[2] is not None and int(numbers[2]) <= int(numbers[1])):
            raise I2AMError(f"expected numbers of the text's tokens such as 2 5:8 (5 to 7), counted from 0, got {text!r}")
        found += range(int(numbers[1]), int(numbers[2] or int(numbers[1]) + 1))
    return tuple(found) or None


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise I2AMError(f"{name} is {value!r}; choose one of {', '.join(map(repr, known))}")


def _mask(name: str, given: MaskLike | None) -> Tensor | None:
    """(H, W) in 0-1, with something in it."""
    if given is None:
        return None
    mask = as_mask(given, name)
    while mask.ndim > 2 and mask.shape[0] == 1:
        mask = mask[0]
    if mask.ndim != 2:
        raise I2AMError(f"the {name} is one mask of shape (H, W), got {tuple(mask.shape)}")
    check_range(mask, name)
    if not bool((mask > 0).any()):
        raise I2AMError(f"the {name} is empty: no pixel is 1, so nothing would be cut; paint it, or give no mask")
    return mask


def _share(mask: MaskLike) -> str:
    assert isinstance(mask, Tensor)
    return f"{100 * float(mask.mean()):.3g} %"


def _ordinal(number: int) -> str:
    """Such as 1st.

    >>> [_ordinal(i) for i in (1, 2, 3, 4, 11, 21)]
    ['1st', '2nd', '3rd', '4th', '11th', '21st']
    """
    last = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last}"
