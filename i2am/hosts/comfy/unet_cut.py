"""A cut in one call of a U-Net.

A context is projected to keys and values inside of the host's attention. So where a cut leaves a layer with none of them, the
tokens that stand in are put behind the context before that, and those who still see the context do not see them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...errors import LayoutError
from ...geometry.layout import TokenGrid
from ...interventions.attend import take
from ...interventions.removal import Removal, of_layout
from .adapters import Key
from .arguments import OVERRIDE, Kernel, around, beneath
from .call import Rows
from .cutting import CUTS, SPARE, CutCall, Found, attend_cut, cut_override, found_in, is_in
from .ipadapter import with_attention
from .kernels import Kernels
from .pixels import pixels_per_cell
from .unet_places import Place, layer_name


class UNetCutter:
    """See `Cutter`. Markers before each attention tell cross-attention from self-attention."""

    def __init__(self, of: CutCall) -> None:
        self.of = of
        self._place: Place | None = None
        self._block: Place = {}
        self._kernels = Kernels.of(of.call.network)

    def behind(self, options: dict[str, Any]) -> dict[str, Any]:
        """The call's options, with this cut added behind what is there already, and beneath recordings."""
        others = options.get(CUTS, ())
        if others:  # the first one's hooks make them all
            return {**options, CUTS: (*others, self)}
        patches = dict(options.get("patches", {}))
        patches["attn1_patch"] = [*patches.get("attn1_patch", []), self._before_self_attention]
        patches["attn2_patch"] = [*patches.get("attn2_patch", []), self._before_cross_attention]
        replaced = dict(options.get("patches_replace", {}))
        if "attn2" in replaced:
            replaced["attn2"] = {where: beneath(function, self._replacing) for where, function in replaced["attn2"].items()}
        self._kernels.replaced = frozenset(replaced.get("attn1", ()))
        override = beneath(options.get(OVERRIDE), lambda inner: cut_override(inner, self._find, self._kernels.take))
        return {**options, "patches": patches, "patches_replace": replaced, OVERRIDE: override, CUTS: (self,)}

    # ------------------------------------------------------------------ the host's hooks

    def _before_self_attention(self, n: Tensor, context: Tensor, value: Tensor, options: Place) -> tuple[Any, ...]:
        self._place = None
        self._kernels.expect("attn1", options)
        return n, context, value

    def _before_cross_attention(self, n: Tensor, context: Tensor, value: Tensor, options: Place) -> tuple[Any, ...]:
        self._place = options
        self._kernels.expect("attn2", options)
        found = found_in(options, 0, n.shape[1], options["n_heads"], context.shape[1])
        if found is None or not any(group.blind for row in found for group in row):
            return n, context, value
        behind = self._stand_in(options, context)
        options[SPARE] = behind.shape[1]
        longer = torch.cat([context, behind], 1)
        return n, longer, longer if value is context else torch.cat([value, behind], 1)

    def _stand_in(self, place: Place, context: Tensor) -> Tensor:
        """The tokens that stand in, for every row of a context."""
        tokens, layer = self.of.stand_in, layer_name(place)
        if any(row is not None and layer in row.layers for row in self.of.call.rows):
            raise LayoutError(
                f"layer {layer!r} attends to the reference alone, and there are no tokens for 'no reference' that it could "
                f"attend to instead; cut a region of it, or leave the layer out with 'layers'"
            )
        if tokens is None or tokens.shape[-1] != context.shape[-1]:
            raise LayoutError(
                f"layer {layer!r} would be left with no token to attend to, and the sampler has no negative conditioning whose "
                f"tokens could stand in; give it one, or cut a region"
            )
        return tokens.to(context)[:1].expand(len(context), -1, -1)

    def _find(self, q: Tensor, k: Tensor, heads: int, given: dict[str, Any]) -> Found | None:
        place, self._place = self._place, None
        if place is None:
            return None
        axis, spare = 2 if given.get("skip_reshape", False) else 1, int(place.get(SPARE, 0))
        return found_in(place, 0, q.shape[axis], heads, k.shape[axis] - spare, spare)

    def _replacing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A cross-attention that another pack replaced, cut: its own call and those of its adapters."""
        return self._around(with_attention(function, self._attend_of_adapter))

    def _around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def replace(q: Tensor, k: Tensor, v: Tensor, options: Place) -> Any:
            place, self._place = self._place, None
            self._kernels.take()
            if place is None:
                return function(q, k, v, options)
            self._block = place
            spare = int(place.get(SPARE, 0))
            found = found_in(place, 0, q.shape[1], options["n_heads"], k.shape[1] - spare, spare)
            if found is not None:
                k, v = (_left(t, found, layer_name(place)) for t in (k, v))
            return function(q, k, v, options)

        return around(replace, function, self._around)

    def _attend_of_adapter(self, adapter: Key, others: Any, attention: Kernel, *called: Any) -> Any:
        """One call of an adapter's attention, see `ipadapter.Attend`."""
        q, k, v, heads, args, kwargs = called
        softmax = next((i for i, known in enumerate(self.of.adapters, 1) if known.key == adapter), None)
        if softmax is None or (others and self._block.get("transformer_index") in others):
            return attention(q, k, v, heads, *args, **kwargs)
        wide_k, wide_v = (t.reshape(q.shape[0], -1, t.shape[-1]) for t in (k, v))
        found = found_in(self._block, softmax, q.shape[1], heads, wide_k.shape[1])
        if found is None:
            return attention(q, k, v, heads, *args, **kwargs)
        return attend_cut(attention, found, q, wide_k, wide_v, heads, args, kwargs, absent=True)

    # ------------------------------------------------------------------ what is cut

    def removal(self, place: Any, softmax: int, row: int, queries: int, keys: int) -> Removal | None:
        """See `Cutter`."""
        cut, own, layer = self.of.cut, self.of.call.rows[row], layer_name(place)
        if own is None or not is_in(layer, cut.layers):
            return None
        layout, beside = own.layout_of(layer), layer in own.layers
        if self.of.nulls[row] and not softmax and not beside and cut.what != "text":
            return None  # it stands for "no reference" already
        count = keys if softmax or beside else _own(keys, own)
        if not softmax and layout.indices(0):
            layout.check(layer, count)
        rows, columns = (int(n) for n in place["activations_shape"][-2:])
        if cut.where is not None and rows * columns != queries:
            raise LayoutError(
                f"layer {layer!r} has {queries} queries on a {rows} x {columns} grid, so another node pack merges or splits "
                f"its tokens, and a region of the picture cannot be found in it; leave the layer out with 'layers', or switch "
                f"that node off"
            )

        def make() -> Removal | None:
            size = tuple(pixels_per_cell(self.of.call.model) * int(n) for n in place["original_shape"][-2:])
            found = of_layout(cut, layout, softmax, count, TokenGrid(rows, columns, picture=(size[0], size[1])))
            if found is None or count == keys:
                return found
            again = torch.cat([found.keys + first for first in range(0, keys, count)])  # the host repeats a context
            return Removal(again, found.rows, found.heads)

        return self.of.removal((layout, softmax, count, keys, rows, columns), layer, make)


def _own(keys: int, row: Rows) -> int:
    return row.tokens if row.tokens and keys % row.tokens == 0 else keys


def _left(t: Tensor, found: Found, layer: str) -> Tensor:
    """The keys or values, (B, S, channels), that are left to a replaced cross-attention."""
    counts = {len(row) for row in found}
    size = len(t) // len(found)
    parts = [take(t[i * size : (i + 1) * size], row[0].keys, 1) for i, row in enumerate(found)]
    if counts != {1} or len({part.shape[1] for part in parts}) > 1:
        raise LayoutError(
            f"another pack replaces the attention of layer {layer!r}, so it can only be cut for all queries and heads, and in "
            f"all branches alike; leave heads and region out and set branch to both, or leave the layer out with 'layers'"
        )
    return torch.cat(parts)
