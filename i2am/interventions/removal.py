"""From a cut and what the tokens of a call are to the keys that some of its queries and heads no longer see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import LayoutError
from ..geometry.layout import Layout, Reference, TokenGrid
from ..geometry.resample import area
from ..geometry.sequence import Sequence, Span
from .plan import Cut, no_such_reference

T = TypeVar("T", Reference, Span)
HALF = 0.5
"""A cell belongs to a region that covers more than this of the part of it that lies in the picture."""


@dataclass(frozen=True, eq=False)
class Removal:
    """Keys that some queries and heads of a call no longer see.

    Attributes:
        keys: (n,) positions among the call's keys.
        rows: (m,) positions among its queries; None: all of them.
        heads: of the queries; None: all of them.
    """

    keys: Tensor
    rows: Tensor | None = None
    heads: tuple[int, ...] | None = None


def of_sequence(cut: Cut, sequence: Sequence) -> Removal | None:
    """What a cut removes from a joint call; None: nothing, for instance because the call has no queries of the route.

    Raises:
        LayoutError: the call has no such reference, text token or region.

    >>> from ..geometry.sequence import generated, reference, text
    >>> call = Sequence.of(text(2), generated(TokenGrid(1, 2)), reference(TokenGrid(1, 3), "shirt"))
    >>> found = of_sequence(Cut("reference", 0, route="text"), call)
    >>> found.keys.tolist(), found.rows.tolist()
    ([4, 5, 6], [0, 1])
    """
    if cut.what == "nothing":
        return None
    keys = _joint_keys(cut, sequence)
    rows = _asking(sequence, _looking(cut, sequence))
    asked = sum(stop - start for start, stop in sequence.queries) or sequence.keys
    if not len(keys) or not len(rows):
        return None
    return Removal(keys, None if len(rows) == asked else rows, cut.heads)


def of_layout(cut: Cut, layout: Layout, softmax: int, keys: int, grid: TokenGrid) -> Removal | None:
    """What a cut removes from a cross-attention call, whose queries are the generated picture's; None: nothing.

    Args:
        cut: the cut.
        layout: what the keys are.
        softmax: which of the layer's calls it is, see `Reference.softmax`.
        keys: how many keys the conditioning itself has; a host may repeat them.
        grid: of the queries.

    Raises:
        LayoutError: there is no such reference, text token or region, or a route that such networks do not have.
    """
    if cut.what == "nothing":
        return None
    if cut.route not in ("all", "generated"):
        raise LayoutError(
            f"the route is {cut.route!r}, but in this network only the generated picture looks at others; set it to 'all' or "
            f"'generated'"
        )
    gone = _cross_keys(cut, layout, softmax, keys)
    rows = None if cut.where is None else cells_in(cut.where, grid, "the generated picture")
    if not len(gone) or (rows is not None and not len(rows)):
        return None
    return Removal(gone, None if rows is None or len(rows) == grid.tokens else rows, cut.heads)


def _joint_keys(cut: Cut, sequence: Sequence) -> Tensor:
    if cut.what == "text":
        return _of_text(cut, _together([span for span in sequence.spans if span.role == "text"]))
    if cut.what == "all references":
        return _together(sequence.references)
    span = _chosen(cut, sequence.references)
    return span.positions() if cut.region is None else span.positions()[_region(cut, span.grid, span.name)]


def _cross_keys(cut: Cut, layout: Layout, softmax: int, keys: int) -> Tensor:
    own = [r for r in layout.references if r.softmax == softmax]
    if cut.what == "text":
        if softmax:
            return torch.arange(0)
        taken = torch.zeros(keys, dtype=torch.bool)
        for r in own:
            taken[r.start : r.stop] = True
        return _of_text(cut, (~taken).nonzero()[:, 0])
    if cut.what == "all references":
        return torch.cat([torch.arange(r.start, r.stop) for r in own]) if own else torch.arange(0)
    chosen = _chosen(cut, layout.references)
    if chosen.softmax != softmax:
        return torch.arange(0)
    found = torch.arange(chosen.start, chosen.stop)
    return found if cut.region is None else found[_region(cut, chosen.grid, chosen.name)]


def _looking(cut: Cut, sequence: Sequence) -> Tensor:
    """Positions, among the keys, of the tokens that no longer see what is cut."""
    if cut.route == "all":
        return torch.arange(sequence.keys)
    if cut.route == "text":
        return _together([span for span in sequence.spans if span.role == "text"])
    if cut.route == "references":
        others = [s for i, s in enumerate(sequence.references) if cut.what != "reference" or i != cut.reference]
        return _together(others)
    span = sequence.generated
    return span.positions() if cut.where is None else span.positions()[cells_in(cut.where, span.grid, "the generated picture")]


def _asking(sequence: Sequence, positions: Tensor) -> Tensor:
    """Which queries of the call are those of tokens at these positions among its keys, in order."""
    found, before = [], 0
    for start, stop in sequence.queries or ((0, sequence.keys),):
        inside = positions[(positions >= start) & (positions < stop)]
        found.append(inside - start + before)
        before += stop - start
    return torch.cat(found).sort().values


def _chosen(cut: Cut, references: tuple[T, ...]) -> T:
    if cut.reference >= len(references):
        raise LayoutError(no_such_reference(cut.reference, [r.name for r in references]))
    return references[cut.reference]


def _of_text(cut: Cut, positions: Tensor) -> Tensor:
    if cut.tokens is None:
        return positions
    if max(cut.tokens) >= len(positions):
        raise LayoutError(
            f"token {max(cut.tokens)} of the text is to be cut, but the text has {len(positions)} tokens, counted from 0"
        )
    return positions[list(cut.tokens)]


def _region(cut: Cut, grid: TokenGrid, name: str) -> Tensor:
    """Which of a reference's tokens lie in the region; those without a place are in none."""
    if not grid.placed or grid.rect is None:
        why = "its tokens have no places" if not grid.placed else "it is not known which part of its picture its tokens show"
        raise LayoutError(f"a region of {name!r} is to be cut, but {why}; cut the whole reference, without a region")
    assert cut.region is not None
    cells = cells_in(cut.region, grid, name)
    if not len(cells):
        raise LayoutError(
            f"the region of {name!r} covers less than half of each of its {grid.rows} x {grid.columns} tokens, so that none "
            f"would be cut; paint a larger one"
        )
    return cells + grid.leading


def cells_in(mask: object, grid: TokenGrid, of: str) -> Tensor:
    """Which placed tokens of a grid lie in a region of its picture."""
    assert isinstance(mask, Tensor)
    if grid.picture is not None and min(grid.picture) > 0:
        shapes = [h / w for h, w in (mask.shape, grid.picture)]
        if abs(shapes[0] / shapes[1] - 1) > 0.1:
            raise LayoutError(
                f"the region is {mask.shape[1]} x {mask.shape[0]} pixels, but {of} is {grid.picture[1]} x {grid.picture[0]}; "
                f"paint it on that picture"
            )
    rect = grid.rect or (0.0, 0.0, 1.0, 1.0)
    covered, inside = (area(t[None], (grid.rows, grid.columns), rect).flatten() for t in (mask, torch.ones_like(mask)))
    return (covered > HALF * inside + 1e-6).nonzero()[:, 0]  # cells at an edge may reach beyond the picture


def _together(spans: list[Span] | tuple[Span, ...]) -> Tensor:
    return torch.cat([span.positions() for span in spans]) if spans else torch.arange(0)


Index = slice | Tensor
"""Positions along an axis: a slice where they follow each other."""


@dataclass(frozen=True, eq=False)
class Group:
    """Queries and heads of a call that see the same keys; None: all of them. No keys: they see nothing."""

    rows: Index | None
    heads: Index | None
    keys: Index | None

    @property
    def blind(self) -> bool:
        """Whether no key is left."""
        return isinstance(self.keys, Tensor) and not len(self.keys)


def groups(removals: tuple[Removal, ...], queries: int, heads: int, keys: int, spare: int = 0) -> tuple[Group, ...]:
    """A call's queries and heads by the keys that they still see.

    Args:
        removals: of the call.
        queries, heads, keys: how many it has.
        spare: keys behind these which are seen only where no other is left.

    Raises:
        LayoutError: a head does not exist.

    >>> [(g.rows, g.keys) for g in groups((Removal(torch.tensor([2]), torch.tensor([0, 1])),), 4, 1, 3)]
    [(slice(2, 4, None), None), (slice(0, 2, None), slice(0, 2, None))]
    """
    highest = max((max(r.heads) for r in removals if r.heads is not None), default=0)
    if highest >= heads:
        raise LayoutError(f"head {highest} is to be cut, but the layer has {heads}, counted from 0")
    of_head = [tuple(r.heads is None or head in r.heads for r in removals) for head in range(heads)]
    found = []
    for rows, cut_rows in _alike(removals, queries):
        by_cuts: dict[tuple[bool, ...], list[int]] = {}
        for head, cut_heads in enumerate(of_head):
            both = tuple(a and b for a, b in zip(cut_rows, cut_heads, strict=True))
            by_cuts.setdefault(both, []).append(head)
        for both, own in by_cuts.items():
            gone = [r.keys for r, is_cut in zip(removals, both, strict=True) if is_cut]
            found.append(Group(rows, _index(torch.tensor(own), heads), _kept(gone, keys, spare)))
    return tuple(found)


def _alike(removals: tuple[Removal, ...], queries: int) -> list[tuple[Index | None, tuple[bool, ...]]]:
    """Queries in the rows of the same removals, and for each removal whether they are in its."""
    if not removals:
        return [(None, ())]
    inside = torch.ones(len(removals), queries, dtype=torch.bool)
    for i, removal in enumerate(removals):
        if removal.rows is not None:
            inside[i] = False
            inside[i, removal.rows] = True
    kinds, of = torch.unique(inside.int(), dim=1, return_inverse=True)
    return [(_index((of == i).nonzero()[:, 0], queries), tuple(bool(x) for x in kinds[:, i])) for i in range(kinds.shape[1])]


def _kept(gone: list[Tensor], keys: int, spare: int) -> Index | None:
    left = torch.zeros(keys + spare, dtype=torch.bool)
    left[:keys] = True
    for removed in gone:
        left[removed] = False
    if not left.any():
        left[keys:] = True
    return _index(left.nonzero()[:, 0], keys + spare)


def _index(positions: Tensor, total: int) -> Index | None:
    """Sorted positions as a slice where they follow each other, None where they are all."""
    count = len(positions)
    if count == total:
        return None
    first = int(positions[0]) if count else 0
    return slice(first, first + count) if count and int(positions[-1]) - first == count - 1 else positions


def seen_by(found: tuple[Group, ...], queries: int, heads: int, keys: int, of: Callable[[Tensor], Tensor]) -> Tensor:
    """Which of the first ``keys`` keys the queries still see: (1, heads or 1, n or 1, keys), True = seen.

    Axes along which it is the same are of size 1.

    Args:
        found: of `groups`.
        queries, heads, keys: how many there are.
        of: chooses the n queries that matter from (queries,).
    """
    wanted = of(torch.arange(queries))
    place = torch.full((queries,), -1)
    place[wanted] = torch.arange(len(wanted))
    out = None
    for group in found:
        rows = place if group.rows is None else place[group.rows]
        rows = rows[rows >= 0]
        if not len(rows):
            continue
        seen = torch.zeros(keys, dtype=torch.bool)
        seen[slice(None) if group.keys is None else _below(group.keys, keys)] = True
        if len(rows) == len(wanted) and group.heads is None:
            return seen[None, None, None]
        if out is None:
            split_heads = any(g.heads is not None for g in found)
            split_rows = any(g.rows is not None for g in found)
            out = torch.zeros(1, heads if split_heads else 1, len(wanted) if split_rows else 1, keys, dtype=torch.bool)
        own = torch.arange(out.shape[1])
        own = own if group.heads is None else own[group.heads]
        out[0, own[:, None], rows[None] if out.shape[2] > 1 else torch.zeros(1, 1, dtype=torch.long)] = seen
    assert out is not None
    return out


def hidden(mask: Tensor | None, seen: Tensor | None) -> Tensor | None:
    """A call's mask, boolean or additive, without what is not ``seen``."""
    if mask is None or seen is None:
        return seen if mask is None else mask
    if mask.dtype == torch.bool:
        return mask & seen
    return torch.where(seen, mask, float("-inf"))


def _below(index: Index, keys: int) -> Index:
    return index[index < keys] if isinstance(index, Tensor) else slice(min(index.start, keys), min(index.stop, keys))
