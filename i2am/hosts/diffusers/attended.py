"""Sees the inputs and output of attention while a module runs, whatever processor computes it, and replaces nothing.

A torch function mode is asked before every torch function that its thread calls. It lets each of them run as it is and
keeps the arguments of those that attention is made of: `scaled_dot_product_attention`, or the product, softmax and product
that older processors write out. Kernels that are not torch functions stay unseen: the caller finds nothing and must say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ...errors import LayoutError

SDPA = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
"""The arguments of `scaled_dot_product_attention`, in order."""
_KINDS: dict[Callable[..., Any], str] = {
    F.scaled_dot_product_attention: "attention",
    torch.baddbmm: "scores",
    Tensor.baddbmm: "scores",
    torch.softmax: "softmax",
    Tensor.softmax: "softmax",
    F.softmax: "softmax",
    torch.bmm: "sum",
    Tensor.bmm: "sum",
    Tensor.to: "cast",
    Tensor.float: "cast",
}


@dataclass(frozen=True, eq=False)
class Attended:
    """One softmax attention of some rows B of a batch.

    Attributes:
        q: (B, H, N, d).
        k: (B, Hk, S, d).
        v: (B, Hk, S, dv); None where it was not seen.
        scale: what q kᵀ is multiplied by.
        mask: as the call had it, broadcastable to (B, H, N, S); None: no mask.
        output: (B, H, N, dv) in the call's own precision; None where it was not seen.
        causal: whether queries look back only.
    """

    q: Tensor
    k: Tensor
    v: Tensor | None
    scale: float
    mask: Tensor | None = None
    output: Tensor | None = None
    causal: bool = False


Instead = Callable[[int, Callable[..., Tensor], dict[str, Any]], "Tensor | None"]
"""Takes the number of an attention, counted from 0, the torch function and its arguments by name; gives another output."""


class Watch(TorchFunctionMode):
    """Keeps every attention that is computed while it is entered.

    Args:
        cut: gives the output of attentions of which something is cut, and None of all others; these stay as they are.
    """

    def __init__(self, cut: Instead | None = None) -> None:
        super().__init__()
        self._cut, self._asked = cut, False
        self._seen: list[Attended] = []
        self._open: tuple[Attended, Tensor, bool] | None = None
        """An attention that is being written out: its scores or weights, and whether these are weights."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kind = _kind(func)
        if kind is None and not kwargs:
            return func(*args)
        kwargs = kwargs or {}
        if kind == "in place" or kwargs.get("inplace"):
            self._keep_from(args[0] if args else None)
        if "out" in kwargs:
            self._keep_from(kwargs["out"])
        given = {**dict(zip(SDPA, args)), **kwargs} if kind == "attention" else {}
        self._asked |= bool(given)
        instead = self._cut(len(self._seen), func, given) if given and self._cut is not None else None
        out = func(*args, **kwargs) if instead is None else instead
        if kind == "attention":
            self._seen.append(_of_sdpa(given, out))
        elif kind in ("scores", "softmax", "sum", "cast"):
            self._write_out(kind, args, kwargs, out)
        return out

    def _write_out(self, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        """Follow one attention from its scores to its sum, as `Attention.get_attention_scores` and its callers compute it."""
        if kind == "scores":
            scores = _of_product(args, kwargs)
            self._open = None if scores is None else (scores, out, False)
        elif self._open is not None and args and args[0] is self._open[1]:
            scores, _, is_weights = self._open
            if kind == "cast":
                self._open = scores, out, is_weights
            elif kind == "softmax" and not is_weights and _is_last(args, kwargs):
                self._open = scores, out, True
            elif kind == "sum" and is_weights and len(args) == 2:
                self._seen.append(replace(scores, v=args[1].detach()[:, None], output=out.detach()[:, None]))
                self._open = None

    def _keep_from(self, changed: Any) -> None:
        """Before a tensor, or several, are changed in place: keep what was seen of them."""
        for tensor in changed if isinstance(changed, list | tuple) else (changed,):
            if self._open is not None and tensor is self._open[1]:
                self._open = None
            if isinstance(tensor, Tensor):
                self._seen = [_apart_from(tensor, attended) for attended in self._seen]

    @property
    def is_uncut(self) -> bool:
        """Whether nothing could be cut, since the module attended through another function, or not at all."""
        return self._cut is not None and not self._asked

    def attentions(self, rows: int, heads: int) -> list[Attended]:
        """All of them, in order; processors may compute some (rows * heads) of a batch at a time, which are joined."""
        found: list[Attended] = []
        parts: list[Attended] = []
        for attended in self._seen:
            if attended.q.shape[:2] == (rows, heads) or attended.q.shape[1] != 1:
                found.append(attended)
                continue
            parts.append(attended)
            if sum(len(part.q) for part in parts) == rows * heads:
                found.append(_joined(parts, heads))
                parts = []
        return [*found, *parts]


@lru_cache(maxsize=1024)
def _kind(func: Callable[..., Any]) -> str | None:
    """The role of a torch function in attention; None: none."""
    name = getattr(func, "__name__", "")
    in_place = name.startswith(("__i", "__set")) if name.endswith("__") else name.endswith("_")
    return "in place" if in_place else _KINDS.get(func)


def _of_sdpa(given: dict[str, Any], out: Tensor) -> Attended:
    q, k, v, out = (t.detach() if t.requires_grad else t for t in (given["query"], given["key"], given["value"], out))
    scale, mask = given.get("scale"), given.get("attn_mask")
    scale = float(q.shape[-1] ** -0.5 if scale is None else scale)
    mask = None if mask is None else mask.detach()
    if q.ndim == 3:  # (B * H, N, d)
        q, k, v, out = (t[:, None] for t in (q, k, v, out))
        mask = None if mask is None else _for_each(mask, len(q))
    return Attended(q, k, v, scale, mask, out, bool(given.get("is_causal", False)))


def _of_product(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Attended | None:
    """``baddbmm(mask, q, kᵀ, beta=, alpha=)`` as an attention of B * H rows with one head each, (B * H, 1, N, d)."""
    if len(args) != 3:
        return None
    added, q, key_t = args
    beta = kwargs.get("beta", 1)
    mask = None if beta == 0 else _for_each(added.detach() * beta, len(q))
    k = key_t.detach().transpose(-1, -2)
    return Attended(q.detach()[:, None], k[:, None], None, float(kwargs.get("alpha", 1)), mask)


def _for_each(mask: Tensor, rows: int) -> Tensor:
    """A mask (N, S) or (rows or 1, N, S) as (rows, 1, N, S)."""
    return (mask if mask.ndim == 3 else mask[None])[:, None].expand(rows, -1, -1, -1)


def _is_last(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a softmax is over the keys."""
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return dim in (-1, args[0].ndim - 1)


def _apart_from(changed: Tensor, attended: Attended) -> Attended:
    """An attention with copies of its tensors that share the memory of another."""
    at = changed.untyped_storage().data_ptr()
    values: dict[str, Any] = {f.name: getattr(attended, f.name) for f in fields(attended)}
    shared = {name: isinstance(t, Tensor) and t.untyped_storage().data_ptr() == at for name, t in values.items()}
    return Attended(**{name: value.clone() if shared[name] else value for name, value in values.items()})


def _joined(parts: list[Attended], heads: int) -> Attended:
    """Parts of (B * H, 1, ...) rows as one attention, (B, H, ...)."""

    def join(tensors: list[Tensor | None]) -> Tensor | None:
        known = [t for t in tensors if t is not None]
        if len(known) < len(tensors):
            return None
        return (known[0] if len(known) == 1 else torch.cat(known))[:, 0].unflatten(0, (-1, heads))

    q, k = join([p.q for p in parts]), join([p.k for p in parts])
    assert q is not None
    assert k is not None
    v, mask, output = (join([getattr(p, name) for p in parts]) for name in ("v", "mask", "output"))
    return Attended(q, k, v, parts[0].scale, mask, output, parts[0].causal)


def mask_by_rows(layer: str, attended: Attended, rows: int) -> Tensor | None:
    """An attention's mask as (B or 1, H or 1, N or 1, S or 1); None: it has none.

    Raises:
        LayoutError: it is for another number of rows B; names the layer.
    """
    mask = attended.mask
    if mask is None:
        return None
    while mask.ndim < 4:
        mask = mask[None]
    if len(mask) not in (1, rows):
        raise LayoutError(f"the attention mask of layer {layer!r} is for {len(mask)} rows of a batch, the call has {rows}")
    return mask
