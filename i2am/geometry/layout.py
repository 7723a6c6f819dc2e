"""Which tokens of a call are generated, which belong to which reference, and where they lie in their picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import LayoutError

Rect = tuple[float, float, float, float]
WHOLE: Rect = (0.0, 0.0, 1.0, 1.0)
OFFICIAL = ("always", "over time")
"""Whether the authors' code uses a layer for all its maps on the reference, or only for those by time group (TLAM)."""


@dataclass(frozen=True)
class TokenGrid:
    """Rows and columns of a token sequence, row-major, after ``leading`` tokens that have no place.

    0 rows and 0 columns mean that no token has a place, as with an adapter's learned queries.
    ``picture`` is the (H, W) of the picture that the grid lies on, ``rect`` the part of it that the grid
    covers as fractions (left, top, right, bottom); ``rect`` None means unknown.
    """

    rows: int
    columns: int
    leading: int = 0
    picture: tuple[int, int] | None = None
    rect: Rect | None = WHOLE

    def __post_init__(self) -> None:
        placeless = self.rows == self.columns == 0 and self.leading > 0
        if not placeless and (self.rows < 1 or self.columns < 1 or self.leading < 0):
            raise LayoutError(
                f"a token grid needs at least 1 row and 1 column and no negative count of leading tokens (or 0 x 0 and at "
                f"least 1 leading, where no token has a place), got {self.rows} x {self.columns} and {self.leading} leading"
            )
        if self.rect is not None:
            left, top, right, bottom = self.rect
            if not (left < right and top < bottom):
                raise LayoutError(f"a grid's rectangle is (left, top, right, bottom) with left < right, got {self.rect}")

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
class Layout:
    """What the keys and queries of each recorded call stand for.

    Args:
        references: the references among the keys, in order, not overlapping; those of softmax 0 first, and so on.
        keys: number of keys in a call of softmax 0; None: up to the end of its last reference.
        query_start: number of queries before the generated tokens (joint sequences).
        beside: the keys do not come from the conditioning; both branches of guidance see the same ones.
        official: when the authors' released code uses such a layer for its maps on the reference: see `OFFICIAL`; "": never.
    """

    references: tuple[Reference, ...]
    keys: int | None = None
    query_start: int = 0
    beside: bool = False
    official: str = ""

    def __post_init__(self) -> None:
        if not self.references:
            raise LayoutError("a layout needs at least one reference")
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

    @classmethod
    def of(cls, *grids: TokenGrid) -> Layout:
        """References that follow one another and make up all the keys."""
        references, start = [], 0
        for i, grid in enumerate(grids):
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
        return replace(self, references=own, keys=self.keys if softmax == 0 else None)

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


def suggest(tokens: int) -> str:
    """A guess at the grid behind a token count, for error messages only.

    >>> suggest(257)
    '; 257 tokens often mean 16 x 16 and 1 leading'
    """
    if tokens == 1:
        return "; a single token is 1 x 1 and 0 leading"
    for leading in (0, 1):
        rows = round((tokens - leading) ** 0.5)
        if rows > 1 and rows * rows == tokens - leading:
            return f"; {tokens} tokens often mean {rows} x {rows} and {leading} leading"
    return ""
