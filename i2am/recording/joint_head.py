"""One head of one joint attention call: every map from E = exp(L - shift), tile by tile, in one pass over all keys.

A tile holds some queries and all keys, so that the sum of a row is known before its weights are used. What needs the sums
of columns, R2G and R2G-balanced, follows in a second pass over the references' part of E alone, which is kept where there
is room for it, and computed again where there is not. Where fp32's range is too narrow for E, `in_logs` gives the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..geometry.layout import Layout, Reference, TokenGrid
from ..geometry.pooling import pooled, sum_cells
from .reduce import additive
from .reduce_products import LARGEST_SUM, LEAST_SUM, LOST
from .scratch import Scratch

OTHER = "other"
"""The name of keys that the layout says nothing of."""
Run = tuple[int, int, tuple[tuple[int, int, int], ...]]
"""Keys between references: start, stop, and (name's index, start, stop) of the stretches in it."""


@dataclass(frozen=True)
class Parts:
    """What the keys of a call are: references, and runs of keys between them that are cut up into named stretches."""

    references: tuple[Reference, ...]
    runs: tuple[Run, ...]
    names: tuple[str, ...]
    keys: int

    @classmethod
    def of(cls, layout: Layout) -> Parts:
        """The parts of a layout; keys that it says nothing of are called `OTHER`."""
        taken = sorted([*((r.start, r.stop, "") for r in layout.references), *((x.start, x.stop, x.name) for x in layout.rest)])
        names = list(dict.fromkeys(x.name for x in layout.rest))
        stretches: list[tuple[int, int, str]] = []
        runs: list[list[tuple[int, int, str]]] = [[]]
        end = 0
        for start, stop, name in [*taken, (layout.key_count, layout.key_count, "")]:
            if start > end:
                runs[-1].append((end, start, OTHER))
            if name:
                runs[-1].append((start, stop, name))
            else:
                runs.append([])
            end = stop
        stretches = [stretch for run in runs for stretch in run]
        if any(name == OTHER for _, _, name in stretches) and OTHER not in names:
            names.append(OTHER)
        return cls(
            layout.references,
            tuple(
                (run[0][0], run[-1][1], tuple((names.index(name), a - run[0][0], b - run[0][0]) for a, b, name in run))
                for run in runs
                if run
            ),
            tuple(names),
            layout.key_count,
        )


@dataclass(frozen=True, eq=False)
class Work:
    """One head's call, its queries batch by batch.

    Attributes:
        q: (n, d) with the scale in it.
        k: (S, d).
        mask: (n or 1, S), boolean or additive; None.
        shift: subtracted from every logit.
        weights: (n,) of the queries for `HeadMaps.masked`, as shares of 1; None.
        sizes: number of queries in each batch.
        stands: (n,) how much of a block of generated tokens each query stands for in the mean over them; None: all the same.
        rows: most queries in a tile.
        cells: most cells a side of pooled pairs, 0: as many as tokens; None: no pairs are wanted.
        text: where ranges of text tokens start among the keys, and their first column in `HeadMaps.text`; empty: not wanted.
        words: number of these tokens.
    """

    q: Tensor
    k: Tensor
    mask: Tensor | None
    shift: float
    weights: Tensor | None
    sizes: tuple[int, ...]
    stands: Tensor | None
    rows: int
    cells: int | None
    text: Mapping[int, int] = field(default_factory=dict)
    words: int = 0

    def windows(self) -> Iterator[tuple[int, slice]]:
        """The tiles: the batch, and the queries."""
        first = 0
        for batch, size in enumerate(self.sizes):
            for start in range(first, first + size, self.rows):
                yield batch, slice(start, min(start + self.rows, first + size))
            first += size

    def logits(self, window: slice, keys: slice, out: Tensor) -> Tensor:
        """L - shift of some queries and keys, written to ``out``."""
        torch.mm(self.q[window], self.k[keys].t(), out=out)
        if self.mask is not None:
            rows = self.mask if len(self.mask) == 1 else self.mask[window]
            out += additive(rows[:, keys])
        return out.sub_(self.shift) if self.shift else out


@dataclass(eq=False)
class HeadMaps:
    """What one head leaves: for each reference, and of the other keys; n queries in the order of their batches.

    Attributes:
        mass, r2g, balanced: (n, 2) over all of the reference's tokens, and over placed ones.
        g2r: (S,) the mean of A^r over the queries, each weighted by the tokens that it stands for.
        batches: (batches, S) the same for each batch.
        masked: (S,) weighted; None without weights.
        pairs: (n, cells) A^r summed over cells, leading tokens first, which the next head overwrites; None where not wanted.
        rest: (names, n) what goes to other keys.
        text: (n, T) A^r on each text token, which the next head overwrites; None where not wanted.
    """

    mass: list[Tensor]
    r2g: list[Tensor]
    balanced: list[Tensor]
    g2r: list[Tensor]
    batches: list[Tensor]
    masked: list[Tensor | None]
    pairs: list[Tensor | None]
    rest: Tensor
    text: Tensor | None = None

    @classmethod
    def empty(cls, work: Work, parts: Parts, scratch: Scratch) -> HeadMaps:
        """Room for them, filled with 0 but for the pairs."""
        n, like = len(work.q), work.q

        def rows() -> list[Tensor]:
            return [like.new_zeros(n, 2) for _ in parts.references]

        def pairs(i: int, grid: TokenGrid) -> Tensor | None:
            if work.cells is None or not grid.placed:
                return None
            tokens = pooled(grid, work.cells).tokens
            return scratch.take(f"pairs {i}", n * tokens, like.device).view(n, tokens)

        tokens = [r.grid.tokens for r in parts.references]
        return cls(
            mass=rows(),
            r2g=rows(),
            balanced=rows(),
            g2r=[like.new_zeros(s) for s in tokens],
            batches=[like.new_zeros(len(work.sizes), s) for s in tokens],
            masked=[None if work.weights is None else like.new_zeros(s) for s in tokens],
            pairs=[pairs(i, r.grid) for i, r in enumerate(parts.references)],
            rest=like.new_zeros(len(parts.names), n),
            text=scratch.take("text", n * work.words, like.device).view(n, work.words) if work.words else None,
        )

    def keep_text(self, work: Work, window: slice, start: int, a: Tensor) -> None:
        """Keep the weights of a tile, (m, tokens), on keys from ``start`` on, if they are text tokens that are wanted."""
        first = work.text.get(start)
        if self.text is not None and first is not None:
            self.text[window, first : first + a.shape[1]] = a

    def keep_pairs(self, i: int, window: slice, a: Tensor, grid: TokenGrid, cells: int | None) -> None:
        """Keep the weights of a tile, (m, S), summed over cells."""
        pairs = self.pairs[i]
        if pairs is None or cells is None:
            return
        lead = grid.leading
        pairs[window, lead:] = sum_cells(a[:, lead:], grid, cells)
        if lead:
            pairs[window, :lead] = a[:, :lead]


def by_tiles(work: Work, parts: Parts, scratch: Scratch, room: int) -> HeadMaps | None:
    """All maps of a head; None where fp32's range is too narrow.

    Args:
        work: the call.
        parts: of its keys.
        scratch: room to work in.
        room: bytes that the references' part of E may take; if it takes more, it is computed twice.
    """
    out, n = HeadMaps.empty(work, parts, scratch), len(work.q)
    tokens = [r.grid.tokens for r in parts.references]
    stays = n * sum(tokens) * 4 <= room
    held = n if stays else min(n, work.rows)
    store = [scratch.take(f"reference {i}", held * s, work.q.device).view(held, s) for i, s in enumerate(tokens)]
    tile = scratch.take("rest", min(n, work.rows) * max((b - a for a, b, _ in parts.runs), default=0), work.q.device)

    def block(i: int, window: slice) -> Tensor:
        return store[i][window] if stays else store[i][: window.stop - window.start]

    def exponentials(i: int, window: slice) -> Tensor:
        r = parts.references[i]
        return work.logits(window, slice(r.start, r.stop), block(i, window)).exp_()

    factors = torch.ones(2 + (work.stands is not None) + (work.weights is not None), n, device=work.q.device)
    inverse, mean = factors[1], 1 if work.stands is None else 2  # which of the factors gives the mean over tokens
    columns = [torch.zeros(len(factors), s, device=work.q.device) for s in tokens]
    for batch, window in work.windows():
        m = window.stop - window.start
        total = work.q.new_zeros(m)
        for i, r in enumerate(parts.references):
            e = exponentials(i, window)
            _sum_rows(e, r.grid.leading, out.mass[i][window])
            out.keep_pairs(i, window, e, r.grid, work.cells)  # while the tile is in the caches
            total += out.mass[i][window, 0]
        for start, stop, stretches in parts.runs:
            e = work.logits(window, slice(start, stop), tile[: m * (stop - start)].view(m, stop - start)).exp_()
            for name, a, b in stretches:
                out.keep_text(work, window, start + a, e[:, a:b])
                part = e[:, a:b].sum(-1)
                out.rest[name, window] += part
                total += part
        torch.reciprocal(total, out=inverse[window])
        if work.stands is not None:
            torch.mul(inverse[window], work.stands[window], out=factors[mean, window])
        if work.weights is not None:
            torch.mul(inverse[window], work.weights[window], out=factors[-1, window])
        for i in range(len(store)):
            e = block(i, window)
            summed = factors[:, window] @ e
            columns[i] += summed
            out.batches[i][batch] += summed[mean]
            pairs = out.pairs[i]
            if pairs is not None:
                pairs[window] *= inverse[window, None]
    if not _wide_enough(inverse, columns, [m[:, 1] for m, r in zip(out.mass, parts.references) if r.grid.placed], parts.keys):
        return None
    out.rest *= inverse
    if out.text is not None:
        out.text *= inverse[:, None]
    for i, r in enumerate(parts.references):
        out.mass[i] *= inverse[:, None]
        out.g2r[i].copy_(columns[i][mean])
        masked = out.masked[i]
        if masked is not None:
            masked.copy_(columns[i][-1])
        votes = _votes(columns[i], r)
        for window in [slice(0, n)] if stays else [w for _, w in work.windows()]:
            e = block(i, window) if stays else exponentials(i, window)
            found = e @ votes
            half = votes.shape[1] // 2
            out.r2g[i][window] = found[:, :half]
            out.balanced[i][window] = found[:, half:] * inverse[window, None]
    _divide(out, work)
    return out


def _sum_rows(e: Tensor, lead: int, out: Tensor) -> None:
    """Sums of (m, S) over all and over placed tokens, into (m, 2)."""
    placed = e[:, lead:].sum(-1)
    out[:, 0] = placed + e[:, :lead].sum(-1) if lead else placed
    out[:, 1] = placed


def _votes(columns: Tensor, reference: Reference) -> Tensor:
    """(S, 2 or 4): a token's vote split among all queries, as a mean over all tokens, and over placed ones if some are not.

    First those of A^g, then the balanced ones.
    """
    grid = reference.grid
    every = columns[:2].reciprocal()
    if not grid.leading:
        return every.t() / grid.tokens
    placed = every.clone()
    placed[:, : grid.leading] = 0
    return torch.stack(
        [every[0] / grid.tokens, placed[0] / max(1, grid.placed), every[1] / grid.tokens, placed[1] / max(1, grid.placed)], 1
    )


def _wide_enough(inverse: Tensor, columns: list[Tensor], placed: list[Tensor], keys: int) -> bool:
    """As in `reduce_products`: no sum of E is near the ends of fp32's range."""
    lost = LOST * torch.finfo(torch.float32).tiny * max(keys, len(inverse))
    least_row = 1 / inverse.amax()
    fine = (inverse.amin() >= 1 / LARGEST_SUM) & (least_row >= lost)
    for total in columns:
        looks = total[1].amin()
        fine = fine & (total[0].amin() >= lost) & (looks * least_row >= lost) & (looks >= LEAST_SUM) & total.isfinite().all()
    for row in placed:
        fine = fine & (row.amin() >= lost)
    return bool(fine)


def _divide(out: HeadMaps, work: Work) -> None:
    """Sums over queries, and over those of each batch, to their means."""
    stands = torch.ones(len(work.q), device=work.q.device) if work.stands is None else work.stands
    sizes = torch.stack([own.sum() for own in stands.split(work.sizes)])
    for total, means in zip(out.g2r, out.batches, strict=True):
        total /= sizes.sum()
        means /= sizes[:, None]


def in_logs(work: Work, parts: Parts, scratch: Scratch) -> HeadMaps:
    """The same maps for any logits and masks, in the log domain; a row or column that may look nowhere gives 0."""
    out, n = HeadMaps.empty(work, parts, scratch), len(work.q)
    wide = torch.float32 if work.q.device.type == "mps" else torch.float64
    q, key_t = work.q.to(wide), work.k.to(wide).t()
    rows = q.new_full((n, 1), float("-inf"))
    over_g = [q.new_full((r.grid.tokens,), float("-inf")) for r in parts.references]
    over_r = [t.clone() for t in over_g]

    def logits(window: slice) -> Tensor:
        found = q[window] @ key_t
        if work.mask is not None:
            found = found + additive(work.mask if len(work.mask) == 1 else work.mask[window]).to(wide)
        return found

    def share(logs: Tensor, total: Tensor) -> Tensor:
        return (logs - total).masked_fill(total == float("-inf"), float("-inf"))

    for batch, window in work.windows():
        block = logits(window)
        rows[window] = block.logsumexp(-1, keepdim=True)
        log_a = share(block, rows[window])
        a = log_a.exp().float()
        for start, _, stretches in parts.runs:
            for name, first, stop in stretches:
                part = a[:, start + first : start + stop]
                out.keep_text(work, window, start + first, part)
                out.rest[name, window] += part.sum(-1)
        for i, r in enumerate(parts.references):
            own = a[:, r.start : r.stop]
            _sum_rows(own, r.grid.leading, out.mass[i][window])
            over_g[i] = torch.logaddexp(over_g[i], block[:, r.start : r.stop].logsumexp(0))
            over_r[i] = torch.logaddexp(over_r[i], log_a[:, r.start : r.stop].logsumexp(0))
            summed = own.sum(0) if work.stands is None else work.stands[window] @ own
            out.g2r[i] += summed
            out.batches[i][batch] += summed
            masked = out.masked[i]
            if masked is not None and work.weights is not None:
                masked += work.weights[window] @ own
            out.keep_pairs(i, window, own, r.grid, work.cells)
    for _, window in work.windows():
        block = logits(window)
        log_a = share(block, rows[window])
        for i, r in enumerate(parts.references):
            for votes, found in (
                (share(block[:, r.start : r.stop], over_g[i]), out.r2g[i]),
                (share(log_a[:, r.start : r.stop], over_r[i]), out.balanced[i]),
            ):
                _sum_rows(votes.exp().float(), r.grid.leading, found[window])
                found[window] /= torch.tensor([r.grid.tokens, max(1, r.grid.placed)], device=found.device)
    _divide(out, work)
    return out
