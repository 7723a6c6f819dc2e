"""Observes what an attention layer projects, by a wrapper around its processor and hooks on its projections."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import RecordingError

log = logging.getLogger("i2am")

PROJECTIONS = ("to_q", "to_k", "to_v")
OUTPUT = "output"


@dataclass(frozen=True, eq=False)
class Projected:
    """What one call of a layer projected, for all rows B of its batch.

    Attributes:
        attn: the layer.
        seen: the outputs of `PROJECTIONS`, and that of the attention, if known, under `OUTPUT`; each (B, N or S, heads * d)
            or (B, heads, N or S, d).
        twice: the projections that were used more than once.
        mask: the mask that the processor was given.
    """

    attn: Any
    seen: dict[str, Tensor]
    twice: set[str]
    mask: Tensor | None

    def split(self, layer: str) -> dict[str, Tensor]:
        """``seen`` as (B, heads, N or S, d).

        Raises:
            RecordingError: queries or keys were not seen, or seen twice; names the layer.
        """
        if "to_q" not in self.seen or "to_k" not in self.seen:
            raise RecordingError(
                f"the attention processor of layer {layer!r} did not project queries and keys through the layer's own "
                f"to_q and to_k, so they cannot be seen; remove that processor, or leave the layer out with `layers`"
            )
        if self.twice - {"to_q"}:
            raise RecordingError(
                f"the attention processor of layer {layer!r} used {' and '.join(sorted(self.twice))} twice in one call; which "
                f"keys are the reference's is then unknown: leave the layer out with `layers`"
            )
        return {name: _heads(t, self.attn.heads) for name, t in self.seen.items()}

    def prepared_mask(self, keys: Tensor) -> Tensor | None:
        """The mask as processors use it, (B, heads, N or 1, S), whether given as (B, N or 1, S) or for each head."""
        if self.mask is None:
            return None
        rows, _, count, _ = keys.shape
        mask: Tensor = self.attn.prepare_attention_mask(self.mask, count, rows)
        return mask.reshape(rows, self.attn.heads, -1, mask.shape[-1])


def watch_processor(layer: str, attn: Any, done: Callable[[Projected], None], stack: ExitStack) -> None:
    """Call ``done`` after every call of a layer's processor, until the stack closes.

    Raises:
        RecordingError: the layer's projections are fused.
    """
    inner = attn.processor
    seen: dict[str, Tensor] = {}
    twice: set[str] = set()

    def call(self: Any, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.ended:
            return inner(attn, hidden_states, *args, **kwargs)
        seen.clear()
        twice.clear()
        try:
            out = inner(attn, hidden_states, *args, **kwargs)
            mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
            done(Projected(attn, seen, twice, mask))
        finally:
            seen.clear()
        return out

    call.__signature__ = _signature_like(inner)  # type: ignore[attr-defined]
    watch: Any = type("Watch", (), {"__call__": call})()
    watch.inner, watch.ended = inner, False
    _hook_projections(attn, seen, twice, stack)
    attn.set_processor(watch)

    def restore() -> None:
        watch.ended = True
        if attn.processor is watch:
            behind = inner
            while getattr(behind, "ended", False):  # an outer recording that ended before this one
                behind = behind.inner
            attn.set_processor(behind)
        elif not hasattr(attn.processor, "ended"):
            log.warning("the processor of %s was replaced while it was recorded; the new one stays", layer)

    stack.callback(restore)


def _hook_projections(attn: Any, seen: dict[str, Tensor], twice: set[str], stack: ExitStack) -> None:
    """Keep in ``seen`` the outputs of a layer's projections and, if its processor exposes it, that of the attention."""

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_module: nn.Module, _args: Any, out: Tensor) -> None:
            if name in seen:
                twice.add(name)
            seen[name] = out.detach()

        return hook

    for name, module in _projections(attn):
        stack.callback(module.register_forward_hook(keep(name)).remove)
    if _is_plain(attn.processor):

        def attended(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            if args[0].dtype == torch.float32:  # the maps are free of a shorter format's rounding
                seen[OUTPUT] = args[0].detach()

        stack.callback(attn.to_out[0].register_forward_pre_hook(attended).remove)


def _projections(attn: Any) -> list[tuple[str, nn.Module]]:
    """The modules whose outputs are q, k and v as attention uses them: the norm of q or k where there is one."""
    # by the processor, not by the flag, which stays set after unfusing
    if "Fused" in type(attn.processor).__name__:
        raise RecordingError("this U-Net's projections are fused; call unfuse_qkv_projections() before recording")
    found = []
    for name in PROJECTIONS:
        norm = getattr(attn, name.replace("to_", "norm_"), None)
        module = norm if norm is not None else getattr(attn, name, None)
        if module is not None:
            found.append((name, module))
    return found


def _is_plain(processor: Any) -> bool:
    """Whether a processor is known to pass the attention's output unchanged to the layer's ``to_out``."""
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    return type(processor) in (AttnProcessor, AttnProcessor2_0)


def _signature_like(processor: Any) -> inspect.Signature:
    """A processor's signature: the host passes only the keyword arguments that it finds there."""
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    others = inspect.signature(processor.__call__).parameters.values()
    return inspect.Signature([own, *(p for p in others if p.name != "self")])


def _heads(t: Tensor, heads: int) -> Tensor:
    """(B, N, heads * d) to (B, heads, N, d); a normed projection is already split."""
    if t.ndim == 4:
        return t
    return t.unflatten(2, (heads, -1)).transpose(1, 2)
