"""The sequence of one joint attention call: which of its tokens are generated, which are a reference's, which are text.

Text, the generated picture and the references attend to each other in one sequence, in an order that each family of models
has its own way of choosing. A host states that order as a `Sequence`; `Sequence.bring` then gives the call as everything
behind it takes one: the generated queries alone, and keys with a `Layout` of references and the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from ..errors import LayoutError
from .layout import Layout, Reference, Stretch, TokenGrid

ROLES = ("generated", "reference", "text", "other")
"""What tokens are. "other": filled up, or mixed of several; counted among all keys, and shown as nobody's."""
Range = tuple[int, int]


@dataclass(frozen=True)
class Span:
    """Tokens of one kind in a sequence: its grid's leading tokens, then the placed ones, row by row.

    Attributes:
        role: one of `ROLES`.
        grid: of its tokens; text has no places: ``TokenGrid(0, 0, leading=n)``.
        name: of a reference or a text, for readers.
        start: where its first token is, leading ones included.
        pitch: tokens from the first of a row to the first of the next; 0: as many as a row has. More where several
            pictures lie side by side on one canvas.
        order: for each place, row by row, which of the span's placed tokens lies there; empty: the tokens are in that order.
            For tokens in windows, see `in_windows`.
    """

    role: str
    grid: TokenGrid
    name: str
    start: int = 0
    pitch: int = 0
    order: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise LayoutError(f"a span's role is one of {', '.join(ROLES)}, got {self.role!r}")
        if self.role == "generated" and (self.grid.leading or not self.grid.placed):
            raise LayoutError(f"generated tokens all have a place, got {self.grid.leading} without one")
        if self.start < 0 or (self.pitch and self.pitch < self.grid.columns):
            raise LayoutError(
                f"{self.name!r} starts at token {self.start} with {self.pitch} tokens from row to row, expected 0 or more, and "
                f"at least its {self.grid.columns} columns"
            )
        if self.order and sorted(self.order) != list(range(self.grid.placed)):
            raise LayoutError(f"the order of {self.name!r} does not hold each of its {self.grid.placed} places once")

    @property
    def whole(self) -> bool:
        """Whether its tokens follow each other, row by row."""
        return not self.order and self.pitch in (0, self.grid.columns)

    @property
    def stop(self) -> int:
        """One past its last token."""
        last = self.pitch * (self.grid.rows - 1) + self.grid.columns if self.pitch and self.grid.rows else self.grid.placed
        return self.start + self.grid.leading + last

    def positions(self) -> Tensor:
        """(tokens,): where each of its tokens is, leading ones first, then place by place.

        >>> Span("generated", TokenGrid(2, 2), "generated", start=1, pitch=5).positions()
        tensor([1, 2, 6, 7])
        """
        grid = self.grid
        rows = torch.arange(grid.rows)[:, None] * (self.pitch or grid.columns)
        placed = (rows + torch.arange(grid.columns)).flatten()
        if self.order:
            placed = placed[list(self.order)]
        return self.start + torch.cat([torch.arange(grid.leading), grid.leading + placed])


def generated(grid: TokenGrid) -> Span:
    """The tokens of the generated picture."""
    return Span("generated", grid, "generated")


def reference(grid: TokenGrid, name: str) -> Span:
    """The tokens of a reference."""
    return Span("reference", grid, name)


def text(tokens: int, name: str = "text") -> Span:
    """Tokens of a text."""
    return Span("text", TokenGrid(0, 0, tokens), name)


def other(tokens: int, name: str = "other") -> Span:
    """Tokens of nobody, such as those that fill a sequence up."""
    return Span("other", TokenGrid(0, 0, tokens), name)


def in_windows(rows: int, columns: int, window: int) -> tuple[int, ...]:
    """`Span.order` of tokens that come window by window of ``window`` x ``window`` places, windows and places row by row.

    >>> in_windows(2, 4, 2)
    (0, 1, 4, 5, 2, 3, 6, 7)
    """
    places = sorted(
        ((r // window, c // window, r % window, c % window), r * columns + c) for r in range(rows) for c in range(columns)
    )
    order = [0] * len(places)
    for token, (_, place) in enumerate(places):
        order[place] = token
    return tuple(order)


@dataclass(frozen=True)
class Sequence:
    """What the tokens of one call are, for one conditioning.

    Attributes:
        spans: one generated picture, at least one reference, and any number of texts and others; they must not overlap.
        keys: S, the number of the call's keys; 0: up to the end of the last span. Keys in no span are nobody's.
        queries: which keys the call's queries belong to, as half-open ranges in order; empty: each key is a query as well.
            A call that keeps its references' keys from an earlier step has the queries of the rest alone.

    Raises:
        LayoutError: the spans overlap or reach beyond the keys, or there is no reference, or not one generated picture, or a
            name stands for tokens of two roles (the pieces of one text share theirs).

    >>> flux = Sequence.of(text(3), generated(TokenGrid(2, 2)), reference(TokenGrid(1, 2), "shirt"))
    >>> flux.keys, [(span.name, span.start) for span in flux.spans]
    (9, [('text', 0), ('generated', 3), ('shirt', 7)])
    """

    spans: tuple[Span, ...]
    keys: int = 0
    queries: tuple[Range, ...] = ()

    def __post_init__(self) -> None:
        if not self.keys:
            object.__setattr__(self, "keys", max((span.stop for span in self.spans), default=0))
        if len([span for span in self.spans if span.role == "generated"]) != 1:
            raise LayoutError(f"a sequence has one generated picture, this one ({self}) has none or several")
        if not self.references:
            raise LayoutError(f"the sequence ({self}) has no reference, so there is nothing to record of it")
        roles = {"generated": "generated", "other": "other"}
        for span in self.rest:
            if roles.setdefault(span.name, span.role) != span.role:
                raise LayoutError(
                    f"{span.name!r} in the sequence ({self}) is the name of tokens of {span.role} and of {roles[span.name]}, "
                    f"whose shares are told apart by their names; give the {span.role} another"
                )
        if not self._apart():
            raise LayoutError(f"parts of the sequence ({self}) overlap, or reach beyond its {self.keys} keys")
        _query_positions(self)

    def __str__(self) -> str:
        return " + ".join(_told(span) for span in self.spans)

    @classmethod
    def of(cls, *spans: Span, queries: tuple[Range, ...] = ()) -> Sequence:
        """Spans that follow one another."""
        placed, start = [], 0
        for span in spans:
            placed.append(replace(span, start=start))
            start = placed[-1].stop
        return cls(tuple(placed), queries=queries)

    @property
    def generated(self) -> Span:
        """The generated picture's tokens."""
        return next(span for span in self.spans if span.role == "generated")

    @property
    def references(self) -> tuple[Span, ...]:
        """The references, in order."""
        return tuple(span for span in self.spans if span.role == "reference")

    @property
    def rest(self) -> tuple[Span, ...]:
        """All other spans, in order."""
        return tuple(span for span in self.spans if span.role != "reference")

    @property
    def generated_queries(self) -> slice | Tensor:
        """Where the generated tokens are among the queries."""
        return _query_positions(self)

    @property
    def recorded_queries(self) -> slice | Tensor:
        """Where the generated tokens, and those of the text that are queries, are among the queries."""
        texts = _text_queries(self)
        if texts is None:
            return self.generated_queries
        where = torch.arange(sum(b - a for a, b in self.queries) or self.keys)
        return torch.cat([where[self.generated_queries], where[texts]])

    def numbered(self) -> Sequence:
        """The same with a number in each reference's name, if there are several."""
        own = self.references
        if len(own) < 2:
            return self
        named = (replace(span, name=f"reference {i}") for i, span in enumerate(own, 1))
        return replace(self, spans=(*self.rest, *named))

    def _apart(self) -> bool:
        """Whether no two spans share a token, and none lies beyond the keys."""
        taken = torch.zeros(max(self.keys, *(span.stop for span in self.spans)), dtype=torch.int32)
        for span in self.spans:
            if span.whole:
                taken[span.start : span.stop] += 1
            else:
                taken[span.positions()] += 1
        return len(taken) == self.keys and int(taken.max()) <= 1

    def layout(self) -> Layout:
        """What the keys are that `bring` gives."""
        return _places(self)[0]

    def bring(self, q: Tensor, k: Tensor, v: Tensor | None, mask: Tensor | None, output: Tensor | None) -> Brought:
        """A call in the order that the recorder takes: a view of its tensors, unless a span is not whole.

        Args:
            q: (B, H, queries, d).
            k: (B, Hk, S, d).
            v: (B, Hk, S, dv), if known.
            mask: broadcastable to (B, H, queries, S), of two dimensions at least.
            output: (B, H, queries, dv), if known.

        Raises:
            LayoutError: the call has another number of queries or keys.
        """
        queries = sum(b - a for a, b in self.queries) or self.keys
        if (q.shape[2], k.shape[2]) != (queries, self.keys):
            raise LayoutError(
                f"the call has {q.shape[2]} queries and {k.shape[2]} keys, expected {queries} and {self.keys}: {self}"
            )
        layout, order = _places(self)
        rows = _query_positions(self)
        if order is not None:
            k, v = _take(k, order, 2), None if v is None else _take(v, order, 2)
            mask = None if mask is None else _take(mask, order, -1)
        asking = _text_queries(self)
        texts = None
        if asking is not None:
            names = {span.name for span in self.rest if span.role == "text"}
            stretches = tuple((x.start, x.stop) for x in layout.rest if x.name in names)
            texts = TextRows(_take(q, asking, 2), stretches, None if mask is None else _take(mask, asking, -2))
        q, output = _take(q, rows, 2), None if output is None else _take(output, rows, 2)
        mask = None if mask is None else _take(mask, rows, -2)
        return Brought(self.generated.grid, layout, q, k, v, mask, output, texts)


@dataclass(frozen=True, eq=False)
class TextRows:
    """The queries of a call's text, which read the same keys as those of the generated picture.

    Attributes:
        q: (B, H, T, d), one for each text token.
        keys: where these tokens are among the brought keys, as half-open ranges in the order of ``q``.
        mask: broadcastable to (B, H, T, S).
    """

    q: Tensor
    keys: tuple[Range, ...]
    mask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Brought:
    """A call in the recorder's order.

    Attributes:
        grid: of the generated tokens.
        layout: what its keys are.
        q: (B, H, N, d), the generated tokens alone, row by row.
        k, v: (B, Hk, S, d).
        mask: broadcastable to (B, H, N, S).
        output: (B, H, N, dv).
        text: the queries of all text tokens; None: there is no text, or some of it has no queries in this call.
    """

    grid: TokenGrid
    layout: Layout
    q: Tensor
    k: Tensor
    v: Tensor | None
    mask: Tensor | None
    output: Tensor | None
    text: TextRows | None = None


def _told(span: Span) -> str:
    grid = span.grid
    places = f"{grid.rows} x {grid.columns}" if grid.placed else ""
    return f"{span.name} {' + '.join(filter(None, (str(grid.leading or ''), places)))}"


@lru_cache(maxsize=64)
def _places(sequence: Sequence) -> tuple[Layout, Tensor | None]:
    """The layout of the brought keys, and which key each of them is; None: they stay as they are."""
    own = (*sequence.references, *sequence.rest)
    starts, order = [span.start for span in own], None
    if not all(span.whole for span in own):
        found = torch.cat([span.positions() for span in own])
        free = torch.ones(sequence.keys, dtype=torch.bool)
        free[found] = False
        order = torch.cat([found, free.nonzero()[:, 0]])
        starts = [sum(span.grid.tokens for span in own[:i]) for i in range(len(own))]
    at = list(zip(own, starts, strict=True))
    references = sorted((r for r in at if r[0].role == "reference"), key=lambda r: r[1])
    return (
        Layout(
            tuple(Reference(span.grid, start, span.name) for span, start in references),
            sequence.keys,
            rest=tuple(Stretch(span.name, start, span.grid.tokens) for span, start in at if span.role != "reference"),
        ),
        order,
    )


@lru_cache(maxsize=64)
def _query_positions(sequence: Sequence) -> slice | Tensor:
    """Where the generated tokens are among the queries.

    Raises:
        LayoutError: some are not.
    """
    span, before = sequence.generated, 0
    for start, stop in sequence.queries or ((0, sequence.keys),):
        if start <= span.start and span.stop <= stop:
            first = before - start
            return slice(span.start + first, span.stop + first) if span.whole else span.positions() + first
        before += stop - start
    raise LayoutError(
        f"the generated tokens, {span.start} to {span.stop} of the sequence ({sequence}), are not all in one of the ranges of "
        f"its queries, {', '.join(f'{a} to {b}' for a, b in sequence.queries)}"
    )


@lru_cache(maxsize=64)
def _text_queries(sequence: Sequence) -> slice | Tensor | None:
    """Where the text tokens are among the queries, span by span; None: there are none, or some of them are no queries."""
    found: list[tuple[int, int]] = []
    for span in sequence.rest:
        if span.role != "text" or not span.grid.tokens:
            continue
        before = 0
        for start, stop in sequence.queries or ((0, sequence.keys),):
            if start <= span.start and span.stop <= stop:
                found.append((span.start + before - start, span.stop + before - start))
                break
            before += stop - start
        else:
            return None
    if len(found) == 1:
        return slice(*found[0])
    return torch.cat([torch.arange(a, b) for a, b in found]) if found else None


def _take(t: Tensor, where: slice | Tensor, axis: int) -> Tensor:
    """Some of a tensor along an axis: a view for a slice; an axis of one, which broadcasts, stays."""
    if t.shape[axis] == 1:
        return t
    if isinstance(where, slice):
        return t.narrow(axis, where.start, where.stop - where.start)
    return t.index_select(axis, where.to(t.device))
