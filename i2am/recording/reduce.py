"""Reduces one cross-attention call to what is kept of it, in fp32 and in chunks, never the whole N x S x heads block.

With L = Q K^T * scale (DESIGN 4): A^r is the softmax of L over all keys, A^g the softmax of L over the
generated positions. Two ways give the same numbers: one matrix E = exp(L - shift) gives every map by matrix
products (`by_products`), and its sums tell whether fp32's range was wide enough for that; where it was not,
or with a mask, the maps are taken in the log domain (`in_logs`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LayoutError, RecordingError
from ..geometry.layout import Layout
from .call_maps import CallMaps, View, empty
from .reduce_logs import in_logs
from .reduce_products import SAFE_LOGIT, by_products, shifted
from .scratch import Scratch

CHUNK_BYTES = 32 << 20
CACHE_BYTES = 4 << 20
"""For each CPU thread a tile of E has this size, so that it stays in the caches from pass to pass."""


@torch.no_grad()
def reduce_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor | None = None,
    *,
    layout: Layout,
    scale: float,
    queries: int | None = None,
    mask: Tensor | None = None,
    query_weights: Tensor | None = None,
    pairwise: str | None = None,
    output: Tensor | None = None,
    scratch: Scratch | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> list[CallMaps]:
    """Reduce one call to its maps, one `CallMaps` per reference of ``layout``; in fp32 even under autocast.

    Args:
        q: (B, H, N', d) projected queries; the generated ones are ``layout.query_start`` onwards.
        k: (B, Hk, S', d) projected keys, Hk dividing H (grouped heads).
        v: (B, Hk, S', dv) projected values, for the output norm.
        layout: which keys belong to which reference.
        scale: the call's own factor on q k^T.
        queries: how many generated queries; None: all from ``layout.query_start`` on.
        mask: the call's own mask, additive or boolean (True = may look), broadcastable to (B, H, N', S').
        query_weights: (N,) or (B, N) weight of each generated token for `CallMaps.g2r_masked`.
        pairwise: None, "mean" (over heads) or "heads".
        output: (B, H, N', dv), what the call gave, before heads are joined. Without a mask, a reference that has all keys to
            itself is all that the output comes from: then the norm is the output's length, and v is not multiplied again.
        scratch: room to work in, for callers that reduce many calls one after the other.
        chunk_bytes: half of what the parts of the N x S' block that exist at a time may take.

    Raises:
        LayoutError: keys or queries do not match the layout.
        RecordingError: q or k holds NaN or infinity.
    """
    with torch.autocast(q.device.type, enabled=False):
        return _reduced(
            q, k, v, layout, scale, queries, mask, query_weights, pairwise, output, scratch or Scratch(), chunk_bytes
        )


def _reduced(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    layout: Layout,
    scale: float,
    queries: int | None,
    mask: Tensor | None,
    query_weights: Tensor | None,
    pairwise: str | None,
    output: Tensor | None,
    scratch: Scratch,
    chunk_bytes: int,
) -> list[CallMaps]:
    layout.check("call", k.shape[2])
    b, h, total, _ = q.shape
    count = total - layout.query_start if queries is None else queries
    if count < 1 or layout.query_start + count > total:
        raise LayoutError(f"the layout puts {count} generated tokens after query {layout.query_start}, the call has {total}")
    if pairwise not in (None, "mean", "heads"):
        raise ValueError(f"pairwise is None, 'mean' or 'heads', got {pairwise!r}")
    window = slice(layout.query_start, layout.query_start + count)
    q = q[:, :, window].float() * scale
    k, v = _heads(k, h), None if v is None else _heads(v, h)
    if mask is not None:
        mask = additive(mask).expand(b, h, total, k.shape[2])[:, :, window]
    weights = None
    if query_weights is not None:
        weights = query_weights.to(q).expand(b, count)
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    norm = None
    alone = [(r.start, r.stop) for r in layout.references] == [(0, k.shape[2])]
    if v is not None and output is not None and mask is None and alone:
        norm, v = torch.linalg.vector_norm(output[:, :, window].float(), dim=-1), None
    out = [empty(q, r, v, weights, pairwise) for r in layout.references]
    bound = q.square().sum(-1).amax() * k.square().sum(-1).amax()
    if not bool(bound.isfinite()):
        raise RecordingError(
            "a call's queries or keys hold NaN or infinity, so its attention is undefined; run the model in a wider dtype "
            "(bfloat16 or float32)"
        )
    products, width = mask is None, q.shape[3]
    tile = min(chunk_bytes, CACHE_BYTES * torch.get_num_threads()) if products and q.device.type == "cpu" else chunk_bytes
    row_bytes = 4 * k.shape[2]
    step = min(h, max(1, tile // (count * row_bytes)))
    most = min(count, max(1, tile // (step * row_bytes)))
    rooms = q.new_empty(0), q.new_empty(0)
    if products:
        whole = count if step * (most + count) * row_bytes <= 2 * chunk_bytes else most
        logits = scratch.take("logits", step * most * k.shape[2], q.device)
        rooms = logits, scratch.take("exponentials", step * whole * k.shape[2], q.device)
        if bound > SAFE_LOGIT**2:
            q, k = shifted(q, k)
    for i in range(b):
        for first in range(0, h, step):
            heads = slice(first, min(first + step, h))
            values = None if v is None else v[i, heads]
            looks = None if weights is None else weights[i]
            views = [View(maps, i, heads) for maps in out]
            if products and by_products(q[i, heads], k[i, heads], values, looks, layout.references, views, most, rooms):
                continue
            hidden = None if mask is None else mask[i, heads]
            unshifted = q[i, heads, :, :width], k[i, heads, :, :width]
            in_logs(*unshifted, values, hidden, looks, layout.references, views, most)
    for maps in out:
        if norm is not None:
            maps.norm = norm
        if pairwise == "mean" and maps.pairwise is not None:
            maps.pairwise /= h
    return out


def _heads(t: Tensor, heads: int) -> Tensor:
    """(B, Hk, S, d) in fp32 with grouped heads repeated to ``heads``."""
    if t.shape[1] != heads:
        if heads % t.shape[1]:
            raise LayoutError(f"{heads} query heads cannot share {t.shape[1]} key heads")
        t = t.repeat_interleave(heads // t.shape[1], 1)
    return t.float()


def additive(mask: Tensor) -> Tensor:
    """A boolean mask (True = may look) as one that is added to logits, 0 or -inf; an additive one in fp32."""
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, float("-inf"))
    return mask.float()
