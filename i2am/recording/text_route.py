"""The route via text, one hop: a generated patch looks at the text, and the text looks at a reference.

In joint attention a text token t reads the references too. With the model's own softmax over all keys, A^h for a head h:

    mass_r(t)   = mean over heads h, sum over j in r, of A^h[t, j]        what t takes from the reference r
    via_r^h(g)  = sum over t of A^h[g, t] mass_r(t)                        what patch g takes from r through the text
    via(j)      = sum over t of c_t mean_h A^h[t, j],  c_t = mean over g and h of A^h[g, t]      the same on the reference

What a text token reads with any of its heads goes into its one stream, from which every head reads, so the text's side is a
mean over heads. Summed over a reference's tokens, via(j) is the mean of via_r over patches and heads. With what the text keeps,
A[g, text] - sum over r of via_r(g), the routes of a patch add up to 1: direct, via text, the text itself, the picture itself.

Both hops are of one layer and step. That the text had read the references in the layers before is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LayoutError, RecordingError
from ..geometry.layout import Layout, Reference
from ..geometry.sequence import TextRows
from .call_maps import CallMaps, windows_of
from .reduce import additive
from .scratch import Scratch

TILES = 16
"""Bytes for a number of 4: a tile of the text takes a quarter of the room that one of the generated picture takes."""


@dataclass(eq=False)
class TextRoute:
    """One image's text of a call: what it reads of the references, and what the generated patches read of it.

    Attributes:
        references: of the layout.
        reads: (T, tokens of all references) the mean over heads of A[t, j].
        mass: (T, references) its sums over each reference.
        columns: where each text token range starts among the keys, and its first row here.
        read: (n, T) the mean over heads of A[g, t], added up head by head, batch by batch.
    """

    references: tuple[Reference, ...]
    reads: Tensor
    mass: Tensor
    columns: Mapping[int, int]
    read: Tensor

    @classmethod
    def of(
        cls,
        text: TextRows,
        k: Tensor,
        image: int,
        layout: Layout,
        scale: float,
        queries: int,
        tile: int,
        scratch: Scratch,
    ) -> TextRoute:
        """Reduce the text's rows of one image, head by head and in tiles: never a block of all heads.

        Args:
            text: of the call.
            k: (B, Hk, S, d) keys.
            image: which one.
            layout: what the keys are.
            scale: the call's own factor on q k^T.
            queries: n, of the generated ones that are kept.
            tile: bytes of a tile of logits.
            scratch: room to work in.
        """
        _, heads, tokens, _ = text.q.shape
        sizes = [r.grid.tokens for r in layout.references]
        device = k.device
        reads = scratch.take("text reads", tokens * sum(sizes), device).view(tokens, sum(sizes)).zero_()
        rows = max(1, tile // (TILES * layout.key_count))
        store = scratch.take("text tile", min(rows, tokens) * layout.key_count, device)
        for head in range(heads):
            q = text.q[image, head].float() * scale
            key_t = k[image, head * k.shape[1] // heads].float().t()
            own = _rows_of(text.mask, image, head)
            for window in windows_of(tokens, rows):
                n = window.stop - window.start
                block = torch.mm(q[window], key_t, out=store[: n * layout.key_count].view(n, -1))
                if own is not None:
                    block += additive(own if len(own) == 1 else own[window])
                weights = _softmax(block, own is not None)
                at = 0
                for r, size in zip(layout.references, sizes, strict=True):
                    reads[window, at : at + size].add_(weights[:, r.start : r.stop], alpha=1 / heads)
                    at += size
        mass = torch.stack([part.sum(1) for part in reads.split(sizes, 1)], 1)
        columns, first = {}, 0
        for start, stop in text.keys:
            columns[start] = first
            first += stop - start
        return cls(layout.references, reads, mass, columns, torch.zeros(queries, tokens, device=device))

    def take(self, a: Tensor, heads: int) -> Tensor:
        """Add one head's A[g, t], (n, T), and give what goes through the text to each reference, (n, references)."""
        self.read.add_(a, alpha=1 / heads)
        return a @ self.mass

    def finish(self, calls: list[CallMaps], image: int, stands: Tensor | None, back: Tensor) -> None:
        """Put the image's maps that are means over heads into its calls.

        Args:
            calls: one for each reference.
            image: which one.
            stands: (n,) how much of a block of generated tokens each query stands for; None: all the same.
            back: (n,) where each query of the calls is among those here, which are in the order of batches.
        """
        weights = self.read.new_ones(len(self.read)) if stands is None else stands
        weights = weights / weights.sum()
        means = weights @ self.read
        spread = (weights @ (self.read - means).square()).sqrt()
        through = (means @ self.reads).split([r.grid.tokens for r in self.references])
        for call, values, mass in zip(calls, through, self.mass.t(), strict=True):
            _own(call.g2r_via_text)[image, 0] = values
            _own(call.words_via_text)[image, 0] = means * mass
        _own(calls[0].words)[image, 0], _own(calls[0].words_spread)[image, 0] = means, spread
        if calls[0].word_maps is not None:
            calls[0].word_maps[image, 0] = self.read.t()[:, back]


def check_text(text: TextRows, q: Tensor, k: Tensor) -> None:
    """Refuse a text whose queries do not belong to the call.

    Raises:
        LayoutError: it has other images or heads than the generated picture.
        RecordingError: its queries hold NaN or infinity.
    """
    if text.q.shape[:2] != q.shape[:2] or text.q.shape[-1] != k.shape[-1]:
        raise LayoutError(
            f"the text's queries are {tuple(text.q.shape)}, those of the generated picture {tuple(q.shape)}; both are of one "
            f"call, with the same images, heads and width"
        )
    if text.q.shape[2] != sum(stop - start for start, stop in text.keys):
        raise LayoutError(f"the text has {text.q.shape[2]} queries for its keys {text.keys}; give one for each of its tokens")
    if not all(bool(extreme.isfinite()) for extreme in torch.aminmax(text.q)):  # no copy of the queries
        raise RecordingError(
            "a call's queries of the text hold NaN or infinity, so its attention is undefined; run the model in a wider dtype "
            "(bfloat16 or float32)"
        )


def _own(t: Tensor | None) -> Tensor:
    assert t is not None
    return t


def _rows_of(mask: Tensor | None, image: int, head: int) -> Tensor | None:
    """(T or 1, S) of a mask that broadcasts to (B, H, T, S)."""
    if mask is None:
        return None
    whole = mask.reshape(*[1] * (4 - mask.ndim), *mask.shape)
    return whole[image if len(whole) > 1 else 0, head if whole.shape[1] > 1 else 0]


def _softmax(block: Tensor, masked: bool) -> Tensor:
    """A softmax over the last axis, in the block's own memory; a row that may look nowhere gives 0."""
    nowhere = (block == float("-inf")).all(-1, keepdim=True) if masked else None
    block -= block.amax(-1, keepdim=True)
    block.exp_()
    block /= block.sum(-1, keepdim=True)
    return block if nowhere is None else block.masked_fill_(nowhere, 0)
