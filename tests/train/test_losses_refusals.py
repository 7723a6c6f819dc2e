"""What the losses on attention refuse, and what they pass on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from loss_case import GRID, KEYS, LEFT, REFERENCE, probabilities
from torch import Tensor

from i2am.errors import I2AMError, LayoutError, MaskError
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.train.losses import attention_probabilities, attention_tv, attribution_alignment

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
