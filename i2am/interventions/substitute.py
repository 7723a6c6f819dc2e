"""Attention in which some keys are those of another run: a stand-in that stays close to what the model was trained on.

Taking keys away leaves the data that a model knows. If what stands in their place comes from another picture of the same kind,
or from a blurred one, the number of keys and their places stay, and only what they say is another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LayoutError
from .attend import Attend, take
from .removal import Removal


def attend_substituted(
    removal: Removal,
    attend: Attend,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    other_k: Tensor,
    other_v: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """Attention in which the queries and heads of a removal see, in place of its keys, those of another run: (B, H, N, dv).

    Keys and values at the named positions are replaced, all others stay, and so do all other queries and heads.

    Args:
        removal: which keys, for whom.
        attend: the model's own attention function.
        q: (B, H, N, d).
        k, v: (B, Hk, S, d), Hk dividing H; of the run itself.
        other_k, other_v: of the same shapes, or with a batch of 1; of the other run, in the same layer and step.
        mask: of 2 to 4 dimensions, broadcastable to (B, H, N, S), or None.

    Raises:
        LayoutError: the other run's keys are of another shape, or the removal names keys or heads that are not there.

    >>> one = torch.nn.functional.scaled_dot_product_attention
    >>> q, k, v = (torch.arange(n * 2.0).view(1, 1, n, 2) / n for n in (3, 4, 4))
    >>> every = Removal(torch.arange(4))
    >>> torch.equal(attend_substituted(every, one, q, k, v, k + 1, v + 1), one(q, k + 1, v + 1))
    True
    """
    for name, own, other in (("keys", k, other_k), ("values", v, other_v)):
        if own.shape[1:] != other.shape[1:] or len(other) not in (1, len(own)):
            raise LayoutError(
                f"the {name} that stand in are {tuple(other.shape)}, but the run's own are {tuple(own.shape)}; take them from "
                f"a run with references of the same sizes"
            )
    if int(removal.keys.max()) >= k.shape[2] or max(removal.heads or (0,)) >= q.shape[1]:
        raise LayoutError(
            f"key {int(removal.keys.max())} of head {max(removal.heads or (0,))} is to be replaced, but the call has "
            f"{k.shape[2]} keys and {q.shape[1]} heads, counted from 0"
        )
    if removal.heads is not None and k.shape[1] != q.shape[1]:  # heads that share keys
        k, v, other_k, other_v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v, other_k, other_v))
    mixed_k, mixed_v = _replaced(k, other_k, removal), _replaced(v, other_v, removal)
    if removal.rows is None:
        return attend(q, mixed_k, mixed_v, mask)
    out = attend(q, k, v, mask)
    rows = removal.rows.to(q.device)
    own_mask = take(mask, rows, -2) if mask is not None and mask.ndim > 1 and mask.shape[-2] > 1 else mask
    return out.index_copy(2, rows, attend(take(q, rows, 2), mixed_k, mixed_v, own_mask).to(out.dtype))


def _replaced(own: Tensor, other: Tensor, removal: Removal) -> Tensor:
    """``own`` (B, H, S, d) with what ``other`` has at the removal's keys and heads."""
    here = torch.zeros(own.shape[1], own.shape[2], dtype=torch.bool)
    heads = torch.arange(own.shape[1]) if removal.heads is None else torch.tensor(removal.heads)
    here[heads[:, None], removal.keys[None]] = True
    return torch.where(here[None, :, :, None].to(own.device), other, own)
