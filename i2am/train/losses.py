"""Two differentiable losses on attention, for fine-tuning a U-Net whose cross-attention looks at reference patches.

Both read A^r, the softmax over all keys of one call, and nothing else (DESIGN 4): adding one vector to every key
changes neither. They say where the model looks, not what that causes. Add them, with a small weight, to the loss
that the model is trained with.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import I2AMError, LayoutError, MaskError
from ..geometry.layout import WHOLE, Rect, Reference
from ..geometry.resample import Size, area
from ..recording.reduce import additive
from ..scores.imacs import LAMBDA

SLACK = 0.05
"""How far probabilities may fall below 0 and their sum above 1: bfloat16 is rounded; logits and sums over heads go further."""


def attention_probabilities(q: Tensor, k: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """A^r of one call, (B, H, N, S): the softmax over all its keys, in fp32 (float64 if given) even under autocast.

    Args:
        q: (B, H, N, d) projected queries, the generated tokens alone.
        k: (B, Hk, S, d) projected keys, Hk dividing H (grouped heads).
        scale: the call's own factor on q k^T.
        mask: the call's own mask, additive or boolean (True = may look), broadcastable to (B, H, N, S). A query
            that may look nowhere gets zeros.

    Raises:
        LayoutError: the heads of q cannot share those of k.
    """
    if q.shape[1] % k.shape[1]:
        raise LayoutError(f"{q.shape[1]} query heads cannot share {k.shape[1]} key heads; give q, k as (B, heads, tokens, d)")
    with torch.autocast(q.device.type, enabled=False):
        q, k = q.to(_wide(q)), k.to(_wide(k)).repeat_interleave(q.shape[1] // k.shape[1], 1)
        logits = q * scale @ k.transpose(-1, -2)
        if mask is None:
            return logits.softmax(-1)
        logits = logits + additive(mask)
        nowhere = (logits == float("-inf")).all(-1, keepdim=True)
        return logits.masked_fill(nowhere, 0).softmax(-1).masked_fill(nowhere, 0)


def attention_tv(
    weights: Tensor,
    grid: Size,
    reference: Reference,
    inpaint_mask: Tensor,
    *,
    per_head: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Attention total variation: how far apart neighbouring generated tokens look on the reference image.

    With e_q = (x_q, y_q) the expected place of query q's attention, w_q the inpainting mask's area in its cell, and
    the sums of TV over all horizontally and all vertically neighbouring pairs (q, p) of the query grid::

        e_q = sum_j A^r(q, j) c_j / sum_j A^r(q, j)      over the reference's placed tokens j, c_j their cell centres
        TV  = sum w_q w_p (|x_q - x_p| + |y_q - y_p|) / sum w_q w_p

    Places are in units of the reference grid's extent, 0 to 1, so TV lies in [0, 2) whatever the grids are; the
    identity on equal n x n grids gives 1 / n. The minimum is 0, where all queries inside the mask have one
    expected place. That is a collapse (uniform attention has it too): the loss smooths a correspondence that another
    loss demands; it cannot find one. The gradient pulls the places of two neighbours towards each other, in each
    coordinate with a force that does not depend on their distance; it moves attention among the placed tokens only.
    A pair in which one query spends nothing on placed tokens has no distance and is left out.

    After the loss of StableVITON (arXiv 2312.01725), which counts cells, adds the mean over vertical pairs to that
    over horizontal ones, and thresholds the mask.

    Args:
        weights: (B, H, N, S) A^r over all keys of the call; see `attention_probabilities`.
        grid: (rows, columns) of the N queries.
        reference: which keys are placed, and on what grid.
        inpaint_mask: (B or 1, H, W) in 0-1 at any size, 1 = repainted.
        per_head: compute places per head and average TV; by default heads are averaged first, so that they may differ.
        reduction: "mean" over images, or "none". An image whose mask holds no pair counts as 0.

    Returns:
        A scalar, or (B,), in fp32 (float64 if given).

    Raises:
        LayoutError: weights, grid and reference do not fit together, or the reference has one place only.
        MaskError: the mask has the wrong shape or values outside of 0-1.
        I2AMError: the weights are not probabilities.
    """
    _check(weights, grid, reference, reduction)
    rows, columns = reference.grid.rows, reference.grid.columns
    if rows * columns < 2:
        seen = f"reference {reference.name!r} has 1 placed token, so attention to it cannot vary in place"
        raise LayoutError(f"{seen}; use a layer that looks at reference patches")
    placed = _placed(weights, reference, per_head).unflatten(-1, (rows, columns))  # (B, G, N, rows, columns)
    mass = placed.sum((-2, -1))
    known = mass >= torch.finfo(weights.dtype).tiny  # its reciprocal and the gradient of that stay finite in that dtype
    x = (placed.sum(-2) * _centres(columns, mass)).sum(-1)
    y = (placed.sum(-1) * _centres(rows, mass)).sum(-1)
    places = (torch.stack([x, y], 2) / torch.where(known, mass, 1)[:, :, None]).unflatten(-1, grid)  # (B, G, 2, h, w)
    inside = _cells(_checked_mask(inpaint_mask, weights, "inpainting mask"), weights, grid)
    counted = (inside[:, None] * known).unflatten(-1, grid)  # (B, G, h, w)
    total, pairs = mass.new_zeros(()), mass.new_zeros(())
    for axis in (-1, -2):
        both = counted.narrow(axis, 1, grid[axis] - 1) * counted.narrow(axis, 0, grid[axis] - 1)
        total = total + (both * places.diff(dim=axis).abs().sum(2)).sum((-2, -1))
        pairs = pairs + both.sum((-2, -1))
    loss = (total / torch.where(pairs > 0, pairs, 1)).mean(1)
    return loss.mean() if reduction == "mean" else loss


def attribution_alignment(
    weights: Tensor,
    grid: Size,
    reference: Reference,
    inpaint_mask: Tensor,
    reference_mask: Tensor | None = None,
    *,
    outside_weight: float = LAMBDA,
    reduction: str = "mean",
) -> Tensor:
    """Attribution alignment: generated tokens inside the mask should look at the object, those outside should not.

    With w_q the inpainting mask's area in query q's cell, o_j the reference mask's area in placed token j's cell, and
    o_j = 0 for every other key of the call (tokens without a place, text, other references)::

        t_q = mean over heads of sum_j A^r(q, j) o_j                          what q spends on the object, 0 to 1
        L   = 1 - (sum_q w_q t_q / sum_q w_q - lambda sum_q (1 - w_q) t_q / sum_q (1 - w_q))

    This is 1 - eq. 18 (IMACS) of the map t on the query grid, without its min-max and its threshold.

    *Range*: [0, 1 + lambda]. *Minimum*: with a_q = lambda (1 - w_q) / sum(1 - w) - w_q / sum(w), it is 1 + sum_q
    min(a_q max_j o_j, a_q min_j o_j): queries with a_q < 0 spend everything on the keys with the highest o_j, the
    others on those with the lowest. That is 0 if both masks fill each cell wholly or not at all and some key is not the
    object; cells on a border are inside and outside at once, and raise it. *Gradient*: by the logit of
    (q, j), in each of H heads with its own t_q, it is a_q A^r(q, j) (o_j - t_q) / H. Descent inside moves attention to
    keys with o_j above q's current mean, outside away from them. The pull is strongest where q is
    undecided and fades where it has decided, rightly or wrongly: a coarse mask does little harm, and a query that
    already spends next to nothing on the object comes back slowly. Which part of the object it looks at is left free.

    Args:
        weights, grid, inpaint_mask, reduction: as in `attention_tv`.
        reference: which keys are placed, on what grid, and which part of its picture that covers.
        reference_mask: (B or 1, H, W) in 0-1 at any size, 1 = the object; None: all placed tokens are the object.
        outside_weight: lambda; 0 leaves the queries outside alone.

    Returns:
        A scalar, or (B,), in fp32 (float64 if given).

    Raises:
        LayoutError: weights, grid and reference do not fit together, or the reference's rectangle is unknown.
        MaskError: a mask is empty or has the wrong shape or values outside of 0-1; the inpainting mask leaves no
            outside; or all keys have the same o_j, so that the loss is a constant.
        I2AMError: the weights are not probabilities.
    """
    _check(weights, grid, reference, reduction)
    if not 0 <= outside_weight < float("inf"):
        raise ValueError(f"outside_weight is a finite factor of at least 0, got {outside_weight}")
    mask = _checked_mask(inpaint_mask, weights, "inpainting mask")
    inside, outside = _cells(mask, weights, grid), _cells(1 - mask, weights, grid)  # (B, N); 1 - area would round
    _refuse(inside.sum(-1) <= 0, "the inpainting mask is empty: paint 1 where the picture is repainted")
    if outside_weight:
        _refuse(
            outside.sum(-1) <= 0, "the inpainting mask covers the whole picture: leave an outside or set outside_weight to 0"
        )
    spent = (_placed(weights, reference)[:, 0] * _object(reference_mask, weights, reference)[:, None]).sum(-1)  # (B, N)
    loss = 1 - (inside * spent).sum(-1) / inside.sum(-1)
    if outside_weight:
        loss = loss + outside_weight * (outside * spent).sum(-1) / outside.sum(-1)
    return loss.mean() if reduction == "mean" else loss


def _wide(t: Tensor) -> torch.dtype:
    return torch.float64 if t.dtype == torch.float64 else torch.float32


def _centres(cells: int, like: Tensor) -> Tensor:
    return (torch.arange(cells, dtype=like.dtype, device=like.device) + 0.5) / cells


def _placed(weights: Tensor, reference: Reference, per_head: bool = False) -> Tensor:
    """(B, H or 1, N, placed): the weights of the placed tokens, per head or their mean."""
    part = weights[..., reference.start + reference.grid.leading : reference.stop]
    return part.to(_wide(weights)) if per_head else part.mean(1, keepdim=True, dtype=_wide(weights))


def _check(weights: Tensor, grid: Size, reference: Reference, reduction: str) -> None:
    if reduction not in ("mean", "none"):
        raise ValueError(f"reduction is 'mean' or 'none', got {reduction!r}")
    if weights.ndim != 4 or not weights.is_floating_point() or not weights.numel():
        seen = f"{weights.dtype} of {tuple(weights.shape)}"
        raise LayoutError(f"attention weights are floating point of shape (images, heads, queries, keys), got {seen}")
    n, s = weights.shape[2:]
    if min(grid) < 1 or grid[0] * grid[1] != n:
        raise LayoutError(f"a query grid of {grid[0]} x {grid[1]} does not hold {n} queries; give the generated tokens alone")
    if not reference.grid.placed:
        raise LayoutError(f"no token of reference {reference.name!r} has a place; use a layer that looks at reference patches")
    if reference.stop > s:
        seen = f"reference {reference.name!r} reaches to key {reference.stop}, but there are {s}"
        raise LayoutError(f"{seen}; give the weights over all keys of the call and the layout that it was recorded with")
    low, high = float(weights.detach().amin()), float(weights.detach().sum(-1, dtype=_wide(weights)).amax())
    if low < -SLACK or high > 1 + SLACK:
        raise I2AMError(
            f"attention weights go down to {low:g} and their sum over keys up to {high:g}; expected probabilities, at least 0 "
            "with a sum of 1: give the softmax over all keys (attention_probabilities), not logits or a sum over heads"
        )


def _checked_mask(mask: Tensor, weights: Tensor, name: str) -> Tensor:
    """The mask as (B or 1, H, W) float64 constants on the CPU, where `area` computes."""
    if mask.ndim != 3 or not mask.numel() or len(mask) not in (1, len(weights)):
        seen = f"the {name} has the shape (masks, height, width), got {tuple(mask.shape)}"
        raise MaskError(f"{seen} for {len(weights)} image(s); give one mask, or one per image")
    mask = mask.detach().cpu().double()
    low, high = float(mask.amin()), float(mask.amax())
    if not (low >= 0 and high <= 1):
        raise MaskError(f"the {name} holds values from {low:g} to {high:g}, expected 0 to 1: scale it")
    return mask


def _cells(mask: Tensor, weights: Tensor, size: Size, rect: Rect = WHOLE) -> Tensor:
    """(B, cells): the mask's area in each cell, on the weights' device."""
    return area(mask, size, rect).flatten(1).to(weights.device, _wide(weights)).expand(len(weights), -1)


def _object(mask: Tensor | None, weights: Tensor, reference: Reference) -> Tensor:
    """(B, placed): how much of each placed token's cell is the object; refused if that is the same for all keys."""
    grid = reference.grid
    if mask is None:
        cells = torch.ones(len(weights), grid.placed, dtype=_wide(weights), device=weights.device)
    elif grid.rect is None:
        seen = f"which part of its picture reference {reference.name!r} covers is unknown"
        raise LayoutError(f"{seen}, so the reference mask cannot be resized to its tokens; set its grid's rect")
    else:
        cells = _cells(_checked_mask(mask, weights, "reference mask"), weights, (grid.rows, grid.columns), grid.rect)
        _refuse(cells.amax(-1) <= 0, "the reference mask is empty where the reference's tokens lie: paint 1 on the object")
    if weights.shape[-1] == grid.placed:
        seen = "there is no reference mask" if mask is None else "the reference mask covers all tokens alike"
        same = cells.amax(-1) - cells.amin(-1) < 1e-6  # areas are rounded
        _refuse(same, f"{seen} and the call has no other keys, so the loss is a constant: give one that leaves some tokens out")
    return cells


def _refuse(images: Tensor, text: str) -> None:
    """Raise a `MaskError` for the first image that is True."""
    if bool(images.any()):
        which = int(images.int().argmax())
        raise MaskError(text if len(images) == 1 else f"image {which + 1} of {len(images)}: {text}")
