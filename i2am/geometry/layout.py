"""Which tokens of a call are generated, which belong to which reference, and where they lie in their picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import index
from typing import Any

from ..errors import LayoutError

Rect = tuple[float, float, float, float]
WHOLE: Rect = (0.0, 0.0, 1.0, 1.0)
OFFICIAL = ("always", "over time")
"""Whether the authors' code uses a layer for all its maps on the reference, or only for those by time group (TLAM)."""
EXAMPLE = "Layout.of(TokenGrid(16, 16, leading=1))"
"""A layout as error messages write it."""
PROMPT = 77
"""Tokens of a piece of a text prompt as CLIP reads it."""


@dataclass(frozen=True)
class TokenGrid:
    """Rows and columns of a token sequence, row-major, after ``leading`` tokens that have no place.

    0 rows and 0 columns mean that no token has a place, as with an adapter's learned queries.
    ``picture`` is the (H, W) of the picture that the grid lies on, ``rect`` the part of it that the grid
    covers as fractions (left, top, right, bottom); ``rect`` None means unknown. ``edge`` is how much of a whole cell the last
    row and the last column hold: less than 1 where the cells are blocks of tokens that reach beyond them.
    """

    rows: int
    columns: int
    leading: int = 0
    picture: tuple[int, int] | None = None
    rect: Rect | None = WHOLE
    edge: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        try:
            whole = (index(self.rows), index(self.columns), index(self.leading), *map(index, self.picture or (0, 0)))
        except TypeError:
            whole = ()
        if len(whole) != 5:
            raise LayoutError(
                f"a token grid's rows, columns and leading tokens are whole numbers, and its picture is (height, width) in "
                f"whole pixels or None, got {self.rows!r}, {self.columns!r}, {self.leading!r} and {self.picture!r}"
            )
        placeless = self.rows == self.columns == 0 and self.leading > 0
        if not placeless and (self.rows < 1 or self.columns < 1 or self.leading < 0):
            raise LayoutError(
                f"a token grid needs at least 1 row and 1 column and no negative count of leading tokens (or 0 x 0 and at "
                f"least 1 leading, where no token has a place), got {self.rows} x {self.columns} and {self.leading} leading"
            )
        if self.rect is not None:
            left, top, right, bottom = self.rect
            if not (left < right and top < bottom):
                raise LayoutError(
                    f"a grid's rectangle is (left, top, right, bottom) with left < right and top < bottom, got {self.rect}"
                )
        if not all(0 < share <= 1 for share in self.edge):
            raise LayoutError(f"a grid's last row and column hold more than 0 and at most 1 of a whole cell, got {self.edge}")

    @property
    def placed(self) -> int:
        """Tokens that have a place."""
        return self.rows * self.columns

    @property
    def tokens(self) -> int:
        """All tokens, including those without a place."""
        return self.leading + self.placed

    def cell_of(self, x: float, y: float) -> tuple[int, int]:
        """The (row, column) of the cell that holds picture pixel (x, y).

        Raises:
            LayoutError: the picture size or rectangle is unknown, or the pixel lies outside of it.

        >>> TokenGrid(4, 3, picture=(64, 48)).cell_of(20, 63)
        (3, 1)
        """
        if self.picture is None or min(self.picture) < 1 or self.rect is None:
            raise LayoutError("the grid's picture size or rectangle is unknown; give rows and columns instead of pixels")
        left, top, right, bottom = self.rect
        u = (x / self.picture[1] - left) / (right - left)
        v = (y / self.picture[0] - top) / (bottom - top)
        if not (0 <= u < 1 and 0 <= v < 1):
            raise LayoutError(
                f"pixel ({x:g}, {y:g}) lies outside the part of the {self.picture[1]} x {self.picture[0]} picture "
                f"that the tokens cover; choose x from {left * self.picture[1]:g} to below {right * self.picture[1]:g} and y "
                f"from {top * self.picture[0]:g} to below {bottom * self.picture[0]:g}"
            )
        return int(v * self.rows), int(u * self.columns)


@dataclass(frozen=True)
class Reference:
    """One reference's tokens among the keys of a call; ``start`` is the first of them, leading tokens included.

    ``softmax`` numbers a layer's attention calls: 0 is the cross-attention itself, 1 and up are those that adapters
    add to its output, each with its own keys.
    """

    grid: TokenGrid
    start: int = 0
    name: str = "reference"
    softmax: int = 0

    @property
    def stop(self) -> int:
        """One past its last key."""
        return self.start + self.grid.tokens


@dataclass(frozen=True)
class Stretch:
    """Keys that follow each other and belong to no reference: a text's, or the generated picture's own."""

    name: str
    start: int
    tokens: int

    @property
    def stop(self) -> int:
        """One past its last key."""
        return self.start + self.tokens


@dataclass(frozen=True)
class Layout:
    """What the keys and queries of each recorded call stand for.

    Args:
        references: the references among the keys, in order, not overlapping; those of softmax 0 first, and so on.
        keys: number of keys in a call of softmax 0; None: up to the end of its last reference.
        query_start: number of queries before the generated tokens (joint sequences).
        beside: the keys do not come from the conditioning; both branches of guidance see the same ones.
        official: when the authors' released code uses such a layer for its maps on the reference: see `OFFICIAL`; "": never.
        rest: what the other keys of softmax 0 are, where they are known (joint sequences); keys in none of them are nobody's.
    """

    references: tuple[Reference, ...]
    keys: int | None = None
    query_start: int = 0
    beside: bool = False
    official: str = ""
    rest: tuple[Stretch, ...] = ()

    def __post_init__(self) -> None:
        if not self.references:
            raise LayoutError("a layout needs at least one reference")
        if min(self.query_start, *(r.start for r in self.references)) < 0:
            raise LayoutError(
                f"keys and queries are counted from 0, but the layout starts at query {self.query_start} and at keys "
                f"{', '.join(str(r.start) for r in self.references)}"
            )
        if self.official not in ("", *OFFICIAL):
            raise LayoutError(f"official is '' or one of {', '.join(OFFICIAL)}, got {self.official!r}")
        softmax, end = 0, 0
        for reference in self.references:
            if reference.softmax < softmax:
                raise LayoutError(
                    f"reference {reference.name!r} of softmax {reference.softmax} comes after one of {softmax}; sort them"
                )
            softmax, end = reference.softmax, end if reference.softmax == softmax else 0
            if reference.start < end:
                raise LayoutError(f"reference {reference.name!r} starts at key {reference.start}, before the end of another")
            end = reference.stop
        own = self._end(0)
        if self.keys is not None and self.keys < own:
            raise LayoutError(f"the references reach to key {own}, but the layout says {self.keys} keys")
        self._check_rest()

    def _check_rest(self) -> None:
        taken = [(r.start, r.stop, r.name) for r in self.references if not r.softmax]
        end = 0
        for start, stop, name in sorted([*taken, *((x.start, x.stop, x.name) for x in self.rest)]):
            if start < end or stop > self.key_count:
                raise LayoutError(f"{name!r}, keys {start} to {stop} of {self.key_count}, overlaps another or reaches too far")
            end = stop

    @classmethod
    def of(cls, *grids: TokenGrid) -> Layout:
        """References that follow one another and make up all the keys.

        Raises:
            LayoutError: one of them is no `TokenGrid`.
        """
        references, start = [], 0
        for i, grid in enumerate(grids):
            if not isinstance(grid, TokenGrid):
                raise LayoutError(f"a layout is made of token grids, such as {EXAMPLE}, got a {type(grid).__name__}")
            references.append(Reference(grid, start, "reference" if len(grids) == 1 else f"reference {i + 1}"))
            start += grid.tokens
        return cls(tuple(references))

    def _end(self, softmax: int) -> int:
        return max((r.stop for r in self.references if r.softmax == softmax), default=0)

    @property
    def key_count(self) -> int:
        """Number of keys that a call of softmax 0 must have; 0 if it has no reference."""
        return self._end(0) if self.keys is None else self.keys

    def indices(self, softmax: int) -> tuple[int, ...]:
        """Indices of the references in a softmax, counted from 0."""
        return tuple(i for i, r in enumerate(self.references) if r.softmax == softmax)

    def part(self, softmax: int) -> Layout:
        """The layout of one softmax alone.

        Raises:
            LayoutError: no reference is in it.
        """
        if all(r.softmax == softmax == 0 for r in self.references):
            return self
        own = tuple(replace(r, softmax=0) for r in self.references if r.softmax == softmax)
        return replace(self, references=own, keys=self.keys if softmax == 0 else None, rest=() if softmax else self.rest)

    def in_order(self) -> tuple[Reference, ...]:
        """The references as if their keys came first, one after the other: the same in all calls, whatever their text."""
        found, start, softmax = [], 0, 0
        for r in self.references:
            start, softmax = (start if r.softmax == softmax else 0), r.softmax
            found.append(replace(r, start=start))
            start += r.grid.tokens
        return tuple(found)

    def check(self, layer: str, keys: int) -> None:
        """Refuse a call whose number of keys is not what the layout says.

        Raises:
            LayoutError: names the layer, what was seen and what to set.
        """
        if keys != self.key_count:
            parts = ", ".join(f"{r.name}: {r.grid.rows} x {r.grid.columns} + {r.grid.leading}" for r in self.references)
            raise LayoutError(
                f"layer {layer!r} was called with {keys} keys, but the layout expects {self.key_count} ({parts}); "
                f"set the rows, columns and leading tokens that the reference encoder really gives{suggest(keys)}"
            )


def layout_for(layout: Layout | Callable[[str], Layout]) -> Callable[[str], Layout]:
    """From the name of a layer to its layout, where all layers have one or a function gives each its own.

    Raises:
        LayoutError: ``layout`` is neither, or (when it is called) the function's answer is no `Layout`.

    >>> layout_for(Layout.of(TokenGrid(2, 3)))("mid_block").key_count
    6
    """
    if not (callable(layout) or isinstance(layout, Layout)):
        raise _no_layout("the layout", layout)

    def of(layer: str) -> Layout:
        own: Any = layout(layer) if callable(layout) else layout
        if not isinstance(own, Layout):
            raise _no_layout(f"the layout function's answer for layer {layer!r}", own)
        return own

    return of


def _no_layout(name: str, got: object) -> LayoutError:
    return LayoutError(f"{name} is a {type(got).__name__}, expected a Layout, such as {EXAMPLE}")


def suggest(tokens: int) -> str:
    """A guess at the grid behind a token count, for error messages only.

    >>> suggest(257)
    '; 257 tokens often mean 16 x 16 and 1 leading'
    >>> suggest(281)
    '; 281 tokens may mean 20 x 14 and 1 leading'
    """
    if tokens == 1:
        return "; a single token is 1 x 1 and 0 leading"
    if tokens % PROMPT == 0:
        return ""
    for longest, often in ((1.0, "often"), (1.5, "may")):
        for leading in (0, 1):
            for columns in range(math.isqrt(tokens - leading), 1, -1):
                rows, rest = divmod(tokens - leading, columns)
                if not rest and rows <= longest * columns:
                    return f"; {tokens} tokens {often} mean {rows} x {columns} and {leading} leading"
    return ""
