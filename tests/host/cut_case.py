"""The truth of a cut, computed beside the pack: an override that writes the attention out in float64 and hides what is cut."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from torch import Tensor

MODULES = {
    "intervene": "hosts.comfy.intervene",
    "record": "hosts.comfy.record",
    "plan": "interventions.plan",
    "layout": "geometry.layout",
    "carried": "models.carried",
    "errors": "errors",
}


class Lib:
    """The modules of the library that these tests use, as the pack has them."""

    def __init__(self, pack: ModuleType) -> None:
        for name, module in MODULES.items():
            setattr(self, name, importlib.import_module(f"{pack.__name__}.i2am.{module}"))

    def cut(self, model: Any, layout: Any = None, **given: Any) -> Any:
        """A clone of a model in whose runs this is cut."""
        return self.intervene.intervene(model, self.intervene.CutOptions(self.plan.Cut(**given), layout))[0]


@dataclass(frozen=True)
class At:
    """One attention: its layer, step, branch ("cond" or "uncond"), and how many heads, queries and keys it has."""

    layer: str
    step: int
    branch: str
    heads: int
    queries: int
    keys: int


Hide = Callable[[At], Tensor | None]
"""Which keys are hidden, broadcastable to (heads, queries, keys); None: none."""


@dataclass
class Truth:
    """``hide`` says what is cut; ``seen`` holds what was asked of it."""

    hide: Hide
    layer_of: Callable[[Mapping[str, Any]], str | None]
    seen: list[At] = field(default_factory=list)
    weights: dict[tuple[int, str], Tensor] = field(default_factory=dict)
    """By step and layer, those of a call of one conditioning, (rows, heads, queries, keys)."""
    _sigmas: list[float] = field(default_factory=list)

    def attach(self, model: Any) -> Any:
        """A clone of the model with the override."""
        truth = self

        def override(function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any) -> Tensor:
            options = kwargs["transformer_options"]
            layer = truth.layer_of(options) if k.shape[-2] else None
            if layer is None or not truth.is_cross(q, k, kwargs):
                return function(q, k, v, heads, *args, **kwargs)
            return truth.attend(layer, options, q, k, v, heads, kwargs.get("mask", args[0] if args else None), kwargs)

        model = model.clone()
        model.model_options["transformer_options"]["optimized_attention_override"] = override
        return model

    is_cross: Callable[[Tensor, Tensor, dict[str, Any]], bool] = lambda _q, _k, _given: True

    def attend(
        self,
        layer: str,
        options: Mapping[str, Any],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        mask: Tensor | None,
        given: dict[str, Any],
    ) -> Tensor:
        sigma = float(options["sigmas"].max())
        if not self._sigmas or self._sigmas[-1] != sigma:
            self._sigmas.append(sigma)
        split = given.get("skip_reshape", False)
        if not split:
            q, k, v = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
        logits = q.double() @ k.double().transpose(-1, -2) * q.shape[-1] ** -0.5
        if mask is not None:
            logits = logits + (mask if mask.ndim == 4 else mask[:, None] if mask.ndim == 3 else mask)
        size = len(q) // len(options["cond_or_uncond"])
        for i, which in enumerate(options["cond_or_uncond"]):
            at = At(layer, len(self._sigmas) - 1, ("cond", "uncond")[which], q.shape[1], q.shape[2], k.shape[2])
            self.seen.append(at)
            hidden = self.hide(at)
            if hidden is not None:
                part = logits[i * size : (i + 1) * size]
                part.masked_fill_(hidden.expand(part.shape[1:]), float("-inf"))
        weights = logits.softmax(-1).nan_to_num()  # where nothing is left: nothing
        self.weights[len(self._sigmas) - 1, layer] = weights
        out = (weights @ v.double()).to(q.dtype)
        return out if given.get("skip_output_reshape", False) else out.transpose(1, 2).flatten(2)
