"""The values of the losses on attention, i2am/losses.py: plain loops and cases counted by hand."""

from __future__ import annotations

from typing import Any

import pytest
import statement
import torch
from attention_call import few
from hypothesis import given
from hypothesis import strategies as st
from loss_case import GRID, KEYS, LEFT, OBJECT, REFERENCE, probabilities, rand
from torch import Tensor

from i2am.geometry.layout import Reference, TokenGrid
from i2am.scores.imacs import LAMBDA, _eq18
from i2am.train.losses import attention_tv, attribution_alignment

ALL = torch.ones(1, 4, 4)


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
