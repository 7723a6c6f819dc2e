"""One call of a ComfyUI model: observers in its options, behind all that is there, that see what cross-attention projects."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from ...errors import I2AMError, LayoutError
from ...geometry.layout import Layout
from ...recording.recorder import Recorder
from .adapters import Key, watched
from .unet import layer_name


@dataclass
class Rows:
    """What the rows of one conditioning are: their branch, their layouts, and how many tokens their context has."""

    branch: str
    layout: Layout
    tokens: int
    layers: dict[str, Layout] = field(default_factory=dict)

    def layout_of(self, layer: str) -> Layout:
        """What a layer's keys are: most attend to the context."""
        return self.layers.get(layer, self.layout)


class Run(Protocol):
    """What a call needs of the sampler's run that it belongs to."""

    step: int
    error: I2AMError | None
    lock: threading.Lock

    def guard(self) -> AbstractContextManager[None]:
        """Around what may fail: see `comfy`."""

    def open_recorder(self) -> Recorder:
        """The run's recorder."""

    def softmax_of(self, adapter: Key) -> int | None:
        """Which softmax of a layer an adapter's is; None: it is not recorded."""

    def note(self, note: str) -> None:
        """Add a remark for the reader."""


@dataclass
class Call:
    """One call of the model: which of its conditionings are recorded, and where in the network it is."""

    run: Run
    rows: list[Rows | None]
    place: dict[str, Any] | None = field(default=None)

    def watching(self, options: dict[str, Any]) -> dict[str, Any]:
        """The call's transformer options with observers behind all that is there already; the given ones stay as they are."""
        patches = dict(options.get("patches", {}))
        patches["attn1_patch"] = [*patches.get("attn1_patch", []), self._at_self_attention]
        patches["attn2_patch"] = [*patches.get("attn2_patch", []), self._at_cross_attention]
        replaced = dict(options.get("patches_replace", {}))
        if "attn2" in replaced:
            replaced["attn2"] = {where: self._behind(function) for where, function in replaced["attn2"].items()}
        return {
            **options,
            "patches": patches,
            "patches_replace": replaced,
            "optimized_attention_override": self._override(options.get("optimized_attention_override")),
        }

    def _at_self_attention(self, n: Tensor, context: Tensor, value: Tensor, _options: dict[str, Any]) -> tuple[Any, ...]:
        self.place = None
        return n, context, value

    def _at_cross_attention(self, n: Tensor, context: Tensor, value: Tensor, options: dict[str, Any]) -> tuple[Any, ...]:
        self.place = options
        return n, context, value

    def _override(self, inner: Any) -> Callable[..., Any]:
        def attention(function: Callable[..., Any], q: Any, k: Any, v: Any, heads: int, *args: Any, **kwargs: Any) -> Any:
            place = self._take_place()
            if inner is None:
                out = function(q, k, v, heads, *args, **kwargs)
                self._reduce(place, 0, q, k, v, heads, args, kwargs, out)
                return out
            self._reduce(place, 0, q, k, v, heads, args, kwargs)
            return inner(function, q, k, v, heads, *args, **kwargs)

        if hasattr(inner, "container_function"):
            attention.container_function = inner.container_function  # type: ignore[attr-defined]
        return attention

    def _behind(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def replace(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Any:
            place = self._take_place()
            self._reduce(place, 0, q, k, v, options["n_heads"], (), {})
            called = function if place is None else watched(function, partial(self._observe_adapter, place))
            return called(q, k, v, options)

        return replace

    def _take_place(self) -> dict[str, Any] | None:
        """Where the attention that is called now is: known for the one call that follows a cross-attention's mark."""
        place, self.place = self.place, None
        return place

    def _observe_adapter(
        self, place: dict[str, Any], adapter: Key, others: Any, q: Any, k: Any, v: Any, heads: int, args: Any, kwargs: Any
    ) -> None:
        """One call of an adapter's attention, whose keys may be (pictures * rows, tokens, channels)."""
        softmax = self.run.softmax_of(adapter)
        if softmax is None:
            return
        if others and place.get("transformer_index") in others:
            self.run.note(f"layer {layer_name(place)!r} attends to the adapter's composition picture, so it is not recorded")
            return
        k, v = (t.reshape(q.shape[0], -1, t.shape[-1]) for t in (k, v))
        self._reduce(place, softmax, q, k, v, heads, args, kwargs)

    def _reduce(
        self,
        place: dict[str, Any] | None,
        softmax: int,
        q: Any,
        k: Any,
        v: Any,
        heads: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any = None,
    ) -> None:
        """Hand one call's projections to the recorder, conditioning by conditioning; ``out``: what the host made of them."""
        if place is None or self.run.error is not None:
            return
        layer = layer_name(place)
        with self.run.guard():
            recorder = self.run.open_recorder()
            if not recorder.wants(layer):
                return
            split = bool(kwargs.get("skip_reshape", False))
            q, k, v = (t if split else _heads(t, heads) for t in (q, k, v))
            rows, columns = (int(n) for n in place["activations_shape"][-2:])
            if q.shape[2] != rows * columns:
                raise LayoutError(
                    f"layer {layer!r} has {q.shape[2]} queries on a {rows} x {columns} grid, so another node pack merges or "
                    f"splits its tokens; leave the layer out with 'layers', or switch that node off"
                )
            output = _output(out, q, bool(kwargs.get("skip_output_reshape", False)))
            mask = kwargs.get("mask", args[0] if args else None)
            scale = kwargs.get("scale")
            batch = q.shape[0] // len(self.rows)
            for i, row in enumerate(self.rows):
                if row is None or not row.layout_of(layer).indices(softmax):
                    continue
                part = slice(i * batch, (i + 1) * batch)
                keys = k.shape[2] if softmax or layer in row.layers else _folded(k.shape[2], row)
                with self.run.lock:
                    recorder.observe(
                        layer,
                        (rows, columns),
                        self.run.step,
                        row.branch,
                        q[part],
                        k[part, :, :keys],
                        v[part, :, :keys],
                        scale=float(q.shape[-1] ** -0.5 if scale is None else scale),
                        mask=_mask(mask, part, q.shape[0], keys),
                        output=None if output is None else output[part],
                        middle=place["block"][0] == "middle",
                        softmax=softmax,
                    )


def _heads(t: Tensor, heads: int) -> Tensor:
    """(B, N, heads * d) to (B, heads, N, d)."""
    return t.unflatten(2, (heads, -1)).transpose(1, 2)


def _output(out: Any, q: Tensor, split: bool) -> Tensor | None:
    """An attention's output as (B, heads, N, d); None for one of fewer than 32 bits, whose rounding the maps are free of."""
    if not isinstance(out, Tensor) or out.dtype != torch.float32:
        return None
    return out if split else _heads(out, q.shape[1])


def _folded(keys: int, row: Rows) -> int:
    """How many of a call's keys are a row's own: the host repeats a shorter context to the length of a longer one."""
    return row.tokens if row.tokens and keys % row.tokens == 0 and row.tokens == row.layout.key_count else keys


def _mask(mask: Tensor | None, part: slice, rows: int, keys: int) -> Tensor | None:
    """A call's mask as (B or 1, heads or 1, N or 1, keys), for some of its rows."""
    if mask is None:
        return None
    if mask.ndim == 2:
        mask = mask[:, None] if len(mask) == rows and mask.dtype == torch.bool else mask[None]
    mask = mask[:, None] if mask.ndim == 3 else mask
    return (mask[part] if len(mask) == rows else mask)[..., :keys]
