"""Calls at the edges of what numbers can hold: masks that hide by a huge number, tiny and large sums, NaN."""

from __future__ import annotations

import math

import pytest
import statement
import torch
from torch import Tensor

from i2am.errors import RecordingError
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.recording.call_maps import CallMaps
from i2am.recording.reduce import reduce_attention

HIDING = [-1e9, torch.finfo(torch.float32).min, torch.finfo(torch.bfloat16).min, -1e4]


def reduced(q: Tensor, k: Tensor, v: Tensor | None = None, mask: Tensor | None = None) -> CallMaps:
    """One head's maps: q (N, d), k and v (S, d), all keys one reference in a row."""
    given = [None if t is None else t[None, None] for t in (q, k, v)]
    return reduce_attention(*given, layout=Layout.of(TokenGrid(1, len(k))), scale=1.0, mask=mask)[0]  # type: ignore[misc]


def flat(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1)


@pytest.mark.parametrize("low", HIDING)
def test_a_key_that_a_finite_mask_hides_is_shared_evenly_as_its_softmax_says(low: float) -> None:
    maps = reduced(torch.zeros(4, 1), torch.zeros(3, 1), mask=torch.tensor([0.0, 0.0, low]))
    torch.testing.assert_close(maps.r2g[0, 0], torch.full((4,), 0.25))
    torch.testing.assert_close(maps.balanced[0, 0], torch.full((4,), 0.25))
    torch.testing.assert_close(maps.g2r[0, 0], torch.tensor([0.5, 0.5, 0.0]))


@pytest.mark.parametrize("low", HIDING)
def test_a_query_that_a_finite_mask_hides_from_all_keys_spends_1(low: float) -> None:
    mask = torch.zeros(4, 3)
    mask[1] = low
    maps = reduced(torch.zeros(4, 1), torch.zeros(3, 1), mask=mask)
    torch.testing.assert_close(maps.mass[0, 0], torch.ones(4))
    torch.testing.assert_close(maps.g2r.sum(-1)[0, 0], torch.tensor(1.0))


@pytest.mark.parametrize("low", HIDING)
@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
def test_every_map_under_a_finite_mask_equals_float64(low: float, chunk_bytes: int) -> None:
    random = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, 3, count, 4, generator=random) for count in (10, 7, 7))
    mask = torch.where(torch.rand(2, 1, 10, 7, generator=random) < 0.4, low, 0.0)
    mask[0, :, 3] = low  # a row and a column hidden altogether
    mask[1, :, :, 2] = low
    grid = TokenGrid(2, 3, leading=1)
    found = reduce_attention(q, k, v, layout=Layout.of(grid), scale=0.5, mask=mask, chunk_bytes=chunk_bytes)[0]
    stated = statement.call_maps(q, k, v, (0, 1, 6), scale=0.5, mask=mask)
    for kind in ("mass", "mass_placed", "g2r", "r2g", "balanced", "norm", "entropy", "peak_value"):
        torch.testing.assert_close(getattr(found, kind).double(), stated[kind], rtol=2e-4, atol=1e-6, msg=kind)


def test_norms_of_large_and_of_tiny_sums() -> None:
    large = reduced(flat(37.0), flat(1.0), torch.tensor([[60.0, 60.0]]))
    torch.testing.assert_close(large.norm, torch.tensor([[[60 * math.sqrt(2)]]]))
    tiny = reduced(flat(1.0, -1.0), flat(48.0, 48.0), torch.ones(2, 2))
    torch.testing.assert_close(tiny.norm, torch.full((1, 1, 2), math.sqrt(2)))
    wide = reduced(flat(1.0), flat(1.0), torch.full((1, 4), 3e37))
    torch.testing.assert_close(wide.norm, torch.full((1, 1, 1), 6e37))


@pytest.mark.parametrize("small", [1e-25, 1e-30, 0.0])
def test_queries_and_keys_whose_squares_leave_fp32_but_whose_products_do_not(small: float) -> None:
    maps = reduced(flat(small), flat(1e25, 0.0))
    weight = 1 / (1 + math.exp(-small * 1e25))
    torch.testing.assert_close(maps.g2r[0, 0], torch.tensor([weight, 1 - weight]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["queries or keys", "values", "mask"])
def test_what_is_no_number_is_said(bad: float, where: str) -> None:
    q, k, v, mask = flat(1.0, 2.0), flat(1.0, 2.0), flat(1.0, 2.0), torch.zeros(2, 2)
    {"queries or keys": k, "values": v, "mask": mask}[where][1, 0] = bad
    with pytest.raises(RecordingError, match=f"a call's {where} hold NaN or infinity"):
        reduced(q, k, v, mask)


def test_a_mask_may_hide_by_minus_infinity() -> None:
    maps = reduced(flat(1.0, 2.0), flat(1.0, 2.0), mask=torch.tensor([0.0, float("-inf")]))
    torch.testing.assert_close(maps.g2r[0, 0], torch.tensor([1.0, 0.0]))


def test_a_token_that_nothing_looks_at_still_splits_its_vote() -> None:
    """Its weights are about 1e-41, which fp32 still holds, but not one over them."""
    q, k = torch.tensor([[[[18.2140, -35.4219, 58.6202]]]]), torch.eye(3)[None, None]
    layout = Layout((Reference(TokenGrid(1, 1, leading=1)),), keys=3)
    maps = reduce_attention(q, k, layout=layout, scale=1.0)[0]
    torch.testing.assert_close(maps.balanced, torch.ones(1, 1, 1))
