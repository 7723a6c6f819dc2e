"""All maps of an attention call in the log domain: any logits, any mask."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.layout import Reference
from .call_maps import View, share_out, windows_of


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
    """All maps of some heads in the log domain: any logits, any mask; a row or column that may look nowhere gives 0."""
    g, n, _ = q.shape
    key_t = k.transpose(1, 2)
    windows = list(windows_of(n, chunk))
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
            share_out(
                in_g[..., lead:].sum(-1), in_g[..., :lead].sum(-1), reference, view.r2g[:, window], view.r2g_placed[:, window]
            )
            share_out(
                in_r[..., lead:].sum(-1),
                in_r[..., :lead].sum(-1),
                reference,
                view.balanced[:, window],
                view.balanced_placed[:, window],
            )


def _finite(log: Tensor) -> Tensor:
    """-inf minus -inf, a row or column that may look nowhere, becomes -inf."""
    return log.nan_to_num_(nan=float("-inf"), posinf=float("-inf"), neginf=float("-inf"))


def _rows_in_logs(a: Tensor, part: Tensor, v: Tensor | None, reference: Reference, view: View, window: slice) -> None:
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
