"""Pictures in the text of a joint model's call: tokens that FLUX.1 Redux or USO add to those of the words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ...errors import LayoutError
from ...geometry.layout import TokenGrid
from ...geometry.sequence import Span, reference, text
from ...models.marked import Marked

INPUT = "post_input"
"""Where patches of a network's tokens are, in a call's options."""
USO = "UsoStyleProjectorPatch"
"""The host's class of such a patch, from Apply USO Style Reference: it puts tokens of a picture before the text."""
LEVELS = ("high", "mid", "low")
"""Of USO's vision encoder; it makes tokens of each, every one of which looks at the whole picture."""


@dataclass(frozen=True)
class Text:
    """What a call's text is made of, from its first token on.

    Attributes:
        ahead: tokens of each picture before those of the conditioning.
        own: tokens of the conditioning.
        marks: places within the conditioning's tokens that are a picture's, in order.
    """

    ahead: tuple[int, ...] = ()
    own: int = 0
    marks: tuple[tuple[int, TokenGrid], ...] = ()

    @classmethod
    def of(cls, own: int, options: Mapping[str, Any]) -> Text:
        """Of ``own`` tokens of a conditioning, from the options of a call."""
        patches = options.get("patches", {}).get(INPUT) or ()
        counts = [count for count in map(uso_tokens, patches) if count]
        return cls(tuple(reversed(counts)), own)

    def marked(self, marks: Sequence[Marked]) -> Text:
        """The same with what is marked in the conditioning.

        Raises:
            LayoutError: two marks have a token in common.
        """
        for one, other in zip(marks, marks[1:]):
            if other.start < one.stop:
                raise LayoutError(
                    f"the marks of two pictures in the text overlap (tokens {one.start} to {one.stop}, and {other.start} to "
                    f"{other.stop}); use one I²AM Mark Redux for each Apply Style Model"
                )
        return replace(self, marks=tuple((one.start, one.grid) for one in marks))

    @property
    def tokens(self) -> int:
        """How many there are in all."""
        return sum(self.ahead) + self.own

    @property
    def pictures(self) -> int:
        """How many pictures have tokens in it."""
        return len(self.ahead) + len(self.marks)

    @property
    def spans(self) -> tuple[Span, ...]:
        """What they are, in order; without a picture, one span of text."""
        found = [reference(TokenGrid(0, 0, count), "reference") for count in self.ahead]
        end = 0
        for start, grid in self.marks:
            found += [text(start - end)] if start > end else []
            found.append(reference(grid, "reference"))
            end = start + grid.tokens
        if self.own > end or not found:
            found.append(text(self.own - end))
        return placed(found)


def placed(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Spans that follow one another."""
    out: list[Span] = []
    for span in spans:
        out.append(replace(span, start=out[-1].stop if out else 0))
    return tuple(out)


def uso_tokens(patch: Any) -> int:
    """How many tokens a patch of Apply USO Style Reference puts before the text; 0: it is another patch."""
    if type(patch).__name__ != USO:
        return 0
    model = getattr(getattr(patch, "model_patch", None), "model", None)
    layers = [getattr(model, f"{level}_embedding_linear", None) for level in LEVELS]
    counts = [getattr(layer[0], "out_features", 0) for layer in layers if layer is not None]
    return sum(counts) if len(counts) == len(LEVELS) and all(counts) else 0


class TextWatch:
    """What the patches of one call did to its text, seen before and after all of them."""

    def __init__(self, expected: Text) -> None:
        self._expected = expected
        self._before: Tensor | None = None
        self.added = 0
        """Tokens that patches added, whose place is not known."""

    def around(self, patches: Sequence[Any]) -> list[Any]:
        """The patches, with a look at the text before the first and after the last."""
        return [self._first, *patches, self._last]

    def _first(self, tokens: dict[str, Any]) -> dict[str, Any]:
        self._before = tokens["txt"]
        return tokens

    def _last(self, tokens: dict[str, Any]) -> dict[str, Any]:
        now, before, ahead = tokens["txt"], self._before, sum(self._expected.ahead)
        self._before = None
        self.added = int(now.shape[1]) - self._expected.tokens
        if not self.added and ahead and before is not None and not now[:, ahead:].equal(before):
            self.added = -1  # as many as expected, but elsewhere
        return tokens
