"""The light auxiliary loss that teaches cross-attention to point: on head-mean attention, against the true place."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional as F

from ...drawn.spec import REFERENCE
from ...models.demo.encoder import REFERENCE_GRID

SUPERVISED = (
    "down_blocks.0.attentions.0",
    "down_blocks.1.attentions.0",
    "up_blocks.0.attentions.1",
    "up_blocks.1.attentions.1",
)
"""The layers that the loss teaches; `NEVER_SUPERVISED` learn alone and are reported apart."""
NEVER_SUPERVISED = ("mid_block.attentions.0", "up_blocks.0.attentions.0", "up_blocks.1.attentions.0")


def _fused(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """PyTorch's fused attention; on the CPU in fp32, where its kernel takes half the time of bf16."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), scale=scale).to(q.dtype)


class ExplicitAttention:
    """A diffusers attention processor without fused kernels; keeps the head-mean weights of its last call when asked to."""

    def __init__(self, keep: bool = False) -> None:
        self.keep = keep
        self.kept: Tensor | None = None

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: object
    ) -> Tensor:
        """Attend as diffusers' own processors do: (B, N, C) to (B, N, C)."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        b, n, _c = hidden_states.shape
        q, k, v = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        q, k, v = (t.view(b, t.shape[1], attn.heads, -1).transpose(1, 2) for t in (q, k, v))
        if self.keep:
            weights = (q * attn.scale @ k.transpose(-1, -2)).softmax(-1)  # (B, heads, N, S)
            self.kept = weights.float().mean(1)
            out = weights @ v
        else:
            self.kept = None
            out = _fused(q, k, v, attn.scale)
        return attn.to_out[0](out.transpose(1, 2).reshape(b, n, -1))


def install(unet: UNet2DConditionModel, keep: bool) -> dict[str, ExplicitAttention]:
    """Set explicit attention everywhere; returns the processors of the supervised layers by layer name."""
    processors = {}
    supervised = {}
    for name in unet.attn_processors:
        layer = name.partition(".transformer_blocks")[0]
        taught = keep and name.endswith("attn2.processor") and layer in SUPERVISED
        processors[name] = ExplicitAttention(taught)
        if taught:
            supervised[layer] = processors[name]
    unet.set_attn_processor(processors)  # type: ignore[arg-type]
    return supervised


def bilinear_target(place: Tensor) -> tuple[Tensor, Tensor]:
    """Reference pixels (B, N, 2) as (x, y) to the four tokens around them: indices and weights, (B, N, 4) each."""
    rows, columns = REFERENCE_GRID
    x = (place[..., 0] / REFERENCE[1] * columns - 0.5).clamp(0, columns - 1)
    y = (place[..., 1] / REFERENCE[0] * rows - 0.5).clamp(0, rows - 1)
    x0, y0 = x.floor().clamp(max=columns - 2), y.floor().clamp(max=rows - 2)
    fx, fy = x - x0, y - y0
    index = (y0 * columns + x0).long()
    indices = torch.stack([index, index + 1, index + columns, index + columns + 1], -1)
    weights = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], -1)
    return indices, weights


def attention_loss(kept: list[Tensor], place: Tensor, share: Tensor, active: Tensor) -> Tensor:
    """Cross-entropy of attention (B, N, 1 + S) against the true place, over cells covered more than half.

    ``place`` is (B, 2, rows, columns) in reference pixels, ``share`` (B, 1, rows, columns) the coverage,
    ``active`` (B,) is 0 for rows that are left out (those whose reference was dropped).
    """
    total = torch.zeros(())
    for weights in kept:
        factor = round((place.shape[2] * place.shape[3] / weights.shape[1]) ** 0.5)
        pooled = F.avg_pool2d(share, factor) if factor > 1 else share
        where = F.avg_pool2d(place * share, factor) / pooled.clamp_min(1e-6) if factor > 1 else place
        indices, target = bilinear_target(where.flatten(2).transpose(1, 2))
        valid = (pooled.flatten(1) > 0.5) * active[:, None]
        chosen = weights.gather(2, indices + 1).clamp_min(1e-7).log()
        loss = -(target * chosen).sum(-1)
        total = total + (loss * valid).sum() / valid.sum().clamp_min(1)
    return total / len(kept)
