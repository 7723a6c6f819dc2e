"""All maps of an attention call from E = exp(L - shift), by sums and matrix products, where fp32's range is wide enough."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from ..geometry.layout import Reference
from .call_maps import View, windows_of, write_means

SAFE_LOGIT = 36.0
"""With |L| below this, E needs no shift: A^r, at least exp(-2 |L|) / S, and one over its sum stay in fp32's range."""
ROOM_ABOVE = 40.0
"""Else E is shifted so that the largest of a sample of L becomes this; larger ones have about as much room again."""
LARGEST_SUM = 1e30
LEAST_SUM = 1e-36
"""What a map divides by must be above this, so that its inverse is a number."""
LOST = 1e7
"""What fp32 loses below its normal range must be this many times smaller than every sum that maps are divided by."""


def shifted(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H, N, d) and (B, H, S', d) with one more component, by which every logit of a head is `ROOM_ABOVE` minus its largest.

    The largest of a sample of the rows: a guess, which `by_products` checks. A^r and A^g do not change with it.
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
    numbers, else of one, and E is computed twice. Several heads are taken at once only if one window holds all their queries.
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
    factors = torch.ones(g, 2 if weights is None else 3, n, device=q.device)
    inverse = factors[:, 1]
    sums = [torch.zeros(g, factors.shape[1], r.grid.tokens, device=q.device) for r in references]
    values = [_values(k, v, r) for r in references]
    alone = sum(r.grid.tokens for r in references) == keys
    for window in windows:
        logits, block = exponentials(window)
        parts = [block[:, :, r.start : r.stop] for r in references]
        brought = [
            _sum_rows(part, right, reference.grid.leading, view, window)
            for reference, part, right, view in zip(references, parts, values, out, strict=True)
        ]
        total = reduce(torch.add, [view.mass[:, window] for view in out]) if alone else block.sum(-1)
        torch.reciprocal(total, out=inverse[:, window])
        for added, view in zip(brought, out, strict=True):
            if view.norm is not None:  # divided first: the square of a sum of E need not be inside fp32's range
                torch.linalg.vector_norm(added.mul_(inverse[:, window, None]), dim=-1, out=view.norm[:, window])
        if weights is not None:
            torch.mul(inverse[:, window], weights[window], out=factors[:, 2, window])
        for reference, part, columns, view in zip(references, parts, sums, out, strict=True):
            columns.baddbmm_(factors[:, :, window], part)
            if reference.grid.placed:
                raw = logits[:, :, reference.start : reference.stop]
                _look_at_places(raw[:, :, reference.grid.leading :], part[:, :, reference.grid.leading :], view, window)
    norms = [view.norm.amax() for view in out if view.norm is not None]
    least = [view.mass_placed.amin() for reference, view in zip(references, out, strict=True) if reference.grid.placed]
    if not _wide_enough(inverse, least, sums, norms, keys):
        return False
    over = []
    for reference, view, columns in zip(references, out, sums, strict=True):
        _divide_rows(view, inverse, reference.grid.placed > 0)
        torch.div(columns[:, 1], n, out=view.g2r)
        if view.g2r_masked is not None:
            view.g2r_masked.copy_(columns[:, 2])
        over.append(columns[:, :2].reciprocal_().unsqueeze(-1).unbind(1))
    for window in [slice(0, n)] if stays else windows:
        block = room(window) if stays else exponentials(window)[1]
        for reference, view, (in_g, in_r) in zip(references, out, over, strict=True):
            part = block[:, :, reference.start : reference.stop]
            view.add_pairwise(window, part, inverse[:, window])
            placed, led = _weighed(part, in_g, reference.grid.leading)
            write_means(placed, led, reference, view.r2g[:, window], view.r2g_placed[:, window])
            placed, led = _weighed(part, in_r, reference.grid.leading)
            rows = inverse[:, window]
            write_means(placed * rows, led * rows, reference, view.balanced[:, window], view.balanced_placed[:, window])
    return True


def _wide_enough(inverse: Tensor, least_placed: list[Tensor], sums: list[Tensor], norms: list[Tensor], keys: int) -> bool:
    """Whether all sums of E are inside fp32's range, so far above its end that what was lost below it does not count."""
    lost = LOST * torch.finfo(torch.float32).tiny * max(keys, inverse.shape[1])
    least_row = 1 / inverse.amax()
    fine = (inverse.amin() >= 1 / LARGEST_SUM) & (least_row >= lost)
    for largest in norms:
        fine = fine & largest.isfinite()
    for least in least_placed:
        fine = fine & (least >= lost)
    for total in sums:
        looks = total[:, 1].amin()
        fine = fine & (total[:, 0].amin() >= lost) & (looks * least_row >= lost) & (looks >= LEAST_SUM)
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


def _sum_rows(part: Tensor, values: Tensor, lead: int, view: View, window: slice) -> Tensor:
    """Sums per query of (G, n, S) ``part`` of E: into `mass_placed` and `mass`, for `_divide_rows` to divide.

    Returns the sum of what the tokens bring, (G, n, dv), which is for the caller to divide.
    """
    product = torch.bmm(part, values)
    placed = product[..., -1]
    view.mass_placed[:, window] = placed
    view.mass[:, window] = placed + part[:, :, :lead].sum(-1) if lead else placed
    return product[..., :-1]


def _look_at_places(logits: Tensor, part: Tensor, view: View, window: slice) -> None:
    """Sum of E * L and largest E per query, over placed tokens: into `entropy` and the peak; overwrites the logits."""
    weighed = logits.mul_(part)
    torch.sum(weighed, -1, out=view.entropy[:, window])
    view.peak_value[:, window], index = _peak(part, weighed)
    view.peak_index[:, window] = index


def _divide_rows(view: View, inverse: Tensor, placed: bool) -> None:
    """From sums of E to the maps per query, in place."""
    if placed:
        entropy = view.mass_placed.log() - view.entropy / view.mass_placed
        view.entropy.copy_(entropy.clamp_min_(0))
    for sums in (view.mass, view.mass_placed, view.peak_value):
        sums.mul_(inverse)


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
