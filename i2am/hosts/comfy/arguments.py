"""The arguments of the host's attention functions, and an override that shows them to an observer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

OVERRIDE = "optimized_attention_override"
"""Key in a call's ``transformer_options``: what runs in the place of the host's attention function."""
Kernel = Callable[..., Any]
"""An attention function of the host."""
Observer = Callable[..., None]
"""Takes the arguments of an attention function, (q, k, v, heads, args, kwargs), and its output, or None if that is unknown."""


def observed(
    inner: Any, take: Callable[[], Observer | None], preferred: Callable[[], Kernel | None] = lambda: None
) -> Callable[..., Any]:
    """An ``optimized_attention_override`` that observes, and otherwise does what would happen without it.

    Newer hosts pass q, k and v in containers that have one owner, to the override's ``container_function`` if it has one.
    They also drop the kernel that a checkpoint prefers for a block as soon as there is an override.

    Args:
        inner: the override that is there already, which goes on; None: there is none.
        take: called before every attention; gives its observer, or None.
        preferred: called before every attention; gives the kernel that runs where there is no override, or None: the host's.
    """

    def attention(function: Kernel, q: Any, k: Any, v: Any, heads: int, *args: Any, **kwargs: Any) -> Any:
        observe, own = take(), preferred()
        if inner is None:
            out = (own or function)(q, k, v, heads, *args, **kwargs)
            if observe is not None:
                observe(q, k, v, heads, args, kwargs, out)
            return out
        if observe is not None:
            observe(q, k, v, heads, args, kwargs, None)
        return inner(function, q, k, v, heads, *args, **kwargs)

    def attention_of_containers(q: Any, k: Any, v: Any, heads: int, *args: Any, **kwargs: Any) -> Any:
        observe, own = take(), preferred()
        kernel = inner.container_function if inner is not None else own or hosts_own(kwargs.get("mask", *args[:1]))
        if observe is None:
            return kernel(q, k, v, heads, *args, **kwargs)
        seen = [container.peek() for container in (q, k, v)]
        if inner is None and getattr(kernel, "container_function", None) is None:  # it leaves the tensors as they are
            out = kernel(q, k, v, heads, *args, **kwargs)
            observe(*seen, heads, args, kwargs, out)
            return out
        observe(*seen, heads, args, kwargs, None)
        del seen  # the kernel may free or reuse them
        return kernel(q, k, v, heads, *args, **kwargs)

    if inner is None or hasattr(inner, "container_function"):  # else the host itself takes the tensors out
        attention.container_function = attention_of_containers  # type: ignore[attr-defined]
    return around(attention, inner, lambda other: observed(other, take, preferred))


def around(outer: Any, inner: Any, remake: Callable[[Any], Any]) -> Any:
    """``outer``, marked as one of ours around ``inner``, so that `beneath` can put something between both."""
    outer.i2am_inner, outer.i2am_around = inner, remake
    return outer


def beneath(there: Any, make: Callable[[Any], Any]) -> Any:
    """What is there, with what ``make`` gives put around it, but beneath all of our observers: they see the model's tokens."""
    if hasattr(there, "i2am_around"):
        return there.i2am_around(beneath(there.i2am_inner, make))
    return make(there)


def hosts_own(mask: Tensor | None) -> Kernel:
    """What the host's networks call."""
    import comfy.ldm.modules.attention as host

    found: Kernel = host.optimized_attention if mask is None else host.optimized_attention_masked
    return found


@dataclass(frozen=True, eq=False)
class Arguments:
    """What one attention call computes, for all rows B of its batch: q (B, heads, N, d), k and v (B, heads, S, d).

    ``output``, (B, heads, N, d), is None unless it is in fp32: the maps are free of a shorter format's rounding.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    scale: float
    mask: Tensor | None
    output: Tensor | None

    @classmethod
    def of(cls, q: Any, k: Any, v: Any, heads: int, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Arguments:
        """From the arguments of the host's function, whether heads are split off already or not."""
        if not kwargs.get("skip_reshape", False):
            q, k, v = (split(t, heads) for t in (q, k, v))
        output = None
        if isinstance(out, Tensor) and out.dtype == torch.float32:
            output = out if kwargs.get("skip_output_reshape", False) else split(out, q.shape[1])
        scale = kwargs.get("scale")
        return cls(
            q,
            k,
            v,
            scale=float(q.shape[-1] ** -0.5 if scale is None else scale),
            mask=kwargs.get("mask", args[0] if args else None),
            output=output,
        )

    def mask_of(self, part: slice, keys: int) -> Tensor | None:
        """The mask of some rows and the first keys, (rows or 1, heads or 1, N or 1, keys)."""
        mask, rows = self.mask, len(self.q)
        if mask is None:
            return None
        if mask.ndim == 2:
            mask = mask[:, None] if len(mask) == rows and mask.dtype == torch.bool else mask[None]
        mask = mask[:, None] if mask.ndim == 3 else mask
        return (mask[part] if len(mask) == rows else mask)[..., :keys]


def split(t: Tensor, heads: int) -> Tensor:
    """(B, N, heads * d) to (B, heads, N, d)."""
    return t.unflatten(2, (heads, -1)).transpose(1, 2)
