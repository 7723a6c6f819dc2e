"""What a joint model's blocks really attend to, seen without the pack: an attention override that notes every block's call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from host_tests import tiny_joint
from torch import Tensor


@dataclass
class Seen:
    """One block's call: q and k, (rows, heads, tokens, d), and its mask, if any, broadcastable to the logits."""

    layer: str
    conditionings: list[Any]
    q: Tensor
    k: Tensor
    mask: Tensor | None

    def weights(self) -> Tensor:
        """The softmax in float64, (rows, heads, queries, keys)."""
        q, k = self.q.double(), self.k.double()
        k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)  # where heads share keys
        logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        return (logits if self.mask is None else logits + self.mask).softmax(-1)


@dataclass
class JointSpy:
    """An override as another pack would set it; ``calls`` holds those of the blocks, in order."""

    calls: list[Seen] = field(default_factory=list)

    def attach(self, model: Any) -> Any:
        """A clone of the model with the override."""
        calls = self.calls

        def override(function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kwargs: Any) -> Tensor:
            options = kwargs["transformer_options"]
            layer = tiny_joint.block_of(options)
            if layer is not None:
                mask = kwargs.get("mask", args[0] if args else None)
                split = kwargs.get("skip_reshape", False)
                by_head = (t if split else t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (q, k))
                calls.append(Seen(layer, list(options["uuids"]), *(t.clone() for t in by_head), mask))
            return function(q, k, v, heads, *args, **kwargs)

        model = model.clone()  # some hosts would deep-copy the owner of a method
        model.model_options["transformer_options"]["optimized_attention_override"] = override
        return model
