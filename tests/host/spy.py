"""What a sampler's run really evaluates, seen without the pack: an attention override that notes every cross-attention."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Seen:
    """One cross-attention call: its block, the sigma, the conditionings' uuids, and q and k as (rows, N, channels)."""

    layer: str
    sigma: float
    conditionings: list[Any]
    heads: int
    q: Tensor
    k: Tensor


@dataclass
class Spy:
    """An override for ``transformer_options`` and a callback for the sampler; ``log`` holds `Seen` and step numbers."""

    tokens: int
    log: list[Seen | int] = field(default_factory=list)

    def attach(self, model: Any) -> Any:
        """A clone of the model with the override, as another pack would set it."""
        model = model.clone()
        model.model_options["transformer_options"]["optimized_attention_override"] = self.override
        return model

    def override(self, function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any) -> Tensor:
        options = kwargs["transformer_options"]
        if k.shape[1] % self.tokens == 0 and k.shape[1] != q.shape[1]:
            layer = f"{options['block'][0]}.{options['block'][1]}.1.{options['block_index']}"
            sigma = float(options["sigmas"].max())
            self.log.append(Seen(layer, sigma, list(options["uuids"]), heads, q.clone(), k.clone()))
        return function(q, k, v, heads, *args, **kwargs)

    def callback(self, step: int, _denoised: Tensor, _x: Tensor, _total: int) -> None:
        self.log.append(step)

    def steps(self) -> dict[int, list[Seen]]:
        """By step: the calls of the last evaluation before the sampler called it done."""
        out: dict[int, list[Seen]] = {}
        pending: list[Seen] = []
        for entry in self.log:
            if isinstance(entry, Seen):
                first = pending[0].layer if pending else None
                if entry.layer == first and len({p.layer for p in pending}) > 1:
                    pending = []
                pending.append(entry)
            else:
                out[entry] = pending
                pending = []
        return out

    def evaluations(self) -> list[int]:
        """How often the model was evaluated before each callback, and after the last one."""
        counts = [0]
        first = next((entry.layer for entry in self.log if isinstance(entry, Seen)), None)
        for entry in self.log:
            if isinstance(entry, Seen):
                counts[-1] += entry.layer == first
            else:
                counts.append(0)
        return counts
