"""The losses on attention, i2am/losses.py: cases counted by hand, plain loops, gradients, invariance, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import statement
import torch
from attention_call import few
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from i2am.errors import I2AMError, LayoutError, MaskError
from i2am.imacs import LAMBDA, _eq18
from i2am.layout import Layout, Reference, TokenGrid
from i2am.losses import attention_probabilities, attention_tv, attribution_alignment

ALL = torch.ones(1, 4, 4)
LEFT = torch.tensor([[[1.0, 1.0, 0.0, 0.0]] * 4])  # the left half of a picture of 4 x 4
GRID, REFERENCE = (3, 4), Reference(TokenGrid(2, 5, 1), 3)  # 3 other keys, 1 leading, 10 placed, 2 other keys
KEYS, OBJECT = 16, slice(4, 14)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def probabilities(*shape: int, seed: int = 0, sharp: float = 4.0) -> Tensor:
    return (sharp * rand(*shape, seed=seed)).softmax(-1)


def looking_at(tokens: list[int], keys: int) -> Tensor:
    """(1, 1, N, keys): every query spends all on its one token."""
    return torch.eye(keys, dtype=torch.float64)[torch.tensor(tokens)][None, None]


def places(reference: Reference) -> Reference:
    return Reference(TokenGrid(reference.grid.rows, reference.grid.columns))


# ------------------------------------------------------------------------------------------------ plain loops


def tv_by_loop(a: Tensor, grid: tuple[int, int], reference: Reference, mask: Tensor) -> float:
    """Of one head of one image, (N, S)."""
    rows, columns = reference.grid.rows, reference.grid.columns
    area = statement.cell_areas(mask, grid).tolist()
    expected = []
    for query in range(grid[0] * grid[1]):
        mass = x = y = 0.0
        for j in range(rows * columns):
            share = float(a[query, reference.start + reference.grid.leading + j])
            mass += share
            x += share * (j % columns + 0.5) / columns
            y += share * (j // columns + 0.5) / rows
        expected.append((x / mass, y / mass))
    total = pairs = 0.0
    for row in range(grid[0]):
        for column in range(grid[1]):
            for down, right in ((0, 1), (1, 0)):
                if row + down < grid[0] and column + right < grid[1]:
                    one, two = row * grid[1] + column, (row + down) * grid[1] + column + right
                    distance = abs(expected[one][0] - expected[two][0]) + abs(expected[one][1] - expected[two][1])
                    total += area[one] * area[two] * distance
                    pairs += area[one] * area[two]
    return total / pairs if pairs else 0.0


def alignment_by_loop(
    a: Tensor, grid: tuple[int, int], reference: Reference, mask: Tensor, object_: Tensor | None, weight: float
) -> float:
    """Of one image, (H, N, S)."""
    area = statement.cell_areas(mask, grid).tolist()
    shape = (reference.grid.rows, reference.grid.columns)
    cells = [1.0] * reference.grid.placed if object_ is None else statement.cell_areas(object_, shape).tolist()
    inside = outside = 0.0
    for query, share in enumerate(area):
        for head in a:
            for j, o in enumerate(cells):
                spent = float(head[query, reference.start + reference.grid.leading + j]) * o / len(a)
                inside += share * spent / sum(area)
                outside += (1 - share) * spent / sum(1 - x for x in area)
    return 1 - (inside - weight * outside)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Calls with leading and other keys, on any two grids, with soft or hard masks of any size."""
    small = st.integers(1, 4)
    grid = (draw(small), draw(st.integers(2, 4)))
    tokens = TokenGrid(draw(small), draw(st.integers(2, 4)), draw(st.integers(0, 2)))
    reference = Reference(tokens, draw(st.integers(0, 2)))
    images, heads, seed = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(0, 999))
    keys = reference.stop + draw(st.integers(1, 2))
    masks = [rand(draw(st.sampled_from([1, images])), draw(st.integers(2, 9)), draw(small) + 1, seed=seed + i) for i in (1, 2)]
    if draw(st.booleans()):
        masks = [m.round() for m in masks]
    for mask in masks:  # never empty, never all
        mask[:, 0, 0], mask[:, 1, 1] = 1, 0
    weights = probabilities(images, heads, grid[0] * grid[1], keys, seed=seed, sharp=draw(st.sampled_from([0.0, 4.0, 40.0])))
    return {"weights": weights, "grid": grid, "reference": reference, "masks": masks}


def of_image(masks: Tensor, image: int) -> Tensor:
    return masks[image if len(masks) > 1 else 0]


@few
@given(case=cases())
def test_tv_equals_the_loop_and_keeps_its_range(case: dict[str, Any]) -> None:
    a, grid, reference, (mask, _) = case["weights"], case["grid"], case["reference"], case["masks"]
    merged = attention_tv(a, grid, reference, mask, reduction="none")
    apart = attention_tv(a, grid, reference, mask, reduction="none", per_head=True)
    for i, image in enumerate(a):
        one = of_image(mask, i)
        assert float(merged[i]) == pytest.approx(tv_by_loop(image.mean(0), grid, reference, one), rel=1e-5, abs=1e-9)
        heads = [tv_by_loop(head, grid, reference, one) for head in image]
        assert float(apart[i]) == pytest.approx(sum(heads) / len(heads), rel=1e-5, abs=1e-9)
    columns, rows = reference.grid.columns, reference.grid.rows
    for got in (merged, apart):
        assert float(got.min()) >= 0
        assert float(got.max()) <= 2 - 1 / columns - 1 / rows + 1e-9
    assert float(attention_tv(a, grid, reference, mask)) == pytest.approx(float(merged.mean()))


@few
@given(case=cases(), weight=st.sampled_from([0.0, 0.5, LAMBDA]), masked=st.booleans())
def test_alignment_equals_the_loop_and_keeps_its_range(case: dict[str, Any], weight: float, masked: bool) -> None:
    a, grid, reference, (mask, object_) = case["weights"], case["grid"], case["reference"], case["masks"]
    given_ = object_ if masked else None
    got = attribution_alignment(a, grid, reference, mask, given_, outside_weight=weight, reduction="none")
    for i, image in enumerate(a):
        stated = alignment_by_loop(image, grid, reference, of_image(mask, i), of_image(object_, i) if masked else None, weight)
        assert float(got[i]) == pytest.approx(stated, rel=1e-5)
    assert float(got.min()) >= -1e-6
    assert float(got.max()) <= 1 + weight + 1e-6
    mean = attribution_alignment(a, grid, reference, mask, given_, outside_weight=weight)
    assert float(mean) == pytest.approx(float(got.mean()))


# ---------------------------------------------------------------------------------------------- TV by hand


@pytest.mark.parametrize("n", [2, 4, 7])
def test_one_cell_for_one_cell_gives_the_grid_spacing(n: int) -> None:
    a = looking_at(list(range(n * n)), n * n)
    assert float(attention_tv(a, (n, n), Reference(TokenGrid(n, n)), ALL)) == pytest.approx(1 / n)


def test_one_cell_for_one_cell_on_a_grid_that_is_not_square() -> None:
    # 2 rows x 3 columns: 4 horizontal pairs 1/3 apart, 3 vertical ones 1/2 apart
    a = looking_at(list(range(6)), 6)
    assert float(attention_tv(a, (2, 3), Reference(TokenGrid(2, 3)), ALL)) == pytest.approx((4 / 3 + 3 / 2) / 7)


def test_unequal_grids_by_hand() -> None:
    # 1 x 3 queries look at the cells (0, 0), (0, 3) and (1, 3) of 2 x 4: 3/4 in x, then 1/2 in y
    a = looking_at([0, 3, 7], 8)
    assert float(attention_tv(a, (1, 3), Reference(TokenGrid(2, 4)), ALL)) == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_attention_that_is_the_same_for_all_queries_has_no_variation() -> None:
    row = probabilities(1, 1, 1, KEYS)
    for a in (row.expand(2, 3, 12, KEYS), torch.full((1, 2, 12, KEYS), 1 / KEYS)):
        assert float(attention_tv(a, GRID, REFERENCE, ALL)) == pytest.approx(0, abs=1e-6)


def test_other_keys_do_not_move_the_expected_place() -> None:
    placed = probabilities(1, 1, 12, 10)
    a = torch.zeros(1, 1, 12, KEYS, dtype=torch.float64)
    a[..., OBJECT] = placed * (0.1 + 0.8 * rand(1, 1, 12, 1))
    a[..., 3] = 1 - a.sum(-1)  # a leading token takes the rest
    assert float(attention_tv(a, GRID, REFERENCE, ALL)) == pytest.approx(
        float(attention_tv(placed, GRID, places(REFERENCE), ALL))
    )


def test_only_pairs_inside_the_mask_count() -> None:
    # 1 x 4 queries; of the pairs 1/4, 1/2 and 3/4 apart the left half holds the first alone
    a, reference = looking_at([0, 1, 3, 0], 4), Reference(TokenGrid(1, 4))
    assert float(attention_tv(a, (1, 4), reference, ALL)) == pytest.approx(1.5 / 3)
    assert float(attention_tv(a, (1, 4), reference, LEFT)) == pytest.approx(1 / 4)
    soft = torch.tensor([[[1.0, 0.5, 0.25, 0.0]]])  # weights 1/2, 1/8, 0
    assert float(attention_tv(a, (1, 4), reference, soft)) == pytest.approx((0.25 / 2 + 0.5 / 8) / (1 / 2 + 1 / 8))
    picture = torch.tensor([[[1.0, 1.0, 1.0, 0.0, 0.0, 0.5, 0.0, 0.0]] * 3])  # the same by area, at another size
    assert float(attention_tv(a, (1, 4), reference, picture)) == pytest.approx((0.25 / 2 + 0.5 / 8) / (1 / 2 + 1 / 8))


@pytest.mark.parametrize("mask", [torch.zeros(1, 4, 4), torch.eye(4)[None]], ids=["empty", "no two neighbours"])
def test_a_mask_without_a_pair_gives_zero_and_no_gradient(mask: Tensor) -> None:
    a = probabilities(1, 2, 16, 4).requires_grad_()
    loss = attention_tv(a, (4, 4), Reference(TokenGrid(2, 2)), mask)
    loss.backward()
    assert loss.item() == 0
    assert a.grad is not None
    assert not a.grad.any()


def test_an_image_without_a_pair_counts_as_zero() -> None:
    a = looking_at([0, 1], 2).expand(2, 1, 2, 2)
    masks = torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])
    assert attention_tv(a, (1, 2), Reference(TokenGrid(1, 2)), masks, reduction="none").tolist() == [0.5, 0]
    assert float(attention_tv(a, (1, 2), Reference(TokenGrid(1, 2)), masks)) == 0.25


def test_heads_are_averaged_first_unless_asked_otherwise() -> None:
    one, other = looking_at([0, 1], 2), looking_at([1, 0], 2)  # their mean looks at the middle throughout
    a, reference = torch.cat([one, other], 1), Reference(TokenGrid(1, 2))
    assert float(attention_tv(a, (1, 2), reference, ALL)) == pytest.approx(0)
    assert float(attention_tv(a, (1, 2), reference, ALL, per_head=True)) == pytest.approx(0.5)


def test_a_query_that_spends_nothing_on_placed_tokens_leaves_its_pairs_out() -> None:
    # keys: one leading, 1 x 4 placed; the third of 1 x 4 queries looks at the leading token alone
    a = looking_at([1, 2, 0, 4], 5).requires_grad_()
    loss = attention_tv(a, (1, 4), Reference(TokenGrid(1, 4, 1)), ALL)
    loss.backward()
    assert loss.item() == pytest.approx(1 / 4)
    assert a.grad is not None
    assert a.grad.isfinite().all()
    assert not a.grad[0, 0, 2:].any()


# --------------------------------------------------------------------------------------- alignment by hand

HALF = (1, 4), Reference(TokenGrid(1, 4, 1))  # 1 x 4 queries; one leading key and 1 x 4 placed ones


@pytest.mark.parametrize("weight", [LAMBDA, 1.0, 0.25])
def test_alignment_at_its_minimum_and_maximum(weight: float) -> None:
    for tokens, stated in {(1, 2, 0, 3): 0.0, (3, 0, 1, 2): 1 + weight, (1, 2, 2, 1): weight, (3, 4, 0, 0): 1.0}.items():
        a = looking_at(list(tokens), 5)
        assert float(attribution_alignment(a, *HALF, LEFT, LEFT, outside_weight=weight)) == pytest.approx(stated, abs=1e-6)


def test_without_a_reference_mask_all_placed_tokens_are_the_object() -> None:
    for tokens, stated in {(1, 4, 0, 0): 0.0, (1, 0, 0, 2): 1 - 0.5 + 3 * 0.5}.items():
        a = looking_at(list(tokens), 5)
        assert float(attribution_alignment(a, *HALF, LEFT)) == pytest.approx(stated)
        assert float(attribution_alignment(a, *HALF, LEFT, ALL)) == pytest.approx(stated)


def test_other_references_and_leading_tokens_are_no_object() -> None:
    a = torch.zeros(1, 1, 12, KEYS)
    a[..., [0, 3, 14]] = 1 / 3  # another key before, the leading token, another key behind
    assert float(attribution_alignment(a, GRID, REFERENCE, LEFT)) == 1


def test_fractional_masks_by_hand() -> None:
    # w = 1, 1/2, 0, 0 and o = 1, 0, 1/2, 0; spent = 1, 1/2, 1/2, 0
    mask, object_ = torch.tensor([[[1.0, 0.5, 0.0, 0.0]]]), torch.tensor([[[1.0, 0.0, 0.5, 0.0]]])
    a = looking_at([1, 3, 3, 4], 5)
    stated = 1 - (1 + 0.25) / 1.5 + 3 * (0.25 + 0.5 + 0) / 2.5
    assert float(attribution_alignment(a, *HALF, mask, object_)) == pytest.approx(stated)


def test_it_is_one_minus_eq_18_of_what_is_spent_on_the_object() -> None:
    a, mask = probabilities(1, 3, 12, KEYS), rand(1, 3, 4)
    spent = a[0, :, :, OBJECT].sum(-1).mean(0).reshape(3, 4)
    score, _, _ = _eq18(spent, mask[0], LAMBDA)
    assert float(attribution_alignment(a, GRID, REFERENCE, mask)) == pytest.approx(1 - float(score))


def test_the_reference_mask_passes_through_the_rectangle() -> None:
    # the tokens cover the right half of the reference's picture, of which the left quarter is the object
    reference = Reference(TokenGrid(1, 2, rect=(0.5, 0.0, 1.0, 1.0)))
    object_ = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
    a = looking_at([0, 1], 2)
    assert float(attribution_alignment(a, (1, 2), reference, LEFT, object_)) == pytest.approx(0)
    assert float(attribution_alignment(a.flip(-1), (1, 2), reference, LEFT, object_)) == pytest.approx(4)


def test_a_full_mask_needs_no_outside_where_lambda_is_zero() -> None:
    a = looking_at([1, 2, 0, 0], 5)
    assert float(attribution_alignment(a, *HALF, ALL, LEFT, outside_weight=0)) == pytest.approx(0.5)


def test_masks_of_each_image() -> None:
    a = looking_at([1, 2, 0, 0], 5).expand(2, 1, 4, 5)
    masks = torch.cat([LEFT, 1 - LEFT])
    assert attribution_alignment(a, *HALF, masks, reduction="none").tolist() == [0, 4]
    assert attribution_alignment(a, *HALF, LEFT, masks, reduction="none").tolist() == [0, 1]


# ---------------------------------------------------------------------------------------- gradients, invariance

Loss = Callable[[Tensor], Tensor]
SOFT, OBJECT_MASK = rand(1, 6, 5, seed=5), rand(2, 7, 9, seed=6)
LOSSES: dict[str, Loss] = {
    "tv": lambda a: attention_tv(a, GRID, REFERENCE, SOFT),
    "tv per head": lambda a: attention_tv(a, GRID, REFERENCE, SOFT, per_head=True, reduction="none"),
    "alignment": lambda a: attribution_alignment(a, GRID, REFERENCE, SOFT),
    "alignment, masked": lambda a: attribution_alignment(a, GRID, REFERENCE, SOFT, OBJECT_MASK, reduction="none"),
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


def projected(seed: int = 0) -> tuple[Tensor, Tensor]:
    """q (2, 2, 12, 3) and k (2, 1, KEYS, 3): grouped heads."""
    return 4 * rand(2, 2, 12, 3, seed=seed) - 2, 4 * rand(2, 1, KEYS, 3, seed=seed + 1) - 2


@each_loss
def test_gradients_are_those_of_finite_differences(loss: Loss) -> None:
    assert gradcheck(loss, (probabilities(2, 2, 12, KEYS).requires_grad_(),), fast_mode=True)
    q, k = projected()
    assert gradcheck(lambda q, k: loss(attention_probabilities(q, k, 0.7)), (q.requires_grad_(), k.requires_grad_()))


def test_the_gradient_of_alignment_is_what_its_docstring_says() -> None:
    logits = (4 * rand(1, 2, 12, KEYS)).requires_grad_()
    a = logits.softmax(-1)
    attribution_alignment(a, GRID, REFERENCE, SOFT, OBJECT_MASK[:1]).backward()
    w = statement.cell_areas(SOFT[0], GRID)[:, None]
    o = torch.zeros(KEYS, dtype=torch.float64)
    o[OBJECT] = statement.cell_areas(OBJECT_MASK[0], (2, 5))
    factor = LAMBDA * (1 - w) / (1 - w).sum() - w / w.sum()
    spent = (a * o).sum(-1, keepdim=True)
    torch.testing.assert_close(logits.grad, factor * a * (o - spent) / 2, rtol=1e-5, atol=1e-9)


@each_loss
def test_one_vector_added_to_all_keys_changes_nothing(loss: Loss) -> None:
    q, k = projected()
    moved = k + torch.tensor([1.5, -2.0, 3.0])
    torch.testing.assert_close(loss(attention_probabilities(q, moved, 0.7)), loss(attention_probabilities(q, k, 0.7)))
    one_key = k.clone()
    one_key[:, :, 6] += torch.tensor([1.5, -2.0, 3.0])
    assert not torch.allclose(loss(attention_probabilities(q, one_key, 0.7)), loss(attention_probabilities(q, k, 0.7)))


@each_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_fp32_losses_and_finite_gradients(loss: Loss, dtype: torch.dtype) -> None:
    for sharp in (4.0, 400.0):  # the second leaves some queries with nothing, or next to nothing, on placed tokens
        exact = probabilities(2, 2, 12, KEYS, sharp=sharp)
        a = exact.to(dtype).requires_grad_()
        got = loss(a)
        got.sum().backward()
        assert got.dtype == torch.float32
        assert a.grad is not None
        assert a.grad.isfinite().all()
        assert a.grad.any()
        if sharp == 4:  # what fp16 can hardly hold is left out
            torch.testing.assert_close(got.double(), loss(a.detach().double()), rtol=1e-5, atol=1e-5)


@each_loss
def test_autocast_and_dtype_do_not_change_the_reckoning(loss: Loss) -> None:
    q, k = (t.float() for t in projected())
    plain = loss(attention_probabilities(q, k, 0.7))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(attention_probabilities(q, k, 0.7)), plain)
    assert plain.dtype == torch.float32
    exact = loss(attention_probabilities(q.double(), k.double(), 0.7))
    assert exact.dtype == torch.float64
    torch.testing.assert_close(plain.double(), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_probabilities_of_half_precision_are_fp32(dtype: torch.dtype) -> None:
    q, k = (t.to(dtype) for t in projected())
    got = attention_probabilities(q, k, 0.7)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), attention_probabilities(q.double(), k.double(), 0.7), rtol=1e-4, atol=1e-6)


def test_probabilities_equal_the_statement_with_every_mask() -> None:
    q, k = projected()
    additive = 5 * rand(2, 1, 12, KEYS) - 3
    allowed = rand(1, 1, 12, KEYS) > 0.5
    allowed[0, 0, 7] = False  # may look nowhere
    for mask in (None, additive, allowed, torch.zeros(12, KEYS).masked_fill(~allowed[0, 0], float("-inf"))):
        wanted = statement.real_attention(statement.logits(q, k, 0.7, None if mask is None else mask.expand(2, 2, 12, KEYS)))
        torch.testing.assert_close(attention_probabilities(q, k, 0.7, mask), wanted, rtol=1e-5, atol=1e-9)


def test_a_query_that_may_look_nowhere_passes_no_gradient() -> None:
    q, k = (t.requires_grad_() for t in projected())
    allowed = torch.ones(12, KEYS, dtype=torch.bool)
    allowed[7], allowed[:, 0] = False, False
    for loss in LOSSES.values():
        q.grad = k.grad = None
        loss(attention_probabilities(q, k, 0.7, allowed)).sum().backward()
        assert q.grad is not None
        assert k.grad is not None
        assert q.grad.isfinite().all()
        assert k.grad.isfinite().all()
        assert not q.grad[:, :, 7].any()
        assert not k.grad[:, :, 0].any()
        assert q.grad[:, :, 6].any()


# ---------------------------------------------------------------------------------------------------- descent


def descend(loss: Loss) -> tuple[float, float]:
    """The loss of free logits (1, 2, 12, KEYS) before and after gradient descent with a step that shrinks to 0."""
    logits = (4 * rand(1, 2, 12, KEYS).float()).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=1.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1e-4, 500)
    first = float(loss(logits.softmax(-1)).detach())
    for _ in range(500):
        optimizer.zero_grad()
        loss(logits.softmax(-1)).backward()
        optimizer.step()
        schedule.step()
    return first, float(loss(logits.softmax(-1)).detach())


def test_descent_brings_tv_to_zero() -> None:
    for per_head in (False, True):
        first, last = descend(lambda a, p=per_head: attention_tv(a, GRID, REFERENCE, SOFT, per_head=p))  # type: ignore[misc]
        assert first > 0.05
        assert last < 0.001


def test_descent_brings_alignment_to_its_minimum() -> None:
    first, last = descend(lambda a: attribution_alignment(a, (4, 3), REFERENCE, LEFT.mT))
    assert first > 1
    assert last < 1e-4
    # soft masks: the minimum of the docstring
    w, o = statement.cell_areas(SOFT[0], GRID), statement.cell_areas(OBJECT_MASK[0], (2, 5))
    factor = LAMBDA * (1 - w) / (1 - w).sum() - w / w.sum()
    least = 1 + float((factor.clamp(max=0) * o.max()).sum())
    first, last = descend(lambda a: attribution_alignment(a, GRID, REFERENCE, SOFT, OBJECT_MASK[:1]))
    assert first > least + 0.3
    assert least <= last + 1e-6
    assert last < least + 1e-4


# --------------------------------------------------------------------------------------------------- refusals

A = probabilities(2, 2, 12, KEYS)
both = pytest.mark.parametrize("loss", [attention_tv, attribution_alignment])


@both
@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"weights": A[0]}, LayoutError, r"shape \(images, heads, queries, keys\), got torch.float64 of \(2, 12, 16\)"),
        ({"weights": (A > 0.1)}, LayoutError, "floating point.* got torch.bool"),
        ({"grid": (3, 5)}, LayoutError, "grid of 3 x 5 does not hold 12 queries"),
        ({"grid": (-3, -4)}, LayoutError, "grid of -3 x -4"),
        ({"reference": Reference(TokenGrid(4, 4, 1), name="coat")}, LayoutError, "'coat' reaches to key 17, but there are 16"),
        ({"reference": Reference(TokenGrid(0, 0, 4), name="coat")}, LayoutError, "no token of reference 'coat' has a place"),
        ({"weights": A.log()}, I2AMError, r"down to -.*attention_probabilities"),
        ({"weights": A * 2}, I2AMError, "sum over keys up to 2;.*sum over heads"),
        ({"inpaint_mask": torch.ones(4, 4)}, MaskError, r"inpainting mask has the shape .*got \(4, 4\) for 2 image"),
        ({"inpaint_mask": torch.ones(3, 4, 4)}, MaskError, r"inpainting mask.* got \(3, 4, 4\) for 2 image"),
        ({"inpaint_mask": torch.ones(1, 0, 4)}, MaskError, r"inpainting mask.* got \(1, 0, 4\)"),
        ({"inpaint_mask": 255 * LEFT}, MaskError, "inpainting mask holds values from 0 to 255, expected 0 to 1: scale it"),
        ({"inpaint_mask": LEFT * float("nan")}, MaskError, "inpainting mask holds values from nan"),
        ({"reduction": "sum"}, ValueError, "reduction is 'mean' or 'none', got 'sum'"),
    ],
)
def test_refusals(loss: Callable[..., Tensor], change: dict[str, Any], error: type[Exception], text: str) -> None:
    good = {"weights": A, "grid": GRID, "reference": REFERENCE, "inpaint_mask": LEFT}
    loss(**good)
    with pytest.raises(error, match=text):
        loss(**{**good, **change})


def test_tv_of_a_reference_with_one_place_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"'reference' has 1 placed token, .* cannot vary in place"):
        attention_tv(A, GRID, Reference(TokenGrid(1, 1, 1)), LEFT)


@pytest.mark.parametrize(
    ("mask", "object_", "text"),
    [
        (torch.zeros(1, 4, 4), None, "^the inpainting mask is empty"),
        (torch.ones(1, 5, 7), None, "^the inpainting mask covers the whole picture.*outside_weight"),
        (torch.cat([LEFT, 0 * LEFT]), None, "^image 2 of 2: the inpainting mask is empty"),
        (LEFT, torch.zeros(1, 4, 4), "^the reference mask is empty"),
        (LEFT, torch.cat([0 * LEFT, LEFT]), "^image 1 of 2: the reference mask is empty"),
        (LEFT, torch.ones(4, 4), r"reference mask has the shape .*got \(4, 4\)"),
        (LEFT, 2 * LEFT, "reference mask holds values from 0 to 2"),
    ],
)
def test_masks_without_an_inside_or_outside(mask: Tensor, object_: Tensor | None, text: str) -> None:
    images = max(len(mask), 1 if object_ is None or object_.ndim < 3 else len(object_))
    with pytest.raises(MaskError, match=text):
        attribution_alignment(A[:images], GRID, REFERENCE, mask, object_)


def test_an_object_outside_of_what_the_tokens_cover_is_refused() -> None:
    with pytest.raises(MaskError, match="reference mask is empty where the reference's tokens lie"):
        attribution_alignment(A[:1], GRID, Reference(TokenGrid(2, 5, rect=(0.5, 0, 1, 1)), 3), LEFT, LEFT)


def test_an_unknown_rectangle_is_refused_only_where_it_matters() -> None:
    reference = Reference(TokenGrid(2, 5, 1, rect=None), 3, "coat")
    with pytest.raises(LayoutError, match=r"reference 'coat' covers is unknown.*set its grid's rect"):
        attribution_alignment(A, GRID, reference, LEFT, LEFT)
    assert torch.equal(attribution_alignment(A, GRID, reference, LEFT), attribution_alignment(A, GRID, REFERENCE, LEFT))


def test_a_loss_that_would_be_a_constant_is_refused() -> None:
    a, (reference,) = probabilities(1, 2, 12, 10), Layout.of(TokenGrid(2, 5)).references
    with pytest.raises(MaskError, match=r"there is no reference mask and the call has no other keys.*constant"):
        attribution_alignment(a, GRID, reference, LEFT)
    for mask in (torch.ones(1, 7, 7), torch.full((1, 3, 3), 0.3)):
        with pytest.raises(MaskError, match="reference mask covers all tokens alike and the call has no other keys"):
            attribution_alignment(a, GRID, reference, LEFT, mask)
    attribution_alignment(a, GRID, reference, LEFT, LEFT)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_lambda_is_a_finite_factor(weight: float) -> None:
    with pytest.raises(ValueError, match="outside_weight is a finite factor"):
        attribution_alignment(A, GRID, REFERENCE, LEFT, outside_weight=weight)


def test_heads_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(LayoutError, match="3 query heads cannot share 2 key heads"):
        attention_probabilities(torch.ones(1, 3, 4, 2), torch.ones(1, 2, 5, 2), 1.0)


@both
def test_not_a_number_is_passed_on_for_a_loss_scaler_to_see(loss: Callable[..., Tensor]) -> None:
    assert loss(A * float("nan"), GRID, REFERENCE, LEFT).isnan()
