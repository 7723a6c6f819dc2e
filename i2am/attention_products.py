"""All maps of an attention call from E = exp(L - shift), by sums and matrix products, where fp32's range is wide enough."""

from __future__ import annotations

import torch
from torch import Tensor

from .call_maps import View, share_out, windows_of
from .layout import Reference

SAFE_LOGIT = 36.0
"""With |L| below this, E needs no shift: A^r, at least exp(-2 |L|) / S, and one over its sum stay in fp32's range."""
ROOM_ABOVE = 40.0
"""Else E is shifted so that the largest of a sample of L becomes this; larger ones have about as much room again."""
LARGEST_SUM = 1e30
LOST = 1e7
"""What fp32 loses below its normal range must be this many times smaller than every sum that a map divides by."""


def shifted(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H, N, d) and (B, H, S', d) with one more component, by which every logit of a head is `ROOM_ABOVE` minus its largest.

    The largest of a sample of the rows: a guess, which `_by_products` checks. A^r and A^g do not change with it.
    """
    sample = q[:, :, :: max(1, q.shape[2] // 64)]
    largest = (sample @ k.transpose(2, 3)).amax((2, 3), keepdim=True)
    more = (ROOM_ABOVE - largest).expand(*q.shape[:3], 1)
    return torch.cat([q, more], -1), torch.cat([k, torch.ones_like(k[..., :1])], -1)


def by_products(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    weights: Tensor | None,
    references: tuple[Reference, ...],
    out: list[View],
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

    windows = list(windows_of(n, chunk))
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
            share_out(placed, led, reference, view.r2g[:, window], view.r2g_placed[:, window])
            placed, led = _weighed(part, in_r, reference.grid.leading)
            share_out(placed * rows, led * rows, reference, view.balanced[:, window], view.balanced_placed[:, window])
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
    view: View,
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
