"""All maps of an attention call in the log domain: any logits, any mask.

Sums of exponentials are kept as (largest, sum of exp(L - largest)), so that a row or column of very large or very
negative logits, such as one that a finite mask of -1e9 hides, keeps its shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.layout import Reference
from .call_maps import View, windows_of, write_means


def in_logs(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    mask: Tensor | None,
    weights: Tensor | None,
    references: tuple[Reference, ...],
    out: list[View],
    chunk: int,
) -> None:
    """All maps of some heads in the log domain: any logits, any mask; a fully masked row or column gives 0."""
    g, n, _ = q.shape
    wide = mask is not None and q.device.type != "mps"  # there it has no float64; a mask of -1e9 leaves fp32 no room for L
    if wide:
        q, k = q.double(), k.double()
    key_t = k.transpose(1, 2)
    windows = list(windows_of(n, chunk))
    rows = _Sums.none((g, n), q)
    over_g = [_Sums.none((g, r.grid.tokens), q) for r in references]
    over_r = [_Sums.none((g, r.grid.tokens), q) for r in references]

    for view in out:
        view.g2r.zero_()
        if view.g2r_masked is not None:
            view.g2r_masked.zero_()

    def logits(window: slice) -> Tensor:
        block = torch.bmm(q[:, window], key_t)
        return block if mask is None else block + mask[:, window]

    for window in windows:
        block = logits(window)
        row = rows.put(window, _Sums.of(block, -1))
        for i, (reference, view) in enumerate(zip(references, out, strict=True)):
            part = block[:, :, reference.start : reference.stop]
            log_a = row.log_share(part, -1)
            over_g[i] = over_g[i].plus(_Sums.of(part, 1))
            over_r[i] = over_r[i].plus(_Sums.of(log_a, 1))
            a = log_a.exp().float()
            view.g2r.add_(a.sum(1) / n)
            if weights is not None and view.g2r_masked is not None:
                view.g2r_masked.add_((a * weights[window][None, :, None]).sum(1))
            _rows_in_logs(a, part, v, reference, view, window)
            view.add_pairwise(window, a, None)
    for window in windows:
        block = logits(window)
        row = rows.at(window)
        for i, (reference, view) in enumerate(zip(references, out, strict=True)):
            part = block[:, :, reference.start : reference.stop]
            in_g = over_g[i].log_share(part, 1).exp().float()
            in_r = over_r[i].log_share(row.log_share(part, -1), 1).exp().float()
            _write_means(in_g, reference, view.r2g[:, window], view.r2g_placed[:, window])
            _write_means(in_r, reference, view.balanced[:, window], view.balanced_placed[:, window])


@dataclass
class _Sums:
    """Sums of exp(L) along an axis, as exp(``largest``) * ``total``; of nothing but -inf: 0."""

    largest: Tensor
    total: Tensor

    @classmethod
    def none(cls, shape: tuple[int, ...], like: Tensor) -> _Sums:
        return cls(like.new_full(shape, float("-inf")), like.new_zeros(shape))

    @classmethod
    def of(cls, logs: Tensor, dim: int) -> _Sums:
        largest = logs.amax(dim)
        return cls(largest, (logs - _finite(largest).unsqueeze(dim)).exp().sum(dim))

    def plus(self, other: _Sums) -> _Sums:
        largest = torch.maximum(self.largest, other.largest)
        base = _finite(largest)
        parts = [s.total * (s.largest - base).exp() for s in (self, other)]
        return _Sums(largest, parts[0] + parts[1])

    def put(self, window: slice, part: _Sums) -> _Sums:
        self.largest[:, window], self.total[:, window] = part.largest, part.total
        return part

    def at(self, window: slice) -> _Sums:
        return _Sums(self.largest[:, window], self.total[:, window])

    def log_share(self, logs: Tensor, dim: int) -> Tensor:
        """log(exp(L) / sum); -inf where the sum is 0."""
        shift = _finite(self.largest).unsqueeze(dim)
        # the difference first: it is small where the logits are large
        shares = (logs - shift) - self.total.log().unsqueeze(dim)
        return shares.masked_fill_((self.total == 0).unsqueeze(dim), float("-inf"))


def _finite(largest: Tensor) -> Tensor:
    """What to subtract: 0 where everything is -inf, since -inf minus itself is NaN."""
    return largest.masked_fill(largest == float("-inf"), 0)


def _write_means(weights: Tensor, reference: Reference, all_: Tensor, only: Tensor) -> None:
    lead = reference.grid.leading
    write_means(weights[..., lead:].sum(-1), weights[..., :lead].sum(-1), reference, all_, only)


def _rows_in_logs(a: Tensor, part: Tensor, v: Tensor | None, reference: Reference, view: View, window: slice) -> None:
    lead = reference.grid.leading
    view.mass[:, window] = a.sum(-1)
    view.mass_placed[:, window] = a[..., lead:].sum(-1)
    if v is not None and view.norm is not None:
        view.norm[:, window] = _length(torch.bmm(a, v[:, reference.start : reference.stop]))
    if not reference.grid.placed:
        return
    placed = part[..., lead:]
    log_p = _Sums.of(placed, -1).log_share(placed, -1)
    p = log_p.exp()
    view.entropy[:, window] = -(p * log_p.clamp_min(-1e30)).sum(-1)
    value, index = a[:, :, lead:].max(-1)
    view.peak_value[:, window] = value
    view.peak_index[:, window] = index.int()


def _length(t: Tensor) -> Tensor:
    """The norm over the last axis, also where the squares leave fp32's range."""
    largest = t.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(t.dtype).tiny)
    return largest[..., 0] * torch.linalg.vector_norm(t / largest, dim=-1)
