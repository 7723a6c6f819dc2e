"""Reduces one cross-attention call to what is kept of it, in fp32 and in chunks, never the whole N x S x heads block.

With L = Q K^T * scale (DESIGN 4): A^r is the softmax of L over all keys, A^g the softmax of L over the
generated positions. Two ways give the same numbers: one matrix E = exp(L - shift) gives every map by matrix
products (`_by_products`), and its sums tell whether fp32's range was wide enough for that; where it was not,
or with a mask, the maps are taken in the log domain (`_in_logs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import LayoutError, RecordingError
from .layout import Layout, Reference

SAFE_LOGIT = 36.0
"""With |L| below this, E needs no shift: A^r, at least exp(-2 |L|) / S, and one over its sum stay in fp32's range."""
ROOM_ABOVE = 40.0
"""Else E is shifted so that the largest of a sample of L becomes this; larger ones have about as much room again."""
LARGEST_SUM = 1e30
LOST = 1e7
"""What fp32 loses below its normal range must be this many times smaller than every sum that a map divides by."""
CHUNK_BYTES = 32 << 20
CACHE_BYTES = 4 << 20
"""For each CPU thread a tile of E has this size, so that it stays in the caches from pass to pass."""


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
        chunk_bytes: half of what the parts of the N x S' block that exist at a time may take.

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
    products, width = mask is None, q.shape[3]
    tile = min(chunk_bytes, CACHE_BYTES * torch.get_num_threads()) if products and q.device.type == "cpu" else chunk_bytes
    row_bytes = 4 * k.shape[2]
    step = min(h, max(1, tile // (count * row_bytes)))
    most = min(count, max(1, tile // (step * row_bytes)))
    scratch = q.new_empty(0), q.new_empty(0)
    if products:
        whole = count if step * (most + count) * row_bytes <= 2 * chunk_bytes else most
        scratch = q.new_empty(step * most * k.shape[2]), q.new_empty(step * whole * k.shape[2])
        if bound > SAFE_LOGIT**2:
            q, k = _shifted(q, k)
    for i in range(b):
        for first in range(0, h, step):
            heads = slice(first, min(first + step, h))
            values = None if v is None else v[i, heads]
            looks = None if weights is None else weights[i]
            views = [_View(maps, i, heads) for maps in out]
            if products and _by_products(q[i, heads], k[i, heads], values, looks, layout.references, views, most, scratch):
                continue
            hidden = None if mask is None else mask[i, heads]
            unshifted = q[i, heads, :, :width], k[i, heads, :, :width]
            _in_logs(*unshifted, values, hidden, looks, layout.references, views, most)
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
    pairs = None if unpaired else torch.empty(b, 1 if pairwise == "mean" else h, n, s, device=q.device)
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
        self._fresh = pairs is not None and (heads.start == 0 or pairs.shape[1] > 1)  # nothing was written there yet

    def add_pairwise(self, window: slice, block: Tensor, rows: Tensor | None) -> None:
        """Add (G, n, S) weights, divided by (G, n) ``rows`` where given; heads are summed where only their mean is kept."""
        if self.pairwise is None:
            return
        if self.pairwise.shape[0] == len(block) and len(block) > 1:
            self.pairwise[:, window] = block if rows is None else block * rows[..., None]
            return
        target = self.pairwise[0, window]
        for g in range(len(block)):
            if self._fresh and g == 0:
                target.copy_(block[g])
                if rows is not None:
                    target *= rows[g][:, None]
            elif rows is None:
                target += block[g]
            else:
                target.addcmul_(block[g], rows[g][:, None])


def _windows(n: int, step: int) -> Iterator[slice]:
    for first in range(0, n, step):
        yield slice(first, min(first + step, n))


def _share_out(placed: Tensor, leading: Tensor, reference: Reference, all_: Tensor, only: Tensor) -> None:
    """Sums over placed and leading tokens to the mean over all tokens and the mean over placed ones."""
    torch.div(placed + leading, reference.grid.tokens, out=all_)
    if reference.grid.placed:
        torch.div(placed, reference.grid.placed, out=only)


def _shifted(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H, N, d) and (B, H, S', d) with one more component, by which every logit of a head is `ROOM_ABOVE` minus its largest.

    The largest of a sample of the rows: a guess, which `_by_products` checks. A^r and A^g do not change with it.
    """
    sample = q[:, :, :: max(1, q.shape[2] // 64)]
    largest = (sample @ k.transpose(2, 3)).amax((2, 3), keepdim=True)
    more = (ROOM_ABOVE - largest).expand(*q.shape[:3], 1)
    return torch.cat([q, more], -1), torch.cat([k, torch.ones_like(k[..., :1])], -1)


def _by_products(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    weights: Tensor | None,
    references: tuple[Reference, ...],
    out: list[_View],
    chunk: int,
    scratch: tuple[Tensor, Tensor],
) -> bool:
    """All maps of some heads, (G, N, d) and (G, S', d), from E = exp(L) by sums and products; False where fp32 is too narrow.

    ``scratch`` holds L of one window, G * min(N, chunk) * S' numbers, and E: of all windows where it has G * N * S'
    numbers, else of one, and E is computed twice.
    """
    (g, n, _), keys = q.shape, k.shape[1]
    key_t = k.transpose(1, 2)
    stays = scratch[1].numel() >= g * n * keys

    def room(window: slice) -> Tensor:
        first = g * window.start * keys if stays else 0
        rows = window.stop - window.start
        return scratch[1][first : first + g * rows * keys].view(g, rows, keys)

    def exponentials(window: slice) -> tuple[Tensor, Tensor]:
        block = room(window)
        logits = scratch[0][: block.numel()].view_as(block)
        torch.bmm(q[:, window], key_t, out=logits)
        return logits, torch.exp(logits, out=block)

    windows = list(_windows(n, chunk))
    inverse_rows = torch.empty(g, n, device=q.device)
    sums = [torch.zeros(g, 2 if weights is None else 3, r.grid.tokens, device=q.device) for r in references]
    values = [_values(k, v, r) for r in references]
    alone = sum(r.grid.tokens for r in references) == keys
    least = torch.full((), float("inf"), device=q.device)
    for window in windows:
        logits, block = exponentials(window)
        parts = [block[:, :, r.start : r.stop] for r in references]
        products = [torch.bmm(part, right) for part, right in zip(parts, values, strict=True)]
        leading = [part[:, :, : r.grid.leading].sum(-1) for part, r in zip(parts, references, strict=True)]
        mine = [product[..., -1] + lead for product, lead in zip(products, leading, strict=True)]
        inverse = (torch.stack(mine).sum(0) if alone else block.sum(-1)).reciprocal_()
        inverse_rows[:, window] = inverse
        left = [torch.ones_like(inverse), inverse]
        if weights is not None:
            left.append(inverse * weights[window])
        factors = torch.stack(left, 1)
        for i, (reference, view) in enumerate(zip(references, out, strict=True)):
            sums[i] += torch.bmm(factors, parts[i])
            raw = logits[:, :, reference.start : reference.stop]
            _rows_by_products(raw, parts[i], products[i], leading[i], inverse, reference.grid.leading, view, window)
            if reference.grid.placed:
                least = torch.minimum(least, products[i][..., -1].amin())
    if not _wide_enough(inverse_rows, least, sums, keys):
        return False
    columns = []
    for view, total in zip(out, sums, strict=True):
        view.g2r.copy_(total[:, 1] / n)
        if view.g2r_masked is not None:
            view.g2r_masked.copy_(total[:, 2])
        columns.append(total[:, :2].reciprocal_().unsqueeze(-1).unbind(1))
    for window in windows:
        block = room(window) if stays else exponentials(window)[1]
        rows = inverse_rows[:, window]
        for reference, view, (in_g, in_r) in zip(references, out, columns, strict=True):
            part = block[:, :, reference.start : reference.stop]
            view.add_pairwise(window, part, rows)
            placed, led = _weighed(part, in_g, reference.grid.leading)
            _share_out(placed, led, reference, view.r2g[:, window], view.r2g_placed[:, window])
            placed, led = _weighed(part, in_r, reference.grid.leading)
            _share_out(placed * rows, led * rows, reference, view.balanced[:, window], view.balanced_placed[:, window])
    return True


def _wide_enough(inverse_rows: Tensor, least_placed: Tensor, sums: list[Tensor], keys: int) -> bool:
    """Whether all sums of E are inside fp32's range, so far above its end that what was lost below it does not count."""
    lost = LOST * torch.finfo(torch.float32).tiny * max(keys, inverse_rows.shape[1])
    least_row = 1 / inverse_rows.amax()
    fine = (inverse_rows.amin() >= 1 / LARGEST_SUM) & (least_row >= lost) & (least_placed >= lost)
    for total in sums:
        fine = fine & (total[:, 0].amin() >= lost) & (total[:, 1].amin() * least_row >= lost)
    return bool(fine)


def _weighed(part: Tensor, column: Tensor, lead: int) -> tuple[Tensor, Tensor]:
    """Sums of (G, n, S) ``part`` times (G, S, 1) ``column`` over placed and over leading tokens, (G, n) each."""
    placed = torch.bmm(part[:, :, lead:], column[:, lead:])[..., 0]
    return placed, torch.bmm(part[:, :, :lead], column[:, :lead])[..., 0] if lead else torch.zeros_like(placed)


def _values(k: Tensor, v: Tensor | None, reference: Reference) -> Tensor:
    """What a reference's tokens bring to the head's output, (G, S, dv), and a last column that adds up its placed tokens."""
    placed = torch.ones(len(k), reference.grid.tokens, 1, device=k.device)
    placed[:, : reference.grid.leading] = 0
    return placed if v is None else torch.cat([v[:, reference.start : reference.stop], placed], -1)


def _rows_by_products(
    logits: Tensor,
    part: Tensor,
    product: Tensor,
    leading: Tensor,
    inverse: Tensor,
    lead: int,
    view: _View,
    window: slice,
) -> None:
    """The maps per query, from (G, n, S) ``part`` = exp(``logits``) and its ``product`` with `_values`; uses up the logits."""
    placed = product[..., -1]
    view.mass_placed[:, window] = placed * inverse
    view.mass[:, window] = (placed + leading) * inverse
    if view.norm is not None:
        view.norm[:, window] = torch.linalg.vector_norm(product[..., :-1], dim=-1) * inverse
    if part.shape[-1] == lead:
        return
    at_places = part[:, :, lead:]
    weighed = logits[:, :, lead:].mul_(at_places)
    view.entropy[:, window] = (placed.log() - weighed.sum(-1) / placed).clamp_min_(0)
    value, index = _peak(at_places, weighed)
    view.peak_value[:, window] = value * inverse
    view.peak_index[:, window] = index.int()


def _peak(a: Tensor, scratch: Tensor) -> tuple[Tensor, Tensor]:
    """Largest of each row of (G, n, S), and a place where it is, with ``scratch`` of the same shape.

    `Tensor.max` also says where, but its CPU kernel takes longer than either way here: long rows are folded up so that
    one pass finds the column of the largest, short ones are compared with it.
    """
    tokens = a.shape[-1]
    height = next((x for x in range(64, 15, -1) if tokens % (32 * x) == 0), 0)
    if not height:
        value = a.amax(-1, keepdim=True)
        countdown = torch.arange(tokens, 0, -1, device=a.device, dtype=a.dtype)
        return value[..., 0], tokens - torch.eq(a, value, out=scratch).mul_(countdown).amax(-1)
    folded = a.unflatten(-1, (height, -1))
    value, column = folded.amax(-2).max(-1)
    rows = folded.flatten(0, 1)
    inside = rows[torch.arange(len(rows), device=a.device), :, column.flatten()].argmax(-1)
    return value, inside.view_as(column) * folded.shape[-1] + column


def _in_logs(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    mask: Tensor | None,
    weights: Tensor | None,
    references: tuple[Reference, ...],
    out: list[_View],
    chunk: int,
) -> None:
    """All maps of some heads in the log domain: any logits, any mask; a row or column that may look nowhere gives 0."""
    g, n, _ = q.shape
    key_t = k.transpose(1, 2)
    windows = list(_windows(n, chunk))
    rows = torch.empty(g, n, device=q.device)
    over_g = [torch.full((g, r.grid.tokens), float("-inf"), device=q.device) for r in references]
    over_r = [t.clone() for t in over_g]

    for view in out:
        view.g2r.zero_()
        if view.g2r_masked is not None:
            view.g2r_masked.zero_()

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
            _rows_in_logs(a, part, v, reference, view, window)
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


def _rows_in_logs(a: Tensor, part: Tensor, v: Tensor | None, reference: Reference, view: _View, window: slice) -> None:
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
