"""All maps of some heads from one matrix E = exp(L): where no logit leaves fp32's range, matrix products are enough.

A window of queries is small enough to stay in the processor's cache for all that is done with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .layout import Reference

if TYPE_CHECKING:
    from .attention import View

SAFE_LOGIT = 35.0
"""With |L| up to this, exp(L), its sums and their quotients stay inside fp32's normal range for a million keys."""
CACHE_BYTES = 512 << 10
"""What one window of the N x S' block takes, so that it and a copy of it fit a core's second-level cache."""
LEAST_ROWS = 64


def window_rows(count: int, keys: int, device: torch.device, chunk_bytes: int) -> int:
    """How many queries are worked on at once."""
    most = chunk_bytes // (4 * keys)
    if device.type == "cpu":
        most = min(most, max(LEAST_ROWS, CACHE_BYTES * torch.get_num_threads() // (4 * keys)))
    return min(max(1, most), count)


def windows(n: int, step: int) -> Iterator[slice]:
    """Slices of ``step`` that cover ``n``."""
    for first in range(0, n, step):
        yield slice(first, min(first + step, n))


def centres(q: Tensor, k: Tensor, chunk_bytes: int) -> list[list[float | None]]:
    """By image and head, what to subtract from all logits to bring them within `SAFE_LOGIT`; None: nothing does.

    A constant taken from all of a head's logits changes no softmax. Mostly the lengths of queries and keys
    alone show that there is nothing to subtract; only else are the logits themselves looked at.
    """
    bound = q.square().sum(-1).amax(-1) * k.square().sum(-1).amax(-1)
    if bool((bound <= SAFE_LOGIT**2).all()):
        return [[0.0] * q.shape[1]] * len(q)
    step = window_rows(q.shape[2], k.shape[2], q.device, chunk_bytes)
    low, high = torch.full_like(bound, torch.inf), torch.full_like(bound, -torch.inf)
    for i in range(q.shape[0]):
        for h in range(q.shape[1]):
            for window in windows(q.shape[2], step):
                part_low, part_high = torch.aminmax(q[i, h, window] @ k[i, h].T)
                low[i, h] = torch.minimum(low[i, h], part_low)
                high[i, h] = torch.maximum(high[i, h], part_high)
    middle = torch.where(high - low <= 2 * SAFE_LOGIT, (high + low) / 2, torch.nan)
    return [[None if c != c else c for c in row] for row in middle.tolist()]


class _Part:
    """What is summed up for one reference: over keys for each query, over queries for each key."""

    def __init__(self, reference: Reference, view: View, q: Tensor, v: Tensor | None, factors: int) -> None:
        (g, n, _), self.lead, tokens = q.shape, reference.grid.leading, reference.grid.tokens
        self.reference, self.view = reference, view
        self.keys = slice(reference.start, reference.stop)
        self.placed = slice(reference.start + self.lead, reference.stop)
        self.values = 0 if v is None else v.shape[-1]
        # 1 for placed tokens, 1 for all, then the values; matrix products are fastest at a multiple of 8 columns
        self.right = q.new_zeros(g, tokens, -(-(2 + self.values) // 8) * 8)
        self.right[:, self.lead :, 0] = 1
        self.right[:, :, 1] = 1
        if v is not None:
            self.right[:, :, 2 : 2 + self.values] = v[:, self.keys]
        self.products = q.new_empty(g, n, self.right.shape[-1])
        self.energy, self.peak, self.place = q.new_empty(3, g, n)
        self.totals = q.new_zeros(g, factors, tokens)
        self.countdown = torch.arange(reference.grid.placed, 0, -1, device=q.device, dtype=torch.float32)

    def take(self, logits: Tensor, block: Tensor, factors: Tensor, window: slice) -> None:
        """Sum up one window, (G, n, S') each; what ``logits`` holds for the reference is used up."""
        mine, placed, scratch = block[:, :, self.keys], block[:, :, self.placed], logits[:, :, self.placed]
        torch.bmm(mine, self.right, out=self.products[:, window])
        self.totals.baddbmm_(factors, mine)
        torch.sum(scratch.mul_(placed), -1, out=self.energy[:, window])
        peak = torch.amax(placed, -1, out=self.peak[:, window])
        # where the peak is: `max` finds it too, but its CPU kernel takes three times as long
        torch.eq(placed, peak[..., None], out=scratch)
        torch.amax(scratch.mul_(self.countdown), -1, out=self.place[:, window])
        self.view.add_pairwise(window, mine, factors[:, 1])

    def finish(self, inverse: Tensor) -> None:
        """Write all but the maps that compare queries with each other."""
        view, n = self.view, inverse.shape[1]
        placed = self.products[..., 0]
        torch.mul(placed, inverse, out=view.mass_placed)
        torch.mul(self.products[..., 1], inverse, out=view.mass)
        torch.sub(placed.log(), self.energy / placed, out=view.entropy).clamp_min_(0)
        torch.mul(self.peak, inverse, out=view.peak_value)
        view.peak_index.copy_(self.reference.grid.placed - self.place)
        if view.norm is not None:
            output = self.products[..., 2 : 2 + self.values] * inverse[..., None]
            torch.linalg.vector_norm(output, dim=-1, out=view.norm)
        torch.div(self.totals[:, 1], n, out=view.g2r)
        if view.g2r_masked is not None:
            view.g2r_masked.copy_(self.totals[:, 2])

    def columns(self) -> Tensor:
        """(G, S, 4): 1 / (column sums of E, of A^r), each for placed tokens and for leading ones."""
        reciprocal = self.totals[:, :2].reciprocal().transpose(1, 2)
        both = reciprocal.new_zeros(*reciprocal.shape[:2], 4)
        both[:, self.lead :, 0::2] = reciprocal[:, self.lead :]
        both[:, : self.lead, 1::2] = reciprocal[:, : self.lead]
        return both


def share_out(placed: Tensor, leading: Tensor, reference: Reference, all_: Tensor, only: Tensor) -> None:
    """Sums over placed and leading tokens to the mean over all tokens and the mean over placed ones."""
    torch.div(placed + leading, reference.grid.tokens, out=all_)
    torch.div(placed, reference.grid.placed, out=only)


def reduce_bounded(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    weights: Tensor | None,
    references: tuple[Reference, ...],
    out: list[View],
    step: int,
    keep: bool,
    centre: list[float],
) -> None:
    """All maps of some heads, (G, N, d) and (G, S', d), ``step`` queries at a time; more than one head only if step is N.

    ``keep`` holds on to E for the second pass instead of computing it twice. ``centre`` is of `centres`.
    """
    g, n, _ = q.shape
    key_t = k.transpose(1, 2)
    shift = q.new_tensor(centre).view(g, 1, 1) if any(centre) else None
    held = q.new_empty(g, n if keep else step, k.shape[1])
    scratch = q.new_empty(g, step, k.shape[1])

    def exponentials(window: slice) -> tuple[Tensor, Tensor]:
        logits = scratch[:, : window.stop - window.start]
        torch.bmm(q[:, window], key_t, out=logits)
        if shift is not None:
            logits -= shift
        return logits, torch.exp(logits, out=held[:, window] if keep else held[:, : window.stop - window.start])

    factors = q.new_ones(g, 2 if weights is None else 3, n)
    inverse = factors[:, 1]
    parts = [_Part(r, view, q, v, factors.shape[1]) for r, view in zip(references, out, strict=True)]
    for window in windows(n, step):
        logits, block = exponentials(window)
        torch.sum(block, -1, out=inverse[:, window]).reciprocal_()
        if weights is not None:
            torch.mul(inverse[:, window], weights[window], out=factors[:, 2, window])
        for part in parts:
            part.take(logits, block, factors[:, :, window], window)
    columns = []
    for part in parts:
        part.finish(inverse)
        columns.append(part.columns())
    sums = [q.new_empty(g, n, 4) for _ in parts]
    for window in windows(n, n if keep else step):
        block = held if keep else exponentials(window)[1]
        for part, column, into in zip(parts, columns, sums):
            torch.bmm(block[:, :, part.keys], column, out=into[:, window])
    for part, into in zip(parts, sums):
        into[..., 2:] *= inverse[..., None]
        reference, view = part.reference, part.view
        share_out(into[..., 0], into[..., 1], reference, view.r2g, view.r2g_placed)
        share_out(into[..., 2], into[..., 3], reference, view.balanced, view.balanced_placed)
