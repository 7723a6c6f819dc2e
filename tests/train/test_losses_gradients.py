"""Gradients of the losses on attention: finite differences, invariance, precision, descent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import statement
import torch
from loss_case import GRID, KEYS, LEFT, OBJECT, REFERENCE, probabilities, rand
from torch import Tensor
from torch.autograd import gradcheck

from i2am.scores.imacs import LAMBDA
from i2am.train.losses import attention_probabilities, attention_tv, attribution_alignment

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
