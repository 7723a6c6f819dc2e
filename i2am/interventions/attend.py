"""Attention of queries that no longer see some keys: the same function, called with the keys that are left.

What is cut is not in the call at all, so that the softmax is over the rest, exactly. Nothing is scaled, and no value is
set to zero. Where all queries and heads lose the same keys, that is one call with fewer of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import LayoutError
from .removal import Group, Index

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""(q, k, v, mask) to the output, (B, H, N, d) and so on."""


def attend_groups(
    found: tuple[Group, ...], attend: Attend, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, absent: bool = False
) -> Tensor:
    """Attention in which every `Group` sees its keys alone, (B, H, N, dv).

    Args:
        found: the groups; they make up all queries and heads.
        attend: the model's own attention function.
        q: (B, H, N, d).
        k, v: (B, Hk, S, d), Hk dividing H.
        mask: of 2 to 4 dimensions, broadcastable to (B, H, N, S), or None.
        absent: give zeros where no key is left, as an attention does that is not added at all.

    Raises:
        LayoutError: a group sees nothing, and ``absent`` is not said.

    >>> from .removal import Removal, groups
    >>> one = torch.nn.functional.scaled_dot_product_attention
    >>> q, k, v = (torch.arange(n * 2.0).view(1, 1, n, 2) / n for n in (3, 4, 4))
    >>> cut = groups((Removal(torch.tensor([1, 3]), torch.tensor([2])),), 3, 1, 4)
    >>> out = attend_groups(cut, one, q, k, v, None)
    >>> torch.equal(out[:, :, 2:], one(q[:, :, 2:], k[:, :, ::2], v[:, :, ::2]))
    True
    """
    out: Tensor | None = None
    shape = (len(q), q.shape[1], q.shape[2], v.shape[-1])
    for group in found:
        if group.blind and not absent:
            raise LayoutError("the cut leaves some queries without any key; cut less")
        part = None if group.blind else _attend(group, attend, q, k, v, mask)
        if part is not None and len(found) == 1:
            return part
        if out is None:
            out = q.new_zeros(shape) if absent else torch.empty(shape, dtype=q.dtype, device=q.device)
        if part is not None:
            _put(out, part.to(out.dtype), group)
    assert out is not None
    return out


def _attend(group: Group, attend: Attend, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    if group.heads is not None:
        if k.shape[1] != q.shape[1]:  # heads that share keys
            k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
        q, k, v = (take(t, group.heads, 1) for t in (q, k, v))
    return attend(take(q, group.rows, 2), take(k, group.keys, 2), take(v, group.keys, 2), _mask_of(mask, group))


def _mask_of(mask: Tensor | None, group: Group) -> Tensor | None:
    if mask is None:
        return None
    mask = take(mask, group.keys, -1)
    if mask.ndim > 1 and mask.shape[-2] > 1:
        mask = take(mask, group.rows, -2)
    return take(mask, group.heads, 1) if mask.ndim == 4 and mask.shape[1] > 1 else mask


def take(t: Tensor, index: Index | None, axis: int) -> Tensor:
    """Some of a tensor along an axis: a view for a slice."""
    if index is None:
        return t
    if isinstance(index, slice):
        return t.narrow(axis, index.start, index.stop - index.start)
    return t.index_select(axis, index.to(t.device))


def _put(out: Tensor, part: Tensor, group: Group) -> None:
    if group.heads is None:
        target, at = out, group.rows
    elif isinstance(group.heads, slice):
        target, at = out[:, group.heads], group.rows
    else:
        for i, head in enumerate(group.heads.tolist()):
            _put(out[:, head : head + 1], part[:, i : i + 1], Group(group.rows, None, None))
        return
    if at is None:
        target.copy_(part)
    elif isinstance(at, slice):
        target[:, :, at] = part
    else:
        target.index_copy_(2, at.to(out.device), part)
