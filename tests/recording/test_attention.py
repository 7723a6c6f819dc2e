"""The reduction of one attention call, i2am/attention.py, against the plain float64 statement of its equations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import statement
import torch
from attention_call import BLIND_TO_A_COMMON_KEY, POSITIVE, TINY, Call, assert_equals_statement, call, calls, close, few
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from i2am.errors import I2AMError, LayoutError
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.recording import reduce as attention
from i2am.recording.reduce import reduce_attention

# ---------------------------------------------------------------------------------------- the statement itself


def test_the_statement_says_what_the_equations_say() -> None:
    one = call(TokenGrid(2, 3, 1))
    block = statement.logits(one.q, one.k, one.scale)
    a_r = torch.softmax(block, dim=-1)
    close(statement.real_attention(block), a_r, 1e-12)
    close(statement.compared_attention(block), torch.softmax(block, dim=-2), 1e-12)
    close(statement.balanced_attention(block), a_r / a_r.sum(-2, keepdim=True), 1e-12)


# ------------------------------------------------------------------------------------------- equality with it


@few
@given(one=calls(), chunk_bytes=st.sampled_from([1, 300, 1 << 20]))
def test_every_map_equals_the_statement(one: Call, chunk_bytes: int) -> None:
    assert_equals_statement(one, chunk_bytes=chunk_bytes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_reduced_in_fp32(dtype: torch.dtype) -> None:
    one = call(TokenGrid(3, 5, 1), n=16, d=16)
    assert one.v is not None
    one = replace(one, q=one.q.to(dtype), k=one.k.to(dtype), v=one.v.to(dtype))
    assert_equals_statement(one, 2e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_does_not_reach_the_reduction(dtype: torch.dtype, masked: bool) -> None:
    one = call(TokenGrid(3, 5, 1), n=16, d=16)
    assert one.v is not None
    one = replace(one, q=one.q.to(dtype), k=one.k.to(dtype), v=one.v.to(dtype))
    if masked:
        one = replace(one, mask=torch.linspace(-2, 0, one.k.shape[2]).expand(1, 1, 1, -1))
    with torch.autocast("cpu", dtype=dtype):
        assert (one.q @ one.k.transpose(2, 3)).dtype == dtype
        assert_equals_statement(one, 2e-5)


@pytest.mark.parametrize("seed", range(3))
def test_integer_logits_up_to_ten_thousand(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    q = torch.randint(-100, 101, (1, 2, 5, 1), generator=generator).float()
    k = torch.randint(-100, 101, (1, 2, 7, 1), generator=generator).float()
    k[0, 0, :2] = torch.tensor([[100.0], [-100.0]])
    q[0, 0, :3] = torch.tensor([[100.0], [-100.0], [99.0]])
    one = Call(q, k, k, Layout.of(TokenGrid(2, 3, 1)), 1.0, 5, None, torch.ones(1, 5))
    assert one.largest_logit == 1e4
    # fp32 keeps a sum of magnitude 1e4 to 5e-4.
    assert_equals_statement(one, 3e-3)
    mask = torch.zeros(1, 1, 5, 7)
    mask[..., 3] = -torch.inf
    mask[..., 2, :] = -torch.inf
    assert_equals_statement(replace(one, mask=mask), 3e-3)


@pytest.mark.parametrize("height", [20.0, 35.0, 45.0, 59.0, 80.0])
def test_a_token_that_nobody_looks_at_keeps_its_shape(height: float) -> None:
    """The product of an unlikely token and a likely neighbour leaves fp32's range before either does alone."""
    q = torch.tensor([1.0, 0.9, 0.98, 0.95]).reshape(1, 1, 4, 1)
    k = torch.tensor([height, -height, -height * 0.9]).reshape(1, 1, 3, 1)
    one = Call(q, k, None, Layout.of(TokenGrid(1, 3)), 1.0, 4, None, torch.ones(1, 4))
    assert_equals_statement(one)


@few
@given(one=calls())
def test_every_map_equals_the_statement_where_the_output_is_given(one: Call) -> None:
    assert_equals_statement(one, output=_output(one))


def _output(one: Call) -> Tensor | None:
    """What the call gives, from float64; rows that may look nowhere are NaN, as PyTorch has them."""
    if one.v is None:
        return None
    groups = one.q.shape[1] // one.k.shape[1]
    k, v = (t.double().repeat_interleave(groups, 1) for t in (one.k, one.v))
    block = one.q.double() @ k.transpose(2, 3) * one.scale
    if one.mask is not None:
        block = block.masked_fill(~one.mask, -torch.inf) if one.mask.dtype == torch.bool else block + one.mask
    return (block.softmax(-1) @ v).float()


@pytest.mark.parametrize(("grids", "keys", "used"), [(1, None, True), (2, None, False), (1, 20, False)])
def test_only_a_reference_that_has_all_keys_takes_its_norm_from_the_output(grids: int, keys: int | None, used: bool) -> None:
    one = call(*[TokenGrid(3, 4, 1)] * grids)
    if keys is not None:
        k, v = (torch.randn(2, 3, keys, 4) for _ in range(2))
        one = replace(one, k=k, v=v, layout=Layout(one.layout.references, keys))
    twice = 2 * _output(one)  # type: ignore[operator]
    plain, given_ = one.reduced()[0], one.reduced(output=twice)[0]
    assert plain.norm is not None
    assert given_.norm is not None
    close(given_.norm, plain.norm * (2 if used else 1), 1e-5)


def test_both_ways_of_reducing_agree() -> None:
    one = call(TokenGrid(3, 4, 1), TokenGrid(2, 2), n=20)
    for plain, masked in zip(one.reduced(), replace(one, mask=torch.zeros(1)).reduced(), strict=True):
        for name in (*POSITIVE, "entropy", "norm"):
            close(getattr(masked, name), getattr(plain, name), 1e-5, 1e-5 if name == "entropy" else TINY, name)


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
def test_heads_outside_the_range_of_products_are_taken_in_logs(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    in_logs = []
    real = attention.in_logs
    monkeypatch.setattr(attention, "in_logs", lambda q, *rest: (in_logs.append(len(q)), real(q, *rest)))
    wide = call(TokenGrid(3, 4, 1), TokenGrid(2, 2), images=1, n=20, spread=16.0)
    assert wide.largest_logit > 2 * attention.SAFE_LOGIT
    wide.reduced(chunk_bytes=chunk_bytes)
    assert in_logs == []  # far above the bound, and still one matrix of exponentials
    lone_row = replace(wide, q=wide.q.clone(), k=wide.k.abs())
    lone_row.q[:, 1] = lone_row.q[:, 1].abs()
    lone_row.q[:, 1, 7] = -100.0
    assert_equals_statement(lone_row, chunk_bytes=chunk_bytes)
    assert in_logs
    lone_token = replace(wide, q=wide.q.abs(), k=wide.k.clone())
    lone_token.k[:, 2, 5] = -10.0
    count = len(in_logs)
    assert_equals_statement(lone_token, chunk_bytes=chunk_bytes)
    assert len(in_logs) > count


@few
@given(one=calls(spreads=(0.3, 2.0)), chunk_bytes=st.integers(1, 600))
def test_chunks_change_nothing(one: Call, chunk_bytes: int) -> None:
    relative = 1e-6 if one.mask is None else 1e-6 * (1 + one.largest_logit)  # masked calls sum logarithms
    for many, single in zip(one.reduced(chunk_bytes=chunk_bytes), one.reduced(chunk_bytes=1 << 30), strict=True):
        for name in (*POSITIVE, "entropy", "norm"):
            if getattr(single, name) is not None:
                close(getattr(many, name), getattr(single, name), relative, relative, name)


# ------------------------------------------------------------------------------------------------------ masks


@pytest.mark.parametrize("kind", ["bool", "additive"])
def test_a_query_that_may_look_nowhere_and_a_token_that_nobody_may_look_at(kind: str) -> None:
    one = call(TokenGrid(2, 3, 1))
    allowed = torch.ones(1, 1, 6, 7, dtype=torch.bool)
    allowed[..., 2, :] = False
    allowed[..., 4] = False
    allowed[..., 0, 1:] = False  # looks at the leading token alone
    mask = allowed if kind == "bool" else torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf)
    one = replace(one, mask=mask)
    assert_equals_statement(one)
    assert_equals_statement(one, chunk_bytes=1)
    maps = one.reduced(pairwise="heads")[0]
    assert maps.pairwise is not None
    assert not maps.mass[:, :, 2].any()
    assert not maps.r2g[:, :, 2].any()
    assert not maps.pairwise[:, :, 2].any()
    assert not maps.g2r[..., 4].any()
    assert not maps.entropy[:, :, 0].any()
    close(maps.mass[:, :, 0], torch.ones(2, 3), 1e-6)


def test_masks_broadcast_from_any_shape() -> None:
    one = call(TokenGrid(2, 3), images=2, heads=2)
    allowed = torch.tensor([True, False, True, True, False, True])
    full = replace(one, mask=allowed.expand(2, 2, 6, 6)).reduced()[0]
    for mask in (allowed, allowed[None, None, None], allowed.expand(6, 6), allowed.expand(2, 1, 1, 6)):
        assert torch.equal(replace(one, mask=mask).reduced()[0].g2r, full.g2r)


# ---------------------------------------------------------------------------------- what changes and what not


@few
@given(one=calls(spreads=(0.3, 2.0)), seed=st.integers(0, 1000))
def test_a_vector_added_to_every_key_leaves_the_real_attention_alone(one: Call, seed: int) -> None:
    u = torch.randn(one.k.shape[-1], generator=torch.Generator().manual_seed(seed))
    one = replace(one, q=one.q.float(), k=one.k.float(), v=None)
    moved = replace(one, k=one.k + u)
    before, after = one.stated(), moved.stated()
    relative = 1e-5 + 4e-6 * max(one.largest_logit, moved.largest_logit)
    for maps, shifted, a, b in zip(one.reduced(pairwise="heads"), moved.reduced(pairwise="heads"), before, after, strict=True):
        for name in BLIND_TO_A_COMMON_KEY:
            if name in a:
                close(b[name], a[name], 1e-5, 1e-5, f"the statement's {name}")
                close(getattr(shifted, name), getattr(maps, name), relative, 5 * relative, name)


def test_a_vector_added_to_every_key_changes_the_comparison_of_queries() -> None:
    one = call(TokenGrid(3, 4, 1), n=12)
    moved = replace(one, k=one.k + torch.tensor([2.0, 0.0, 0.0, 0.0]))
    before, after = one.reduced()[0], moved.reduced()[0]
    for name in ("r2g", "r2g_placed"):
        change = (getattr(after, name) - getattr(before, name)).abs().amax(-1) / getattr(before, name).amax(-1)
        assert (change > 0.2).all(), name
    close(after.balanced, before.balanced, 1e-4)


# --------------------------------------------------------------------------------------------- sums and means


@few
@given(one=calls(masked=False))
def test_the_mean_of_all_rows_is_the_map_on_the_reference(one: Call) -> None:
    for maps, averaged in zip(one.reduced(pairwise="heads"), one.reduced(pairwise="mean"), strict=True):
        assert maps.pairwise is not None
        assert averaged.pairwise is not None
        close(maps.pairwise.double().mean(2), maps.g2r, 1e-6, 1e-6)
        close(averaged.pairwise.double()[:, 0].mean(1), maps.g2r.double().mean(1), 1e-6, 1e-6)
        close(maps.pairwise.double().sum(-1), maps.mass, 1e-6, 1e-6)
        if one.weights is not None:
            w = (one.weights / one.weights.sum(-1, keepdim=True)).double()[:, None, :, None]
            assert maps.g2r_masked is not None
            close((maps.pairwise * w).sum(2), maps.g2r_masked, 1e-6, 1e-6)


@few
@given(one=calls(masked=False))
def test_each_map_adds_up_to_one_whole(one: Call) -> None:
    relative = 3e-6 + 2e-6 * one.largest_logit
    total = torch.zeros(())
    for maps, reference in zip(one.reduced(), one.layout.references, strict=True):
        for name in ("r2g", "balanced"):  # a mean of columns that each sum to 1
            close(getattr(maps, name).sum(-1), torch.ones(maps.mass.shape[:2]), relative, what=name)
            close(getattr(maps, f"{name}_placed").sum(-1), torch.ones(maps.mass.shape[:2]), relative, what=name)
        close(maps.g2r.sum(-1), maps.mass.mean(-1), relative)
        assert (maps.entropy <= torch.tensor(float(reference.grid.placed)).log() + 1e-4 * (1 + one.largest_logit)).all()
        total = total + maps.mass
    others = one.layout.key_count - sum(r.grid.tokens for r in one.layout.references)
    if others:
        assert (total < 1 + relative).all()
    else:
        close(total, torch.ones_like(total), relative)


def test_a_reference_that_is_all_keys_gets_everything() -> None:
    one = call(TokenGrid(3, 4, 1), n=10)
    maps = one.reduced()[0]
    close(maps.g2r.sum(-1), torch.ones(2, 3), 1e-6)
    close(maps.mass, torch.ones(2, 3, 10), 1e-6)


def test_one_token_is_certain_whatever_q_and_k_are() -> None:
    one = call(TokenGrid(1, 1), n=6)
    maps = one.reduced(pairwise="heads")[0]
    assert_equals_statement(one)
    for seen in (maps.mass, maps.g2r, maps.peak_value, maps.pairwise):
        assert seen is not None
        close(seen, torch.ones_like(seen), 1e-6)
    close(maps.balanced, torch.full((2, 3, 6), 1 / 6), 1e-6)
    assert maps.entropy.abs().max() < 1e-5
    assert not maps.peak_index.any()
    logit = (one.q * one.k).sum(-1) * one.scale
    close(maps.r2g, torch.softmax(logit, -1), 1e-5)  # the paper's map is still defined


def test_one_token_beside_text_keeps_its_mass() -> None:
    one = call(TokenGrid(1, 1), TokenGrid(2, 3), n=6)
    one = replace(one, layout=Layout((Reference(TokenGrid(1, 1), 2),), keys=7))
    assert_equals_statement(one)
    assert one.reduced()[0].mass.std() > 0.01


# ------------------------------------------------------------------------------- references, queries and heads


def test_each_of_several_references_is_reduced_as_if_alone() -> None:
    one = call(TokenGrid(2, 3, 1), TokenGrid(1, 4), TokenGrid(2, 2, 2), n=8)
    for together, reference in zip(one.reduced(), one.layout.references, strict=True):
        alone = replace(one, layout=Layout((reference,), keys=one.layout.key_count)).reduced()[0]
        for name in (*POSITIVE, "entropy", "norm"):
            close(getattr(together, name), getattr(alone, name), 1e-6, what=name)


def test_only_the_generated_queries_count() -> None:
    one = call(TokenGrid(2, 3), n=9)
    inner = replace(one, layout=replace(one.layout, query_start=2), queries=5, weights=None)
    alone = replace(one, q=one.q[:, :, 2:7], queries=5, weights=None)
    for name in ("r2g", "balanced", "mass", "g2r", "norm", "peak_index"):
        assert torch.equal(getattr(inner.reduced()[0], name), getattr(alone.reduced()[0], name)), name
    open_end = reduce_attention(one.q, one.k, layout=inner.layout, scale=one.scale)[0]
    assert open_end.r2g.shape == (2, 3, 7)


def test_images_and_heads_do_not_touch_each_other() -> None:
    one = call(TokenGrid(2, 3, 1), images=3, heads=4, spread=5.0)
    whole = one.reduced(pairwise="heads")[0]
    for b in range(3):
        for h in range(4):
            assert one.v is not None
            q, k, v = (t[b : b + 1, h : h + 1] for t in (one.q, one.k, one.v))
            alone = replace(one, q=q, k=k, v=v).reduced(pairwise="heads")[0]
            for name in (*POSITIVE, "entropy", "norm", "pairwise"):
                close(getattr(whole, name)[b, h], getattr(alone, name)[0, 0], 2e-6, 1e-6, name)


# ---------------------------------------------------------------------------------------- memory and refusals


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor) and all(stride > 0 for stride in tensor.stride()):
                self.bytes = max(self.bytes, tensor.numel() * tensor.element_size())
        return out


@pytest.mark.parametrize("masked", [False, True])
def test_the_whole_block_never_exists(masked: bool) -> None:
    one = call(TokenGrid(16, 16, 1), images=1, heads=4, n=60, d=4)
    if masked:
        one = replace(one, mask=torch.zeros(1, 1, 1, 257))
    block = 4 * 60 * 257 * 4
    chunk = block // 5
    with Largest() as largest:
        one.reduced(chunk_bytes=chunk)
    inputs = 4 * 257 * 4 * (4 + 4 + 2)
    assert largest.bytes <= max(chunk, inputs), (largest.bytes, block)


def test_nothing_is_kept_for_gradients() -> None:
    one = call(TokenGrid(2, 3))
    one = replace(one, q=one.q.requires_grad_(), k=one.k.requires_grad_())
    maps = one.reduced(pairwise="mean")[0]
    for name in (*POSITIVE, "entropy", "norm", "pairwise"):
        assert not getattr(maps, name).requires_grad, name


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_broken_inputs_are_not_shown_as_nothing(broken: float) -> None:
    one = call(TokenGrid(2, 3))
    q = one.q.clone()
    q[0, 0, 0, 0] = broken
    try:
        maps = replace(one, q=q).reduced()[0]
    except I2AMError:
        return
    assert maps.mass[0, 0, 0].isnan()
    assert maps.g2r[0, 0].isnan().all()


def test_inputs_stay_as_they_are() -> None:
    one = call(TokenGrid(2, 3), n=5)
    assert one.v is not None
    assert one.weights is not None
    one = replace(one, mask=torch.randn(1, 1, 5, 6))
    held = [one.q, one.k, one.v, one.mask, one.weights]
    before = [t.clone() for t in held if t is not None]
    one.reduced(pairwise="heads")
    replace(one, mask=None).reduced(pairwise="mean")
    for then, now in zip(before, held, strict=True):
        assert now is not None
        assert torch.equal(then, now)


def test_what_does_not_fit_the_layout_is_refused() -> None:
    one = call(TokenGrid(2, 3, 1))
    with pytest.raises(LayoutError, match=r"7 keys.*6"):
        reduce_attention(one.q, one.k, layout=Layout.of(TokenGrid(2, 3)), scale=1.0)
    with pytest.raises(LayoutError, match="generated tokens"):
        reduce_attention(one.q, one.k, layout=one.layout, scale=1.0, queries=7)
    with pytest.raises(LayoutError, match="generated tokens"):
        reduce_attention(one.q, one.k, layout=replace(one.layout, query_start=6), scale=1.0)
    with pytest.raises(LayoutError, match="heads"):
        reduce_attention(one.q, one.k[:, :2], layout=one.layout, scale=1.0)
    with pytest.raises(ValueError, match="pairwise"):
        reduce_attention(one.q, one.k, layout=one.layout, scale=1.0, pairwise="all")
