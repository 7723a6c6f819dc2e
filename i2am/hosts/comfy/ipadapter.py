"""IPAdapter_plus: cross-attentions also attend to tokens of a picture, in a softmax of its own.

The pack replaces a cross-attention by a callable with a list of ``callback`` functions and a list of their ``kwargs``, one
of each for every adapter that was applied. Each function attends through the name ``optimized_attention`` of its module.
Nothing of the pack is changed to observe that: a copy of the function, over a copy of its globals, calls an observer first.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from torch import Tensor

from ...geometry.layout import TokenGrid
from .adapters import Adapter, Key
from .arguments import Kernel

ATTENTION = "optimized_attention"

Attend = Callable[..., Any]
"""Takes what an `Observer` takes, with the attention function behind the other picture's tokens, and gives the output."""
Observer = Callable[..., None]
"""Takes an adapter's key, its other picture's tokens by layer or None, and an attention's (q, k, v, heads, args, kwargs)."""


def adapters_of(options: dict[str, Any]) -> tuple[Adapter, ...]:
    """The adapters applied in a model's ``transformer_options``, in order."""
    replacements = options.get("patches_replace", {}).get("attn2", {}).values()
    found = {_key(given): given for replacement in replacements for given in _applied(replacement)}
    names = ["IPAdapter"] if len(found) == 1 else [f"IPAdapter {i}" for i in range(1, len(found) + 1)]
    return tuple(_adapter(name, given) for name, given in zip(names, found.values(), strict=True))


def watched(replacement: Callable[..., Any], observe: Observer) -> Callable[..., Any]:
    """A copy of a replaced cross-attention whose adapters show ``observe`` what they attend to; any other kind unchanged."""

    def seen(key: Key, others: Any, attention: Kernel, *called: Any) -> Any:
        q, k, v, heads, args, kwargs = called
        observe(key, others, q, k, v, heads, args, kwargs)
        return attention(q, k, v, heads, *args, **kwargs)

    return with_attention(replacement, seen)


def with_attention(replacement: Callable[..., Any], attend: Attend) -> Callable[..., Any]:
    """A copy of a replaced cross-attention whose adapters attend through ``attend``; any other kind unchanged."""
    if hasattr(replacement, "i2am_around"):
        changed: Callable[..., Any] = replacement.i2am_around(with_attention(replacement.i2am_inner, attend))  # type: ignore[attr-defined]
        return changed
    applied = list(_applied(replacement))
    if not applied:
        return replacement
    out = copy.copy(replacement)
    out.callback = [_attending(*pair, attend) for pair in zip(replacement.callback, replacement.kwargs, strict=True)]  # type: ignore[attr-defined]
    return out


def _attending(callback: FunctionType, given: dict[str, Any], attend: Attend) -> FunctionType:
    attention = callback.__globals__[ATTENTION]

    def changed(q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any) -> Any:
        return attend(_key(given), given.get("cond_alt"), attention, q, k, v, heads, args, kwargs)

    globals_ = {**callback.__globals__, ATTENTION: changed}
    out = FunctionType(callback.__code__, globals_, callback.__name__, callback.__defaults__, callback.__closure__)
    out.__kwdefaults__ = callback.__kwdefaults__
    return out


def _applied(replacement: Any) -> Iterator[dict[str, Any]]:
    """The settings of every adapter in a replaced cross-attention; none if it is of another kind."""
    callbacks, settings = getattr(replacement, "callback", None), getattr(replacement, "kwargs", None)
    if not isinstance(callbacks, list) or not isinstance(settings, list) or len(callbacks) != len(settings):
        return
    attends = all(isinstance(f, FunctionType) and ATTENTION in f.__globals__ for f in callbacks)
    if attends and all(isinstance(s, dict) and isinstance(s.get("cond"), Tensor) and "ipadapter" in s for s in settings):
        yield from settings


def _key(given: dict[str, Any]) -> Key:
    return id(given["ipadapter"]), id(given["cond"])


def _adapter(name: str, given: dict[str, Any]) -> Adapter:
    pictures, tokens = given["cond"].shape[:2]
    unfolded = bool(given.get("unfold_batch"))
    about = _about(given, tokens, unfolded)
    return Adapter(name, _key(given), _grid(given["ipadapter"], tokens), 1 if unfolded else pictures, about)


def _grid(ipadapter: Any, tokens: int) -> TokenGrid:
    """The places of an adapter's tokens: the kind that projects its vision model's tokens one by one keeps theirs.

    Those are a class token and a square of patches. All other kinds make tokens that each look at the whole picture.
    """
    side = math.isqrt(tokens - 1)
    if getattr(ipadapter, "is_full", False) and side > 1 and side * side == tokens - 1:
        return TokenGrid(side, side, 1, rect=None)  # the vision model may have cut the picture
    return TokenGrid(0, 0, tokens)


def _about(given: dict[str, Any], tokens: int, unfolded: bool) -> str:
    weight = given.get("weight")
    shown = f"weight {weight:g}" if isinstance(weight, int | float) else "weights by layer or picture"
    parts = [f"{tokens} tokens a picture", shown, str(given.get("weight_type", "")), str(given.get("embeds_scaling", ""))]
    parts += ["one picture for each of the batch"] if unfolded else []
    parts += ["limited by a mask"] if given.get("mask") is not None else []
    return ", ".join(filter(None, parts))
