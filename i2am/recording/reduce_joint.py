"""Reduces one joint attention call to what is kept of it: head by head, in fp32 and in tiles, never an N x S x heads block.

The keys are the text, the generated picture and the references; the queries are the generated tokens, all of them or one of
each block (`geometry.thinning`). Maps over pairs are pooled to cells (`geometry.pooling`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LayoutError
from ..geometry.layout import Layout, Reference, TokenGrid
from ..geometry.pooling import cell_of_each, pooled
from ..geometry.sequence import TextRows
from ..geometry.thinning import Kept, standard_error, weights_of
from .call_maps import CallMaps, windows_of
from .joint_head import HeadMaps, Parts, Work, by_tiles, in_logs
from .reduce import CACHE_BYTES, CHUNK_BYTES, additive, largest_logit
from .reduce_products import ROOM_ABOVE, SAFE_LOGIT
from .scratch import Scratch
from .text_route import TextRoute, check_text

TILE_BYTES = 2 * CACHE_BYTES
ROOM = 5
"""One head's weights between the queries and the references are kept while they take this many chunks, else computed twice."""


@torch.no_grad()
def reduce_joint(
    q: Tensor,
    k: Tensor,
    *,
    layout: Layout,
    scale: float,
    kept: Kept,
    cells: int = 0,
    pairwise: str | None = None,
    mask: Tensor | None = None,
    query_weights: Tensor | None = None,
    text: TextRows | None = None,
    word_maps: bool = False,
    scratch: Scratch | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> list[CallMaps]:
    """Reduce one call to its maps, one `CallMaps` per reference of ``layout``, over the kept queries.

    Args:
        q: (B, H, N', d) queries; the generated ones are ``layout.query_start`` onwards.
        k: (B, Hk, S', d) keys, Hk dividing H (grouped heads).
        layout: what the keys are.
        scale: the call's own factor on q k^T.
        kept: which of the generated queries to take.
        cells: most cells a side of pairwise maps; 0: not pooled.
        pairwise: None, "mean" (over heads) or "heads".
        mask: the call's own mask, additive or boolean (True = may look), broadcastable to (B, H, N', S').
        query_weights: (n,) or (B, n) weight of each kept query for `CallMaps.g2r_masked`.
        text: the queries of the text, for the route via text; None: it is not taken.
        word_maps: whether `CallMaps.word_maps` is taken, where there is a text.
        scratch: room to work in, for callers that reduce many calls one after the other.
        chunk_bytes: a tile of logits takes at most this on a GPU; see `ROOM` for the references' part.

    Raises:
        LayoutError: keys or queries do not match the layout, or those of the text do not match these.
        RecordingError: q or k holds NaN or infinity.
    """
    layout.check("call", k.shape[2])
    b, h, total, _ = q.shape
    if h % k.shape[1]:
        raise LayoutError(f"{h} query heads cannot share {k.shape[1]} key heads")
    if total - layout.query_start < round(len(kept.tokens) / kept.share):
        raise LayoutError(
            f"the layout puts {round(len(kept.tokens) / kept.share)} generated tokens after query {layout.query_start}, the "
            f"call has {total}"
        )
    if text is not None:
        check_text(text, q, k)
    with torch.autocast(q.device.type, enabled=False):
        rows = (kept.tokens + layout.query_start).to(q.device)
        parts, scratch = Parts.of(layout), scratch or Scratch()
        bound = _bound(q, k, mask) * scale
        weights = None if query_weights is None else _shares(query_weights, b, kept, q.device)
        tile = TILE_BYTES if q.device.type == "cpu" else chunk_bytes
        words = 0 if text is None else text.q.shape[2]
        out = _Out.empty(parts.references, len(parts.names), kept, pairwise, cells, (b, h), q.device, words, word_maps)
        for i in range(b):
            route = None if text is None else TextRoute.of(text, k, i, layout, scale, len(kept.tokens), tile, scratch)
            for head in range(h):
                own = _rows_of(mask, i, head, rows)
                queries, keys = q[i, head][rows].float() * scale, k[i, head * k.shape[1] // h].float().contiguous()
                work = Work(
                    queries,
                    keys,
                    own,
                    _shift(queries, keys, own) if own is not None or bound > SAFE_LOGIT else 0.0,
                    None if weights is None else weights[i],
                    kept.sizes,
                    None if kept.stands is None else kept.stands.to(q.device),
                    max(1, tile // (4 * layout.key_count)),
                    cells if pairwise else None,
                    {} if route is None else route.columns,
                    words,
                )
                maps = by_tiles(work, parts, scratch, ROOM * chunk_bytes)
                out.take(i, head, in_logs(work, parts, scratch) if maps is None else maps, route)
            if route is not None:
                route.finish(out.calls, i, work.stands, out.back)
        return out.finished()


@dataclass(eq=False)
class _Out:
    """The maps of a call while its heads are reduced; see `CallMaps`.

    Attributes:
        calls: one per reference.
        references: of the layout.
        kept: the queries.
        cells: most cells a side of pairs.
        back: where the query of each block is among the kept ones.
        batches: (images, batches, S) head means of each reference, for `CallMaps.g2r_error`.
        pairs: (images, 1 or heads, n, cells) of each reference, the sum over heads or each head, batch by batch and not yet
            pooled over queries; None where not wanted.
    """

    calls: list[CallMaps]
    references: tuple[Reference, ...]
    kept: Kept
    cells: int
    back: Tensor
    batches: list[Tensor]
    pairs: list[Tensor | None]

    @classmethod
    def empty(
        cls,
        references: tuple[Reference, ...],
        names: int,
        kept: Kept,
        pairwise: str | None,
        cells: int,
        size: tuple[int, int],
        device: torch.device,
        words: int,
        word_maps: bool,
    ) -> _Out:
        """Room for them; ``words``: text tokens; ``word_maps``: with a map for each."""
        (b, h), n = size, len(kept.tokens)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, device=device)

        def pairs(grid: TokenGrid) -> Tensor | None:
            heads = 1 if pairwise == "mean" else h
            return zeros(b, heads, n, pooled(grid, cells).tokens) if pairwise and grid.placed else None

        def call(i: int, reference: Reference) -> CallMaps:
            placed = [zeros(b, h, n) if reference.grid.leading else None for _ in range(3)]  # else the same as over all
            return CallMaps(
                r2g=zeros(b, h, n),
                r2g_placed=placed[0],
                balanced=zeros(b, h, n),
                balanced_placed=placed[1],
                mass=zeros(b, h, n),
                mass_placed=placed[2],
                entropy=None,
                norm=None,
                peak_value=None,
                peak_index=None,
                g2r=zeros(b, h, reference.grid.tokens),
                g2r_masked=None,
                pairwise=None,
                rest=zeros(b, h, names, n) if i == 0 else None,
                via_text=zeros(b, h, n) if words else None,
                g2r_via_text=zeros(b, 1, reference.grid.tokens) if words else None,
                words_via_text=zeros(b, 1, words) if words else None,
                words=zeros(b, 1, words) if words and i == 0 else None,
                words_spread=zeros(b, 1, words) if words and i == 0 else None,
                word_maps=zeros(b, 1, words, n) if words and word_maps and i == 0 else None,
            )

        return cls(
            calls=[call(i, r) for i, r in enumerate(references)],
            references=references,
            kept=kept,
            cells=cells,
            back=kept.back.to(device),
            batches=[zeros(b, len(kept.sizes), r.grid.tokens) for r in references],
            pairs=[pairs(r.grid) for r in references],
        )

    def take(self, image: int, head: int, maps: HeadMaps, route: TextRoute | None) -> None:
        """Put one head's maps in their places."""
        heads, at = self.calls[0].r2g.shape[1], (image, head)
        rest = self.calls[0].rest
        assert rest is not None
        rest[at] = maps.rest[:, self.back]
        if route is not None and maps.text is not None:
            for call, through in zip(self.calls, route.take(maps.text, heads).t(), strict=True):
                call.via_text[at] = through[self.back]  # type: ignore[index]
        for i, call in enumerate(self.calls):
            for name in ("r2g", "balanced", "mass"):
                values = getattr(maps, name)[i][self.back]
                getattr(call, name)[at] = values[:, 0]
                placed = getattr(call, f"{name}_placed")
                if placed is not None:
                    placed[at] = values[:, 1]
            call.g2r[at] = maps.g2r[i]
            masked = maps.masked[i]
            if masked is not None:
                call.g2r_masked = torch.zeros_like(call.g2r) if call.g2r_masked is None else call.g2r_masked
                call.g2r_masked[at] = masked
            self.batches[i][image] += maps.batches[i] / heads
            pairs, own = self.pairs[i], maps.pairs[i]
            if pairs is not None and own is not None:
                pairs[image, head if pairs.shape[1] == heads else 0] += own

    def finished(self) -> list[CallMaps]:
        """The maps, with their errors, and pairs pooled over queries."""
        for i, (call, batches) in enumerate(zip(self.calls, self.batches, strict=True)):
            if not self.kept.all:
                error = standard_error(batches.transpose(0, 1), self.kept.sizes, self.kept.share)
                call.g2r_error = None if error is None else error[:, None]
            own, self.pairs[i] = self.pairs[i], None  # else both orders of all pairs would be there at once
            if own is not None:
                if not self.kept.all:
                    own = own[:, :, self.back]
                own /= call.r2g.shape[1] // own.shape[1]
                call.pairwise, call.spread = pool_queries(own, self.kept.grid, self.cells)
        return self.calls


def pool_queries(pairs: Tensor, grid: TokenGrid, most: int) -> tuple[Tensor, Tensor]:
    """(..., n, cells) to the mean row of each cell of the pooled grid, (..., pooled, cells), and the spread, (...).

    In both means a query counts as much as it stands for: less in blocks that reach beyond an odd grid.
    The spread is the mean total variation between a query's row and that of its cell, as a share of the rows' weight: 0 where
    all queries of a cell look at the same places, 1 where they look at different ones.
    """
    cell, weights = cell_of_each(grid, most).to(pairs.device), weights_of(grid).to(pairs)
    counts = cell.bincount(weights).to(pairs)
    if len(counts) == len(cell):
        return pairs, pairs.new_zeros(pairs.shape[:-2])
    means = pairs.new_zeros(*pairs.shape[:-2], len(counts), pairs.shape[-1])
    for window in windows_of(len(cell), 1024):
        means.index_add_(-2, cell[window], pairs[..., window, :] * weights[window, None])
    means /= counts[:, None]
    apart, total = torch.zeros_like(pairs[..., 0, 0]), torch.zeros_like(pairs[..., 0, 0])
    for window in windows_of(len(cell), 1024):
        rows = pairs[..., window, :]
        apart += (rows - means[..., cell[window], :]).abs().sum(-1) @ weights[window] / 2
        total += rows.sum(-1) @ weights[window]
    return means, apart / total.clamp_min(torch.finfo(torch.float32).tiny)


def _bound(q: Tensor, k: Tensor, mask: Tensor | None) -> float:
    """A bound of |q k|.

    Raises:
        RecordingError: something is no number, so that the attention is undefined.
    """
    k = k[:1] if k.stride(0) == 0 else k  # frames of one video share their keys, and a copy of each would not fit
    norms = [torch.linalg.vector_norm(t, dim=-1, dtype=torch.float32).amax() for t in (q, k)]
    bound = float(norms[0] * norms[1])
    return bound if 0 < bound < float("inf") and mask is None else largest_logit(q, k, mask=mask)


def _rows_of(mask: Tensor | None, image: int, head: int, rows: Tensor) -> Tensor | None:
    """(n or 1, S) of a mask that broadcasts to (B, H, N', S')."""
    if mask is None:
        return None
    whole = mask.reshape(*[1] * (4 - mask.ndim), *mask.shape)
    own = whole[image if len(whole) > 1 else 0, head if whole.shape[1] > 1 else 0]
    return own if len(own) == 1 else own[rows]


def _shift(q: Tensor, k: Tensor, mask: Tensor | None) -> float:
    """What to subtract from every logit: then the largest of a sample is `ROOM_ABOVE`, with about as much room above it."""
    some = slice(None, None, max(1, len(q) // 64))
    sample = q[some] @ k.t()
    if mask is not None:
        sample += additive(mask if len(mask) == 1 else mask[some])
    largest = float(sample.amax())
    return largest - ROOM_ABOVE if abs(largest) < float("inf") else 0.0


def _shares(weights: Tensor, images: int, kept: Kept, device: torch.device) -> Tensor:
    """Weights of the kept queries, (n,) or (B, n), as shares of 1 for each image, batch by batch."""
    weights = weights.float().to(device).expand(images, len(kept.tokens))
    shares = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return shares[:, kept.back.to(device).argsort()]
