"""Keys of another run in place of some: against float64 query by query, and what is not named stays to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from i2am.errors import LayoutError
from i2am.interventions.removal import Removal
from i2am.interventions.substitute import attend_substituted

B, H, N, S, D = 2, 4, 7, 9, 5


def tensors(heads: int = H, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    source = torch.Generator().manual_seed(5)
    q = torch.randn(B, H, N, D, generator=source, dtype=torch.float64)
    rest = (torch.randn(B, heads, S, D, generator=source, dtype=torch.float64) for _ in range(4))
    return tuple(t.to(dtype) for t in (q, *rest))


def call(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=k.shape[1] != q.shape[1])


def one_by_one(removal: Removal, given: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
    """Each image, head and query by itself."""
    q, *rest = given
    k, v, other_k, other_v = (t.repeat_interleave(H // t.shape[1], 1) for t in rest)
    added = torch.zeros(B, H, N, S, dtype=q.dtype) if mask is None else mask.expand(B, H, N, S)
    out = torch.zeros_like(q)
    for image in range(B):
        for head in range(H):
            for row in range(N):
                keys, values = k[image, head].clone(), v[image, head].clone()
                named = removal.rows is None or row in removal.rows.tolist()
                if named and (removal.heads is None or head in removal.heads):
                    for key in removal.keys.tolist():
                        keys[key], values[key] = other_k[image, head, key], other_v[image, head, key]
                logits = keys @ q[image, head, row] / D**0.5 + added[image, head, row]
                out[image, head, row] = logits.softmax(0) @ values
    return out


REMOVALS = {
    "all": Removal(torch.arange(S)),
    "scattered keys": Removal(torch.tensor([0, 3, 8])),
    "rows": Removal(torch.tensor([2, 3, 4]), torch.tensor([0, 2, 6])),
    "heads": Removal(torch.tensor([1, 5]), None, (0, 3)),
    "heads and rows": Removal(torch.tensor([1, 5]), torch.tensor([1, 2]), (2,)),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("heads", [H, 2, 1], ids=["own keys", "grouped", "one head of keys"])
@pytest.mark.parametrize("name", REMOVALS)
def test_it_is_the_softmax_over_the_mixed_keys(name: str, heads: int, masked: bool) -> None:
    given, removal = tensors(heads), REMOVALS[name]
    mask = torch.randn(B, 1, N, S, generator=torch.Generator().manual_seed(1), dtype=torch.float64) if masked else None
    found = attend_substituted(removal, call, *given, mask)
    assert torch.allclose(found, one_by_one(removal, given, mask), rtol=0, atol=1e-13)


def test_own_keys_in_their_own_place_and_others_elsewhere_change_no_bit() -> None:
    q, k, v, other_k, other_v = tensors(dtype=torch.float32)
    plain = call(q, k, v, None)
    assert torch.equal(attend_substituted(REMOVALS["all"], call, q, k, v, k, v), plain)
    found = attend_substituted(REMOVALS["rows"], call, q, k, v, other_k, other_v)
    untouched = [row for row in range(N) if row not in (0, 2, 6)]
    assert torch.equal(found[:, :, untouched], plain[:, :, untouched])
    assert not torch.equal(found, plain)
    assert not torch.equal(attend_substituted(REMOVALS["heads"], call, q, k, v, other_k, other_v)[:, 0], plain[:, 0])


def test_what_was_replaced_has_no_way_into_the_result() -> None:
    q, k, v, other_k, other_v = tensors()
    keys = REMOVALS["scattered keys"].keys
    spoilt_k, spoilt_v = k.clone(), v.clone()
    spoilt_k[:, :, keys] = spoilt_v[:, :, keys] = float("nan")
    found = [
        attend_substituted(REMOVALS["scattered keys"], call, q, *own, other_k, other_v)
        for own in ((k, v), (spoilt_k, spoilt_v))
    ]
    assert torch.equal(found[0], found[1])


def test_one_donor_serves_a_batch() -> None:
    q, k, v, other_k, other_v = tensors()
    one = attend_substituted(REMOVALS["all"], call, q, k, v, other_k[:1], other_v[:1])
    assert torch.equal(one, call(q, other_k[:1].expand_as(k), other_v[:1].expand_as(v), None))


def test_keys_of_other_shapes_and_places_are_refused() -> None:
    q, k, v, other_k, other_v = tensors()
    with pytest.raises(LayoutError, match=r"stand in are \(2, 4, 8, 5\), .* of the same sizes"):
        attend_substituted(REMOVALS["all"], call, q, k, v, other_k[:, :, 1:], other_v[:, :, 1:])
    with pytest.raises(LayoutError, match="key 9 of head 0 is to be replaced, but the call has 9 keys and 4 heads"):
        attend_substituted(Removal(torch.tensor([9])), call, q, k, v, other_k, other_v)
    with pytest.raises(LayoutError, match="of head 4 is to be replaced"):
        attend_substituted(Removal(torch.tensor([1]), None, (4,)), call, q, k, v, other_k, other_v)
