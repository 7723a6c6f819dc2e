"""Cuts in one call of a model: what of an attention is cut, and how the host's own function then computes it."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor

from ...geometry.layout import Layout
from ...interventions.attend import attend_groups, take
from ...interventions.plan import Cut
from ...interventions.removal import Group, Removal, groups, seen_by
from .adapters import Adapter
from .arguments import Kernel, hosts_own, split
from .call import Call

CUTS = "i2am_cuts"
"""Key in a call's ``transformer_options``: the `Cutter` of every cut, so that they act as one and recordings know them."""
SPARE = "i2am_spare"
"""Key in the options of one block: how many keys were added behind the others, seen only where no other is left."""
POSITIONAL = ("mask", "attn_precision", "skip_reshape", "skip_output_reshape")
"""The arguments of the host's attention functions behind (q, k, v, heads), in order."""
Place = Mapping[str, Any]
Found = tuple[tuple[Group, ...], ...]
"""The groups of each conditioning's rows of a batch."""


@dataclass(frozen=True)
class CutCall:
    """One call of the model in which something is cut.

    Attributes:
        cut: what.
        call: as for a recording; its rows are those of the conditionings that are cut, None: not cut.
        nulls: for each of them, whether the tokens of its context stand for "no reference" already.
        stand_in: (1, T, C), the tokens of the negative conditioning; None: there is none.
        touched: names of the layers in which something was cut, of the whole run.
        cache: of the run, for what is the same in many calls.
    """

    cut: Cut
    call: Call
    nulls: tuple[bool, ...]
    stand_in: Tensor | None
    touched: set[str]
    cache: dict[Any, Any] = field(default_factory=dict)

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """The run's adapters."""
        return self.call.adapters

    def removal(self, key: tuple[Layout | Any, ...], layer: str, make: Callable[[], Removal | None]) -> Removal | None:
        """What is removed, made once for all calls of the run that are alike; ``key`` tells them apart."""
        own = (id(self.cut), *key)
        if own not in self.cache:
            self.cache[own] = make()
        found: Removal | None = self.cache[own]
        if found is not None:
            self.touched.add(layer)
        return found


class Cutter(Protocol):
    """One cut in one call."""

    of: CutCall

    def removal(self, place: Place, softmax: int, row: int, queries: int, keys: int) -> Removal | None:
        """What the cut removes from one attention.

        Args:
            place: the options that the block was called with.
            softmax: which of the layer's attentions it is.
            row: which of the batch's conditionings.
            queries, keys: how many there are.
        """


def found_in(place: Place, softmax: int, queries: int, heads: int, keys: int, spare: int = 0) -> Found | None:
    """The groups of an attention for each conditioning of the batch; None: nothing is cut."""
    cutters: tuple[Cutter, ...] = place.get(CUTS, ())
    if not cutters:
        return None
    cache, found = cutters[0].of.cache, []
    for row in range(len(cutters[0].of.call.rows)):
        each = (cutter.removal(place, softmax, row, queries, keys) for cutter in cutters)
        found.append(tuple(removal for removal in each if removal is not None))
    if not any(found):
        return None
    out = []
    for removals in found:
        key = ("groups", *map(id, removals), queries, heads, keys, spare)
        if key not in cache:
            cache[key] = groups(removals, queries, heads, keys, spare), removals  # kept, so that no other gets their ids
        out.append(cache[key][0])
    return tuple(out)


def seen_in(
    place: Place, softmax: int, row: int, q: Tensor, keys: int, of: Callable[[Tensor], Tensor] = lambda every: every
) -> Tensor | None:
    """Which keys the queries of a conditioning see, as `seen_by` gives it; None: all.

    Args:
        place, softmax, row: see `Cutter.removal`.
        q: (B, H, N, d).
        keys: how many the call has, without the spare ones.
        of: chooses the queries that matter.
    """
    heads, queries = q.shape[1:3]
    found = found_in(place, softmax, queries, heads, keys, int(place.get(SPARE, 0)))
    return None if found is None else seen_by(found[row], queries, heads, keys, of).to(q.device)


def is_in(layer: str, patterns: tuple[str, ...] | None) -> bool:
    """Whether a layer is among those of a cut."""
    return patterns is None or any(fnmatch.fnmatchcase(layer, pattern) for pattern in patterns)


def notes_in(place: Place) -> list[str]:
    """What was cut, for the reader of a recording's maps."""
    return [f"an intervention: {cutter.of.cut.sentence} What is cut has no part in the maps." for cutter in place.get(CUTS, ())]


def cut_override(
    inner: Any,
    find: Callable[[Tensor, Tensor, int, dict[str, Any]], Found | None],
    preferred: Callable[[], Kernel | None] = lambda: None,
    absent: bool = False,
) -> Callable[..., Any]:
    """An ``optimized_attention_override`` that cuts what ``find`` says, and otherwise does what would happen without it.

    Args:
        inner: the override that is there already; None: there is none.
        find: called before every attention with q, k, heads and the further arguments by name.
        preferred: see `arguments.observed`.
        absent: see `attend_groups`.
    """

    def attention(function: Kernel, q: Any, k: Any, v: Any, heads: int, *args: Any, **kwargs: Any) -> Any:
        own = preferred()
        kernel = partial(inner, function) if inner is not None else own or function
        found = find(q, k, heads, {**dict(zip(POSITIONAL, args)), **kwargs})
        if found is None:
            return kernel(q, k, v, heads, *args, **kwargs)
        return attend_cut(kernel, found, q, k, v, heads, args, kwargs, absent)

    def attention_of_containers(q: Any, k: Any, v: Any, heads: int, *args: Any, **kwargs: Any) -> Any:
        own = preferred()
        function = own or hosts_own(kwargs.get("mask", *args[:1]))
        found = find(q.peek(), k.peek(), heads, {**dict(zip(POSITIONAL, args)), **kwargs})
        if found is None:
            return (function if inner is None else inner.container_function)(q, k, v, heads, *args, **kwargs)
        kernel = function if inner is None else partial(inner, function)
        return attend_cut(kernel, found, q.take(), k.take(), v.take(), heads, args, kwargs, absent)

    if inner is None or hasattr(inner, "container_function"):
        attention.container_function = attention_of_containers  # type: ignore[attr-defined]
    return attention


def attend_cut(
    kernel: Kernel,
    found: Found,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    absent: bool = False,
) -> Tensor:
    """What a function of the host gives with the keys that are left, in the shape that was asked for.

    Args:
        kernel: takes (q, k, v, heads, …) as the host's functions do.
        found: the groups of each conditioning's rows.
        q, k, v, heads, args, kwargs: what it was called with.
        absent: see `attend_groups`.
    """
    given = {**dict(zip(POSITIONAL, args)), **kwargs}
    mask, size, out, first = given.pop("mask", None), len(q) // len(found), [], 0
    for _, several in groupby(found, key=id):
        alike = list(several)
        part = slice(first * size, (first + len(alike)) * size)
        first += len(alike)
        rows = mask[part] if mask is not None and _by_rows(mask, len(q)) else mask
        out.append(_attend(kernel, alike[0], q[part], k[part], v[part], heads, rows, given, absent))
    return out[0] if len(out) == 1 else torch.cat(out)


def _by_rows(mask: Tensor, rows: int) -> bool:
    return len(mask) == rows > 1 and (mask.ndim > 2 or mask.dtype == torch.bool)


def _attend(
    kernel: Kernel,
    found: tuple[Group, ...],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    mask: Tensor | None,
    given: dict[str, Any],
    absent: bool,
) -> Tensor:
    is_split = bool(given.get("skip_reshape", False))
    if len(found) == 1 and not found[0].blind:  # the same for all queries and heads: as the caller has the tensors
        kept, axis = found[0].keys, 2 if is_split else 1
        if mask is not None:
            mask = take(mask, kept, -1)
        out: Tensor = kernel(q, take(k, kept, axis), take(v, kept, axis), heads, mask=mask, **given)
        return out
    if not is_split:
        q, k, v = (split(t, heads) for t in (q, k, v))
    apart = {**given, "skip_reshape": True, "skip_output_reshape": True}
    if mask is not None and mask.ndim == 2 and _by_rows(mask, len(q)):
        mask = mask[:, None]

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        out: Tensor = kernel(q, k, v, q.shape[1], mask=mask, **apart)
        return out

    whole = attend_groups(found, attend, q, k, v, mask, absent)
    return whole if given.get("skip_output_reshape", False) else whole.transpose(1, 2).flatten(2)
