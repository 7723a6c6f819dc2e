"""Reduces one cross-attention call to what is kept of it, in fp32 and in chunks, never the whole N x S x heads block.

With L = Q K^T * scale (DESIGN 4): A^r is the softmax of L over all keys, A^g the softmax of L over the
generated positions. Two ways give the same numbers: one matrix E = exp(L - shift) gives every map by matrix
products (`by_products`), and its sums tell whether fp32's range was wide enough for that; where it was not,
or with a mask, the maps are taken in the log domain (`in_logs`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import LayoutError, RecordingError
from ..geometry.layout import Layout, Reference
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
        RecordingError: q, k, v or the mask holds NaN, or infinity (a mask may hold -inf).
    """
    with torch.autocast(q.device.type, enabled=False):
        if pairwise not in (None, "mean", "heads"):
            raise ValueError(f"pairwise is None, 'mean' or 'heads', got {pairwise!r}")
        call = _prepared(q, k, v, layout, scale, queries, mask)
        weights = None if query_weights is None else _shares(query_weights, call.q)
        norm = None if output is None else _norm_of(output, call, layout)
        if norm is not None:
            call = replace(call, v=None)
        out = [empty(call.q, r, call.v, weights, pairwise) for r in layout.references]
        _reduce(call, weights, layout.references, out, scratch or Scratch(), chunk_bytes)
        for maps in out:
            if norm is not None:
                maps.norm = norm
            if pairwise == "mean" and maps.pairwise is not None:
                maps.pairwise /= call.q.shape[1]
        return out


@dataclass(frozen=True)
class _Call:
    """A call's generated rows in fp32: q (B, H, N, d) with the scale in it, k and v (B, H, S', d), the mask additive."""

    q: Tensor
    k: Tensor
    v: Tensor | None
    mask: Tensor | None
    rows: slice

    def part(self, image: int, heads: slice) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """q, k, v and the mask of some heads of one image."""
        v, mask = (None if t is None else t[image, heads] for t in (self.v, self.mask))
        return self.q[image, heads], self.k[image, heads], v, mask


def _prepared(
    q: Tensor, k: Tensor, v: Tensor | None, layout: Layout, scale: float, queries: int | None, mask: Tensor | None
) -> _Call:
    layout.check("call", k.shape[2])
    b, h, total, _ = q.shape
    count = total - layout.query_start if queries is None else queries
    if count < 1 or layout.query_start + count > total:
        raise LayoutError(f"the layout puts {count} generated tokens after query {layout.query_start}, the call has {total}")
    rows = slice(layout.query_start, layout.query_start + count)
    if mask is not None:
        mask = additive(mask).expand(b, h, total, k.shape[2])[:, :, rows]
    return _Call(q[:, :, rows].float() * scale, _heads(k, h), None if v is None else _heads(v, h), mask, rows)


def _shares(weights: Tensor, q: Tensor) -> Tensor:
    """Weights of the generated tokens, (N,) or (B, N), as shares of 1 for each image, (B, N)."""
    weights = weights.to(q).expand(q.shape[0], q.shape[2])
    return weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def _norm_of(output: Tensor, call: _Call, layout: Layout) -> Tensor | None:
    """The length of the output, (B, H, N), if it comes from a single reference alone; else None."""
    alone = [(r.start, r.stop) for r in layout.references] == [(0, call.k.shape[2])]
    if call.v is None or call.mask is not None or not alone:
        return None
    return torch.linalg.vector_norm(output[:, :, call.rows].float(), dim=-1)


def _reduce(
    call: _Call,
    weights: Tensor | None,
    references: tuple[Reference, ...],
    out: list[CallMaps],
    scratch: Scratch,
    chunk_bytes: int,
) -> None:
    """Fill ``out``, as many heads at a time as a chunk holds, and as many queries of these."""
    b, h, count, _ = call.q.shape
    keys = call.k.shape[2]
    bound = largest_logit(call.q, call.k, call.v, call.mask)
    products = call.mask is None
    cached = products and call.q.device.type == "cpu"
    tile = min(chunk_bytes, CACHE_BYTES * torch.get_num_threads()) if cached else chunk_bytes
    row_bytes = (4 if products else 8) * keys
    step = min(h, max(1, tile // (count * row_bytes)))
    most = min(count, max(1, tile // (step * row_bytes)))
    ahead, rooms = call, (call.q.new_empty(0), call.q.new_empty(0))
    if products:
        whole = count if step * (most + count) * row_bytes <= 2 * chunk_bytes else most
        logits = scratch.take("logits", step * most * keys, call.q.device)
        rooms = logits, scratch.take("exponentials", step * whole * keys, call.q.device)
        if bound > SAFE_LOGIT:
            q, k = shifted(call.q, call.k)
            ahead = replace(call, q=q, k=k)
    for i in range(b):
        looks = None if weights is None else weights[i]
        for first in range(0, h, step):
            heads = slice(first, min(first + step, h))
            views = [View(maps, i, heads) for maps in out]
            q, k, v, _ = ahead.part(i, heads)
            if products and by_products(q, k, v, looks, references, views, most, rooms):
                continue
            in_logs(*call.part(i, heads), looks, references, views, most)


def largest_logit(queries: Tensor, keys: Tensor, values: Tensor | None = None, mask: Tensor | None = None) -> float:
    """A bound of |q k^T| over queries and keys of any shape (..., d), without the mask.

    Raises:
        RecordingError: q, k, v or the mask holds NaN or infinity, so that the attention is undefined.
    """
    q, k = (float(t.float().square().sum(-1).amax()) for t in (queries, keys))
    if not 0 < q * k < float("inf"):  # a square may leave fp32's range where the product of both does not
        q, k = (float(t.double().square().sum(-1).amax()) for t in (queries.cpu(), keys.cpu()))
    seen = {"queries or keys": q * k}
    if values is not None:
        seen["values"] = float(values.abs().amax())
    if mask is not None:
        seen["mask"] = float(mask.amax())  # -inf hides
    for name, largest in seen.items():
        if not largest < float("inf"):
            remedy = "run the model in a wider dtype (bfloat16 or float32)"
            if name == "mask":
                remedy = "look at the node that made it (Apply Style Model makes such a one of attn_bias with a strength of 0)"
            raise RecordingError(f"a call's {name} hold NaN or infinity, so its attention is undefined; {remedy}")
    return math.sqrt(q * k)


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
