"""What is kept of one attention call, and the views through which some heads of one image are written to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.layout import Reference

_OF_HEADS = ("r2g", "balanced", "mass", "g2r", "g2r_masked", "rest", "via_text")


@dataclass
class CallMaps:
    """What one call leaves for one reference; N generated tokens, S = leading + placed reference tokens; None: not kept.

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
        pairwise: (B, 1, N, S) head mean of A^r, or (B, H, N, S); None unless asked for. Of joint calls both sides are pooled.

    Of joint calls alone:

        g2r_error: (B, 1, S) standard error of the head mean of ``g2r`` where only some of the generated tokens were kept.
        spread: (B, 1) or (B, H): by how much of its weight the row of a query differs from the pooled one that it is part of.
        rest: (B, H, P, N) what goes to the P parts of the other keys; with the call's first reference only.

    Of joint calls whose text has queries, see `text_route`:

        via_text: (B, H, N) what goes to the reference through the text.
        g2r_via_text: (B, 1, S) its mean over the generated tokens and heads, token by token of the reference.
        words_via_text: (B, 1, T) what each text token hands on of the reference, c_t mass_r(t); they add up to the mean of
            ``via_text``.
        words: (B, 1, T) the mean over the generated tokens and heads of A^r on each text token; with the first reference only.
        words_spread: (B, 1, T) its standard deviation over the generated tokens, of the mean over heads; as ``words``.
        word_maps: (B, 1, T, N) what each generated token reads of each text token, the mean over heads; as ``words``, and only
            if asked for.
    """

    r2g: Tensor
    r2g_placed: Tensor | None
    balanced: Tensor
    balanced_placed: Tensor | None
    mass: Tensor
    mass_placed: Tensor | None
    entropy: Tensor | None
    norm: Tensor | None
    peak_value: Tensor | None
    peak_index: Tensor | None
    g2r: Tensor
    g2r_masked: Tensor | None
    pairwise: Tensor | None
    g2r_error: Tensor | None = None
    spread: Tensor | None = None
    rest: Tensor | None = None
    via_text: Tensor | None = None
    g2r_via_text: Tensor | None = None
    words_via_text: Tensor | None = None
    words: Tensor | None = None
    words_spread: Tensor | None = None
    word_maps: Tensor | None = None

    def average_heads(self) -> None:
        """Keep the mean over heads of a joint call's marginal maps."""
        for name in (*_OF_HEADS, "r2g_placed", "balanced_placed", "mass_placed"):
            value: Tensor | None = getattr(self, name)
            if value is not None:
                setattr(self, name, value.mean(1, keepdim=True))


def empty(q: Tensor, reference: Reference, v: Tensor | None, weights: Tensor | None, pairwise: str | None) -> CallMaps:
    """Room for the maps of one reference, of a call with queries (B, H, N, d)."""
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


class View:
    """The part of a `CallMaps` that belongs to one image and some heads; writing to it writes to the whole."""

    def __init__(self, maps: CallMaps, image: int, heads: slice) -> None:
        def own(t: Tensor | None) -> Tensor:
            assert t is not None
            return t[image, heads]

        self.r2g, self.r2g_placed = own(maps.r2g), own(maps.r2g_placed)
        self.balanced, self.balanced_placed = own(maps.balanced), own(maps.balanced_placed)
        self.mass, self.mass_placed = own(maps.mass), own(maps.mass_placed)
        self.entropy = own(maps.entropy)
        self.norm = None if maps.norm is None else own(maps.norm)
        self.peak_value, self.peak_index = own(maps.peak_value), own(maps.peak_index)
        self.g2r = own(maps.g2r)
        self.g2r_masked = None if maps.g2r_masked is None else own(maps.g2r_masked)
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


def windows_of(n: int, step: int) -> Iterator[slice]:
    """Slices of at most ``step`` that fill 0 to ``n``."""
    for first in range(0, n, step):
        yield slice(first, min(first + step, n))


def write_means(placed: Tensor, leading: Tensor, reference: Reference, all_: Tensor, only: Tensor) -> None:
    """Turn sums over placed and over leading tokens into means: over all tokens, and ``only`` over placed ones."""
    torch.div(placed + leading, reference.grid.tokens, out=all_)
    if reference.grid.placed:
        torch.div(placed, reference.grid.placed, out=only)
