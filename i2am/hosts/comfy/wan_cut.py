"""A cut in one call of Wan 2.1.

The pictures' tokens have a softmax of their own, whose result is added to that of the text. So where a cut leaves none of
them, that attention adds nothing: zeros, as in a network without it. Of two pictures, the softmax is over the other's tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...geometry.layout import Layout
from ...interventions.removal import Removal, of_layout
from .arguments import OVERRIDE, beneath
from .cutting import CUTS, CutCall, Found, Place, cut_override, found_in, is_in
from .wan_calls import ITSELF, PICTURES, TEXT, Calls, layer_of


class WanCutter:
    """See `Cutter`."""

    def __init__(self, given: Mapping[str, Any], of: CutCall) -> None:
        self.of = of
        self._calls = Calls(given, of.call)

    def behind(self, options: dict[str, Any]) -> dict[str, Any]:
        """The call's options, with this cut added behind what is there already, and beneath recordings."""
        fresh, others = self._calls.fresh(options), options.get(CUTS, ())
        if not others:  # else the first one's override makes them all
            fresh[OVERRIDE] = beneath(options.get(OVERRIDE), lambda inner: cut_override(inner, self._find, absent=True))
        return {**fresh, CUTS: (*others, self)}

    def _find(self, q: Tensor, k: Tensor, heads: int, given: dict[str, Any]) -> Found | None:
        options = given.get("transformer_options") or {}
        axis = 2 if given.get("skip_reshape", False) else 1
        queries, keys = q.shape[axis], k.shape[axis]
        called = self._calls.next(options, queries, keys)
        if called is None or called[1] == ITSELF:
            return None
        layer, which = called
        self._calls.check(layer, which, queries, keys, given.get("mask") is not None)
        self.of.call.seen.add(layer)
        return found_in(options, which, queries, heads, keys)

    def removal(self, place: Place, softmax: int, row: int, _queries: int, keys: int) -> Removal | None:
        """See `Cutter`; ``softmax`` is `PICTURES` or `TEXT`."""
        cut, own, layer = self.of.cut, self.of.call.rows[row], layer_of(place)
        if own is None or not is_in(layer, cut.layers) or softmax != (TEXT if cut.what == "text" else PICTURES):
            return None
        grid, frames = self._calls.grid, self._calls.frames

        def make() -> Removal | None:
            found = of_layout(cut, _apart(own.layout), int(softmax == PICTURES), keys, grid)
            return None if found is None else _in_each(found, frames, grid.placed)

        return self.of.removal((own.layout, softmax, keys, frames, grid), layer, make)


def _apart(layout: Layout) -> Layout:
    """The pictures as softmax 1 of a layer whose softmax 0 has none, which is the text's."""
    return Layout(tuple(replace(reference, softmax=1) for reference in layout.references))


def _in_each(removal: Removal, frames: int, placed: int) -> Removal:
    """A removal for the queries of one frame, made in every frame."""
    if removal.rows is None:
        return removal
    starts = torch.arange(frames)[:, None] * placed
    return replace(removal, rows=(starts + removal.rows).flatten())
