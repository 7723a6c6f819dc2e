"""Cuts in one evaluation of a diffusers model, by the attention function that its processors call themselves."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...errors import LayoutError, RecordingError
from ...geometry.layout import Layout, TokenGrid
from ...geometry.sequence import Sequence
from ...interventions.attend import attend_groups
from ...interventions.plan import Cut
from ...interventions.removal import Group, Removal, groups, of_layout, of_sequence, seen_by

Grid = Callable[[], "tuple[int, int]"]
"""Gives the (rows, columns) of a call's queries, which is only asked for where it matters."""


@dataclass(frozen=True, eq=False)
class Cutting:
    """What is cut in one evaluation.

    Attributes:
        cuts: those that are made at its step.
        rows: of the batch, by branch.
        sequences: of a joint-attention network, by branch; empty: it is none.
        layout: of a U-Net's layers, by name.
        nulls: branches whose tokens stand for "no reference".
        picture: (H, W) of the generated picture.
        touched: layers in which something was cut, of the whole run.
    """

    cuts: tuple[Cut, ...]
    rows: Mapping[str, slice]
    sequences: Mapping[str, Sequence]
    layout: Callable[[str], Layout] | None
    nulls: frozenset[str]
    picture: tuple[int, int]
    touched: set[str] = field(default_factory=set)

    def wants(self, layer: str) -> bool:
        """Whether a layer is to be cut."""
        return any(True for _ in self._in(layer))

    def _in(self, layer: str) -> Iterator[Cut]:
        for cut in self.cuts:
            if cut.layers is None or any(fnmatch.fnmatchcase(layer, pattern) for pattern in cut.layers):
                yield cut

    def _removals(self, layer: str, softmax: int, branch: str, keys: int, grid: Grid) -> Iterator[Removal]:
        for cut in self._in(layer):
            found = None
            if branch not in cut.in_branches:
                continue
            if self.sequences:
                found = of_sequence(cut, self.sequences[branch])
            elif self.layout is not None and (softmax or branch not in self.nulls or cut.what == "text"):
                layout = self.layout(layer)
                if not softmax and layout.indices(0):
                    layout.check(layer, keys)
                size = grid() if cut.where is not None else (1, 1)
                found = of_layout(cut, layout, softmax, keys, TokenGrid(*size, picture=self.picture))
            if found is not None:
                yield found

    def groups(
        self, layer: str, softmax: int, branch: str, q: Tensor, keys: int, grid: Grid, spare: int = 0
    ) -> tuple[Group, ...] | None:
        """Queries and heads of a branch's rows by the keys that they see, see `removal.groups`; None: nothing is cut."""
        removals = tuple(self._removals(layer, softmax, branch, keys, grid))
        return groups(removals, q.shape[2], q.shape[1], keys, spare) if removals else None

    def seen(self, layer: str, softmax: int, branch: str, q: Tensor, keys: int, grid: Grid) -> Tensor | None:
        """Which keys the queries of a branch still see, (1, H or 1, N or 1, keys); None: all."""
        found = self.groups(layer, softmax, branch, q, keys, grid)
        if found is None:
            return None
        sequence = self.sequences.get(branch)
        rows = slice(None) if sequence is None else sequence.recorded_queries
        left = seen_by(found, q.shape[2], q.shape[1], keys, lambda every: every[rows])
        if left.shape[2] > 1 and sequence is not None:
            whole = left.new_ones(1, left.shape[1], q.shape[2], keys)
            whole[:, :, rows] = left
            left = whole
        return left.to(q.device)

    def attend(
        self, layer: str, softmax: int, grid: Grid, function: Callable[..., Tensor], given: dict[str, Any]
    ) -> Tensor | None:
        """What an attention gives when this is cut of it; None: nothing is.

        Args:
            layer: its name.
            softmax: which of the layer's attentions it is.
            grid: of its queries.
            function: `scaled_dot_product_attention`.
            given: its arguments by name.

        Raises:
            LayoutError: something to be cut is not there, or no key would be left.
            RecordingError: the attention is of a kind that is not cut.
        """
        q, k, v, mask = given["query"], given["key"], given["value"], given.get("attn_mask")
        if self.sequences and (q.shape[-2], k.shape[-2]) != self._size:
            return None  # a block may attend elsewhere as well
        if q.ndim != 4 or given.get("is_causal"):
            raise RecordingError(
                f"layer {layer!r} attends causally, or from queries of the shape {tuple(q.shape)}, which cannot be cut; leave "
                f"it out with the layers of the cut, or set another processor"
            )
        self._check_text(layer)
        keys = k.shape[2]
        found = {branch: self.groups(layer, softmax, branch, q, keys, grid) for branch in self.rows}
        if not any(found.values()):
            return None
        self.touched.add(layer)
        out = torch.empty(*q.shape[:3], v.shape[-1], dtype=q.dtype, device=q.device)
        beside = {name: value for name, value in given.items() if name not in ("query", "key", "value", "attn_mask")}

        def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
            return function(q, k, v, attn_mask=mask, **beside)

        done = torch.zeros(len(q), dtype=torch.bool)
        for branch, rows in self.rows.items():
            own = mask[rows] if mask is not None and mask.ndim > 2 and len(mask) == len(q) > 1 else mask
            left_k, left_v, seen = k[rows], v[rows], found[branch] or groups((), q.shape[2], q.shape[1], keys)
            if not softmax and any(group.blind for group in seen):
                left_k, left_v = self._with_stand_in(layer, branch, k, v)
                again = self.groups(layer, softmax, branch, q, keys, grid, spare=keys)
                assert again is not None
                seen = again
                own = None if own is None else torch.cat([own, own], -1)
            out[rows] = attend_groups(seen, attend, q[rows], left_k, left_v, own, absent=bool(softmax))
            done[rows] = True
        if not bool(done.all()):
            raise RecordingError(
                f"layer {layer!r} was called with {len(q)} rows, of which {int(done.sum())} belong to the branches "
                f"{', '.join(self.rows)}; perturbed-attention guidance and the like cannot be combined with a cut"
            )
        return out

    def _check_text(self, layer: str) -> None:
        """Refuse to cut something from all where a text reads the references in calls of its own, which are not cut."""
        silent = [
            span
            for sequence in self.sequences.values()
            for span in sequence.rest
            if span.role == "text" and span.grid.tokens and sequence.queries
            if not any(start <= span.start and span.stop <= stop for start, stop in sequence.queries)
        ]
        if silent and any(cut.route == "all" for cut in self._in(layer)):
            raise RecordingError(
                f"the route is 'all', but in this model the text ({silent[0].name}) reads the references in calls of its own, "
                f"which are not cut; set it to 'generated'"
            )

    @property
    def _size(self) -> tuple[int, int]:
        """(queries, keys) of a joint call, which are the same in all its rows."""
        sequence = next(iter(self.sequences.values()))
        return sum(stop - start for start, stop in sequence.queries) or sequence.keys, sequence.keys

    def _with_stand_in(self, layer: str, branch: str, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a branch with those of the negative's tokens behind them."""
        null = next((name for name in self.rows if name in self.nulls and name != branch), None)
        if null is None:
            raise LayoutError(
                f"layer {layer!r} attends to the reference alone, and this call has no rows of a negative whose tokens could "
                f"stand in; run with guidance in one batch, or cut a region"
            )
        rows, other = self.rows[branch], self.rows[null]
        return torch.cat([k[rows], k[other]], 2), torch.cat([v[rows], v[other]], 2)
