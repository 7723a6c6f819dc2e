"""Reduces one cross-attention call to what is kept of it, in fp32 and in chunks, never the whole N x S x heads block.

With L = Q K^T * scale (DESIGN 4): A^r is the softmax of L over all keys, A^g the softmax of L over the
generated positions. Two ways give the same numbers: where |L| is bounded well inside fp32's range, one
matrix E = exp(L) gives every map by matrix products (`_bounded`); otherwise, or with a mask, the maps are
taken in the log domain (`_general`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import LayoutError, RecordingError
from .layout import Layout, Reference

SAFE_LOGIT = 36.0
"""With |L| below this, A^r = E / sum of E, at least exp(-2 |L|) / S, and one over its sum stay in fp32's normal range."""
CHUNK_BYTES = 32 << 20
CACHE_BYTES = 4 << 20
"""On a CPU a tile of heads of the bounded way has about this size, so that it stays in the caches from pass to pass."""


@dataclass
class CallMaps:
    """What one call leaves for one reference; N generated tokens, S = leading + placed reference tokens.

    Attributes:
        r2g: (B, H, N) mean over the reference's tokens of A^g.
        r2g_placed: (B, H, N) the same over placed tokens only.
        balanced: (B, H, N) mean over j of A^r(q, j) / sum over q' of A^r(q', j).
        balanced_placed: (B, H, N) the same over placed tokens only.
        mass: (B, H, N) sum of A^r over the reference's tokens.
        mass_placed: (B, H, N) the same over placed tokens only.
        entropy: (B, H, N) of A^r over the placed tokens, renormalised, in nats.
        norm: (B, H, N) length of what the reference adds to the head's output; None without v.
        peak_value: (B, H, N) largest A^r on a placed token.
        peak_index: (B, H, N) int32, which placed token that is.
        g2r: (B, H, S) mean over generated tokens of A^r.
        g2r_masked: (B, H, S) the same weighted by ``query_weights`` (eq. 17); None without.
        pairwise: (B, 1, N, S) head mean of A^r, or (B, H, N, S); None unless asked for.
    """

    r2g: Tensor
    r2g_placed: Tensor
    balanced: Tensor
    balanced_placed: Tensor
    mass: Tensor
    mass_placed: Tensor
    entropy: Tensor
    norm: Tensor | None
    peak_value: Tensor
    peak_index: Tensor
    g2r: Tensor
    g2r_masked: Tensor | None
    pairwise: Tensor | None


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
    chunk_bytes: int = CHUNK_BYTES,
) -> list[CallMaps]:
    """Reduce one call to its maps, one `CallMaps` per reference of ``layout``.

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
        chunk_bytes: upper bound on one chunk of the N x S' block, of which two exist at a time.

    Raises:
        LayoutError: keys or queries do not match the layout.
        RecordingError: q or k holds NaN or infinity.
    """
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
        mask = _additive(mask).expand(b, h, total, k.shape[2])[:, :, window]
    weights = None
    if query_weights is not None:
        weights = query_weights.to(q).expand(b, count)
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    out = [_empty(q, r, v, weights, pairwise) for r in layout.references]
    bound = q.square().sum(-1).amax() * k.square().sum(-1).amax()
    if not bool(bound.isfinite()):
        raise RecordingError(
            "a call's queries or keys hold NaN or infinity, so its attention is undefined; run the model in a wider dtype "
            "(bfloat16 or float32)"
        )
    bounded = mask is None and bool(bound <= SAFE_LOGIT**2)
    reduce_heads = _bounded if bounded else _general
    room = min(chunk_bytes, CACHE_BYTES) if bounded and q.device.type == "cpu" else chunk_bytes
    step = min(h, max(1, room // (4 * count * k.shape[2])))
    most = max(1, chunk_bytes // (4 * step * k.shape[2]))
    size = step * min(most, count) * k.shape[2] if bounded else 0
    scratch = q.new_empty(size), q.new_empty(size)
    for i in range(b):
        for first in range(0, h, step):
            heads = slice(first, min(first + step, h))
            reduce_heads(
                q[i, heads],
                k[i, heads],
                None if v is None else v[i, heads],
                None if mask is None else mask[i, heads],
                None if weights is None else weights[i],
                layout.references,
                [_View(maps, i, heads) for maps in out],
                most,
                scratch,
            )
    for maps in out:
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


def _additive(mask: Tensor) -> Tensor:
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, float("-inf"))
    return mask.float()


def _empty(q: Tensor, reference: Reference, v: Tensor | None, weights: Tensor | None, pairwise: str | None) -> CallMaps:
    b, h, n, _ = q.shape
    s = reference.grid.tokens

    def rows() -> Tensor:
        return torch.zeros(b, h, n, device=q.device)

    columns = torch.zeros(b, h, s, device=q.device)
    unpaired = pairwise is None or not reference.grid.placed
    pairs = None if unpaired else torch.zeros(b, 1 if pairwise == "mean" else h, n, s, device=q.device)
    return CallMaps(
        r2g=rows(),
        r2g_placed=rows(),
        balanced=rows(),
        balanced_placed=rows(),
        mass=rows(),
        mass_placed=rows(),
        entropy=rows(),
        norm=None if v is None else rows(),
        peak_value=rows(),
        peak_index=torch.zeros(b, h, n, dtype=torch.int32, device=q.device),
        g2r=columns,
        g2r_masked=None if weights is None else columns.clone(),
        pairwise=pairs,
    )


class _View:
    """The part of a `CallMaps` that belongs to one image and some heads; writing to it writes to the whole."""

    def __init__(self, maps: CallMaps, image: int, heads: slice) -> None:
        self.r2g, self.r2g_placed = maps.r2g[image, heads], maps.r2g_placed[image, heads]
        self.balanced, self.balanced_placed = maps.balanced[image, heads], maps.balanced_placed[image, heads]
        self.mass, self.mass_placed = maps.mass[image, heads], maps.mass_placed[image, heads]
        self.entropy = maps.entropy[image, heads]
        self.norm = None if maps.norm is None else maps.norm[image, heads]
        self.peak_value, self.peak_index = maps.peak_value[image, heads], maps.peak_index[image, heads]
        self.g2r = maps.g2r[image, heads]
        self.g2r_masked = None if maps.g2r_masked is None else maps.g2r_masked[image, heads]
        pairs = maps.pairwise
        self.pairwise = None if pairs is None else pairs[image] if pairs.shape[1] == 1 else pairs[image, heads]

    def add_pairwise(self, window: slice, block: Tensor, rows: Tensor | None) -> None:
        """Add (G, n, S) weights, divided by (G, n) ``rows`` where given; heads are summed where only their mean is kept."""
        if self.pairwise is None:
            return
        if self.pairwise.shape[0] == len(block) and len(block) > 1:
            self.pairwise[:, window] = block if rows is None else block * rows[..., None]
            return
        target = self.pairwise[0, window]
        for g in range(len(block)):
            if rows is None:
                target += block[g]
            else:
                target.addcmul_(block[g], rows[g][:, None])


def _windows(n: int, step: int) -> Iterator[slice]:
    for first in range(0, n, step):
        yield slice(first, min(first + step, n))


def _placed_and_leading(column: Tensor, leading: int) -> Tensor:
    """(G, S) column factors to (G, S, 2): for placed tokens, and for leading ones."""
    both = torch.zeros(*column.shape, 2, device=column.device)
    both[:, leading:, 0] = column[:, leading:]
    both[:, :leading, 1] = column[:, :leading]
    return both


def _share_out(placed: Tensor, leading: Tensor, reference: Reference, all_: Tensor, only: Tensor) -> None:
    """Sums over placed and leading tokens to the mean over all tokens and the mean over placed ones."""
    torch.div(placed + leading, reference.grid.tokens, out=all_)
    if reference.grid.placed:
        torch.div(placed, reference.grid.placed, out=only)


def _bounded(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    _mask: Tensor | None,
    weights: Tensor | None,
    references: tuple[Reference, ...],
    out: list[_View],
    chunk: int,
    scratch: tuple[Tensor, Tensor],
) -> None:
    """All maps of some heads, (G, N, d) and (G, S', d), from E = exp(L) by sums and products; needs |L| <= SAFE_LOGIT.

    ``scratch``, two of at least G * min(N, chunk) * S' numbers, holds L and E of a window: memory that stays is warm.
    """
    (g, n, _), keys = q.shape, k.shape[1]
    key_t = k.transpose(1, 2)

    def exponentials(window: slice) -> tuple[Tensor, Tensor]:
        size = g * (window.stop - window.start) * keys
        logits, block = (room[:size].view(g, -1, keys) for room in scratch)
        torch.bmm(q[:, window], key_t, out=logits)
        return logits, torch.exp(logits, out=block)

    windows = list(_windows(n, chunk))
    ones = torch.ones(g, keys, 1, device=q.device)
    inverse_rows = torch.empty(g, n, device=q.device)
    sums = [torch.zeros(g, 2 if weights is None else 3, r.grid.tokens, device=q.device) for r in references]
    block = torch.empty(0)
    for window in windows:
        logits, block = exponentials(window)
        inverse = torch.bmm(block, ones)[..., 0].reciprocal_()
        inverse_rows[:, window] = inverse
        left = [torch.ones_like(inverse), inverse]
        if weights is not None:
            left.append(inverse * weights[window])
        factors = torch.stack(left, 1)
        for reference, view, total in zip(references, out, sums, strict=True):
            mine = slice(reference.start, reference.stop)
            part = block[:, :, mine]
            total += torch.bmm(factors, part)
            _rows_bounded(logits[:, :, mine], v, part, inverse, reference, view, window)
            view.add_pairwise(window, part, inverse)
    columns = []
    for reference, view, total in zip(references, out, sums, strict=True):
        view.g2r.copy_(total[:, 1] / n)
        if view.g2r_masked is not None:
            view.g2r_masked.copy_(total[:, 2])
        columns.append(torch.cat([_placed_and_leading(1 / total[:, i], reference.grid.leading) for i in (0, 1)], -1))
    for window in windows:
        if len(windows) > 1:
            _, block = exponentials(window)
        for reference, view, column in zip(references, out, columns, strict=True):
            got = torch.bmm(block[:, :, reference.start : reference.stop], column)  # (G, n, 4)
            got[..., 2:] *= inverse_rows[:, window, None]
            _share_out(got[..., 0], got[..., 1], reference, view.r2g[:, window], view.r2g_placed[:, window])
            _share_out(got[..., 2], got[..., 3], reference, view.balanced[:, window], view.balanced_placed[:, window])


def _rows_bounded(
    logits: Tensor, v: Tensor | None, part: Tensor, inverse: Tensor, reference: Reference, view: _View, window: slice
) -> None:
    """The maps per query, from (G, n, S) ``part`` = exp(``logits``); what the logits hold is used up."""
    lead = reference.grid.leading
    at_places, scratch = part[:, :, lead:], logits[:, :, lead:]
    placed = at_places.sum(-1)
    view.mass_placed[:, window] = placed * inverse
    view.mass[:, window] = (placed + part[:, :, :lead].sum(-1)) * inverse
    if v is not None and view.norm is not None:
        output = torch.bmm(part, v[:, reference.start : reference.stop])
        view.norm[:, window] = torch.linalg.vector_norm(output, dim=-1) * inverse
    if not reference.grid.placed:
        return
    view.entropy[:, window] = (placed.log() - scratch.mul_(at_places).sum(-1) / placed).clamp_min_(0)
    value = at_places.amax(-1, keepdim=True)
    view.peak_value[:, window] = value[..., 0] * inverse
    # `max` also says where, but its CPU kernel takes longer than these three passes
    tokens = reference.grid.placed
    countdown = torch.arange(tokens, 0, -1, device=part.device, dtype=part.dtype)
    found = torch.eq(at_places, value, out=scratch).mul_(countdown).amax(-1)
    view.peak_index[:, window] = (tokens - found).int()


def _general(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    mask: Tensor | None,
    weights: Tensor | None,
    references: tuple[Reference, ...],
    out: list[_View],
    chunk: int,
    _scratch: tuple[Tensor, Tensor],
) -> None:
    """All maps of some heads in the log domain: any logits, any mask; a row or column that may look nowhere gives 0."""
    g, n, _ = q.shape
    key_t = k.transpose(1, 2)
    windows = list(_windows(n, chunk))
    rows = torch.empty(g, n, device=q.device)
    over_g = [torch.full((g, r.grid.tokens), float("-inf"), device=q.device) for r in references]
    over_r = [t.clone() for t in over_g]

    def logits(window: slice) -> Tensor:
        block = torch.bmm(q[:, window], key_t)
        return block if mask is None else block + mask[:, window]

    for window in windows:
        block = logits(window)
        rows[:, window] = block.logsumexp(-1)
        for i, (reference, view) in enumerate(zip(references, out, strict=True)):
            part = block[:, :, reference.start : reference.stop]
            log_a = _finite(part - rows[:, window, None])
            over_g[i] = torch.logaddexp(over_g[i], part.logsumexp(1))
            over_r[i] = torch.logaddexp(over_r[i], log_a.logsumexp(1))
            a = log_a.exp()
            view.g2r.add_(a.sum(1) / n)
            if weights is not None and view.g2r_masked is not None:
                view.g2r_masked.add_((a * weights[window][None, :, None]).sum(1))
            _rows_general(a, part, v, reference, view, window)
            view.add_pairwise(window, a, None)
    for window in windows:
        block = logits(window)
        for i, (reference, view) in enumerate(zip(references, out, strict=True)):
            part = block[:, :, reference.start : reference.stop]
            lead = reference.grid.leading
            in_g = _finite(part - over_g[i][:, None]).exp()
            in_r = _finite(_finite(part - rows[:, window, None]) - over_r[i][:, None]).exp()
            _share_out(
                in_g[..., lead:].sum(-1), in_g[..., :lead].sum(-1), reference, view.r2g[:, window], view.r2g_placed[:, window]
            )
            _share_out(
                in_r[..., lead:].sum(-1),
                in_r[..., :lead].sum(-1),
                reference,
                view.balanced[:, window],
                view.balanced_placed[:, window],
            )


def _finite(log: Tensor) -> Tensor:
    """-inf minus -inf, a row or column that may look nowhere, becomes -inf."""
    return log.nan_to_num_(nan=float("-inf"), posinf=float("-inf"), neginf=float("-inf"))


def _rows_general(a: Tensor, part: Tensor, v: Tensor | None, reference: Reference, view: _View, window: slice) -> None:
    lead = reference.grid.leading
    view.mass[:, window] = a.sum(-1)
    view.mass_placed[:, window] = a[..., lead:].sum(-1)
    if v is not None and view.norm is not None:
        view.norm[:, window] = torch.linalg.vector_norm(torch.bmm(a, v[:, reference.start : reference.stop]), dim=-1)
    if not reference.grid.placed:
        return
    log_p = _finite(part[..., lead:] - part[..., lead:].logsumexp(-1, keepdim=True))
    p = log_p.exp()
    view.entropy[:, window] = -(p * log_p.clamp_min(-1e30)).sum(-1)
    value, index = a[:, :, lead:].max(-1)
    view.peak_value[:, window] = value
    view.peak_index[:, window] = index.int()
