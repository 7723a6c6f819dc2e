"""Attention over the keys that are left, against float64 query by query; cut keys have no way into the result."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from i2am.errors import LayoutError
from i2am.interventions.attend import attend_groups
from i2am.interventions.removal import Removal, groups

B, H, N, S, D = 2, 4, 7, 9, 5


def tensors(dtype: torch.dtype = torch.float64, heads: int = H) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(3)
    q = torch.randn(B, H, N, D, generator=source, dtype=torch.float64)
    k, v = (torch.randn(B, heads, S, D, generator=source, dtype=torch.float64) for _ in range(2))
    return q.to(dtype), k.to(dtype), v.to(dtype)


def call(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=k.shape[1] != q.shape[1])


def one_by_one(q: Tensor, k: Tensor, v: Tensor, removals: Sequence[Removal], mask: Tensor | None) -> Tensor:
    """The softmax over what is left, for each image, head and query by itself."""
    out = torch.zeros_like(q)
    k, v = (t.repeat_interleave(H // t.shape[1], 1) for t in (k, v))
    added = torch.zeros(B, H, N, S, dtype=q.dtype) if mask is None else mask.expand(B, H, N, S)
    for head in range(H):
        for row in range(N):
            gone: set[int] = set()
            for removal in removals:
                if (removal.rows is None or row in removal.rows) and (removal.heads is None or head in removal.heads):
                    gone |= {*removal.keys.tolist()}
            left = [i for i in range(S) if i not in gone]
            for image in range(B):
                logits = k[image, head, left] @ q[image, head, row] / D**0.5 + added[image, head, row, left]
                weights = torch.exp(logits - logits.max())
                out[image, head, row] = (weights / weights.sum()) @ v[image, head, left]
    return out


CUTS = {
    "all": [Removal(torch.tensor([2, 3, 4]))],
    "scattered keys": [Removal(torch.tensor([0, 3, 8]))],
    "rows": [Removal(torch.tensor([2, 3, 4]), torch.tensor([1, 2, 3]))],
    "scattered rows": [Removal(torch.tensor([2, 3, 4]), torch.tensor([0, 2, 6]))],
    "heads": [Removal(torch.tensor([2, 3]), None, (1, 2))],
    "scattered heads and rows": [Removal(torch.tensor([1, 5]), torch.tensor([0, 4, 5]), (0, 3))],
    "two": [Removal(torch.tensor([0, 1]), torch.tensor([1, 2])), Removal(torch.tensor([1, 8]), None, (0,))],
}


@pytest.mark.parametrize("heads", [H, 2, 1], ids=["own keys", "grouped", "one head of keys"])
@pytest.mark.parametrize("name", CUTS)
def test_it_is_the_softmax_over_the_keys_that_are_left(name: str, heads: int) -> None:
    q, k, v = tensors(heads=heads)
    out = attend_groups(groups(tuple(CUTS[name]), N, H, S), call, q, k, v, None)
    assert torch.allclose(out, one_by_one(q, k, v, CUTS[name], None), rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(N, S), (B, 1, S), (B, 1, 1, S), (1, H, N, S), (B, H, N, S)], ids=str)
def test_a_mask_of_the_call_stays(shape: tuple[int, ...]) -> None:
    q, k, v = tensors()
    mask = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask.view(-1)[::7] = float("-inf")
    for removals in CUTS.values():
        found = groups(tuple(removals), N, H, S)
        out = attend_groups(found, lambda q, k, v, m: call(q, k, v, m if m.ndim != 3 else m[:, None]), q, k, v, mask)
        wide = mask[:, None] if mask.ndim == 3 else mask
        assert torch.allclose(out, one_by_one(q, k, v, removals, wide), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", CUTS)
def test_cut_keys_have_no_way_into_the_result(name: str) -> None:
    """To the last bit: whatever they are, NaN as well, the queries that lost them give the same."""
    q, k, v = tensors(torch.float32)
    found = groups(tuple(CUTS[name]), N, H, S)
    before = attend_groups(found, call, q, k, v, None)
    for removal in CUTS[name]:
        other_k, other_v = k.clone(), v.clone()
        other_k[:, :, removal.keys], other_v[:, :, removal.keys] = float("nan"), float("nan")
        after = attend_groups(found, call, q, other_k, other_v, None)
        rows = slice(None) if removal.rows is None else removal.rows
        for head in removal.heads or range(H):
            assert torch.equal(after[:, head, rows], before[:, head, rows])
        if removal.rows is not None or removal.heads is not None:
            assert after.isnan().any()


@pytest.mark.parametrize("name", CUTS)
def test_the_others_keep_what_they_had(name: str) -> None:
    q, k, v = tensors(torch.float32)
    out, whole = attend_groups(groups(tuple(CUTS[name]), N, H, S), call, q, k, v, None), call(q, k, v, None)
    touched = torch.zeros(H, N, dtype=torch.bool)
    for removal in CUTS[name]:
        for head in removal.heads or range(H):
            touched[head, slice(None) if removal.rows is None else removal.rows] = True
    same = (out == whole).all(-1).all(0)
    assert not same[touched].any()
    assert torch.allclose(out[:, ~touched], whole[:, ~touched], rtol=0, atol=1e-6)


def test_nothing_cut_changes_no_bit() -> None:
    q, k, v = tensors(torch.float32)
    assert torch.equal(attend_groups(groups((), N, H, S), call, q, k, v, None), call(q, k, v, None))


def test_where_nothing_is_left() -> None:
    q, k, v = tensors()
    rows = groups((Removal(torch.arange(S), torch.tensor([1, 2])),), N, H, S)
    with pytest.raises(LayoutError, match="without any key"):
        attend_groups(rows, call, q, k, v, None)
    out = attend_groups(rows, call, q, k, v, None, absent=True)
    assert not out[:, :, 1:3].any()
    assert torch.equal(out[:, :, 3:], call(q[:, :, 3:], k, v, None))
    whole = groups((Removal(torch.arange(S)),), N, H, S)
    assert not attend_groups(whole, call, q, k, v, None, absent=True).any()
    spared = groups((Removal(torch.arange(4), torch.tensor([0])),), N, H, 4, spare=S - 4)
    out = attend_groups(spared, call, q, k, v, None)
    assert torch.equal(out[:, :, :1], call(q[:, :, :1], k[:, :, 4:], v[:, :, 4:], None))
    assert torch.equal(out[:, :, 1:], call(q[:, :, 1:], k[:, :, :4], v[:, :, :4], None))
