"""Doubles of how newer hosts call attention: tensors in containers of one owner, and kernels that a checkpoint prefers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import comfy.ldm.modules.attention as host
import pytest
import torch
from torch import Tensor

OVERRIDE = "optimized_attention_override"


class Container:
    """A tensor that its last user takes."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor: Tensor | None = tensor

    def peek(self) -> Tensor:
        if self.tensor is None:
            raise RuntimeError("taken already")
        return self.tensor

    def take(self) -> Tensor:
        tensor, self.tensor = self.peek(), None
        return tensor


class Preferred(torch.nn.Module):
    """What lies beside each attention of a network: the kernel that its checkpoint asks for, or None."""

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.function = function


def plain(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **_: Any) -> Tensor:
    """The attention of the host, without its wrapper."""
    q, k, v = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def coarse(q: Tensor, k: Tensor, v: Tensor, heads: int, **kwargs: Any) -> Tensor:
    """A kernel of lower precision: its result is another one."""
    return plain((q * 4).round() / 4, (k * 4).round() / 4, v, heads, **kwargs)


def taken(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.take() if isinstance(a, Container) else a for a in args)


def wrapped(function: Callable[..., Any], container_function: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """An attention function as the host wraps it."""

    def attention(*args: Any, **kwargs: Any) -> Any:
        preferred = kwargs.pop("preferred_attention", None)
        override = (kwargs.get("transformer_options") or {}).get(OVERRIDE)
        held = isinstance(args[0], Container)
        if "_inside_attn_wrapper" not in kwargs:
            kwargs["_inside_attn_wrapper"] = True
            if override is not None:
                if held and hasattr(override, "container_function"):
                    return override.container_function(*args, **kwargs)
                return override(function, *taken(args), **kwargs)
            if preferred is not None and preferred.function is not None:
                return preferred.function(*args, **kwargs)
        if held and container_function is not None:
            return container_function(*args, **kwargs)
        return function(*taken(args), **kwargs)

    attention.container_function = container_function  # type: ignore[attr-defined]
    return attention


@dataclass
class Counted:
    """An attention function that counts its calls."""

    function: Callable[..., Any]
    calls: int = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.function(*args, **kwargs)


def spoiling(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel of containers that uses its inputs' memory for something else."""

    def kernel(q: Container, k: Container, v: Container, heads: int, *args: Any, **kwargs: Any) -> Any:
        tensors = [t.take() for t in (q, k, v)]
        out = function(*tensors, heads, *args, **kwargs)
        for tensor in tensors:
            tensor.fill_(float("nan"))
        return out

    return kernel


@dataclass
class Newer:
    """The host, calling its U-Nets' attention as newer ones do.

    Attributes:
        patch: undoes it.
        seen: q and k, (rows, tokens, channels), of each cross-attention.
    """

    patch: pytest.MonkeyPatch
    seen: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def install(self, attention: Callable[..., Any]) -> None:
        """Let every attention of a U-Net call this function."""
        seen = self.seen

        def forward(
            self: Any, x: Tensor, context: Any = None, value: Any = None, mask: Any = None, transformer_options: Any = None
        ) -> Any:
            read = x if context is None else context
            q, k, v = self.to_q(x), self.to_k(read), self.to_v(read if value is None else value)
            if read.shape[-1] != x.shape[-1] or read.shape[1] != x.shape[1]:
                seen.append((q.clone(), k.clone()))
            given = {"preferred_attention": getattr(self, "comfy_attention", None), "transformer_options": transformer_options}
            return self.to_out(host.optimized_attention(Container(q), Container(k), Container(v), self.heads, **given))

        self.patch.setattr(host.CrossAttention, "forward", forward)
        for name in ("optimized_attention", "optimized_attention_masked"):
            self.patch.setattr(host, name, attention)


def holders(network: Any) -> Iterator[tuple[str, torch.nn.Module]]:
    """Every attention of a U-Net by its name."""
    for name, module in network.named_modules():
        if isinstance(module, host.CrossAttention):
            yield name, module
