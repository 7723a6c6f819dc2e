"""StableVITON's garment: an encoder beside the U-Net, and nine blocks that warp its features into the U-Net's decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch
from comfy.ldm.modules import attention
from comfy.ldm.modules.diffusionmodules import openaimodel
from comfy.ldm.modules.diffusionmodules.util import timestep_embedding
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....models.tryon.checkpoint import check_weights
from ....models.tryon.stableviton import BLOCKS, FIRST, STABLEVITON
from ..network import LAYER

GARMENT = "i2am_garment"
"""Key of the garment's wrapper and weights in a MODEL, and of its features in the options of a call."""
WARP = "warp"
CHANNELS = STABLEVITON.channels
"""What the U-Net takes; the garment's latents come behind them."""
OVERRIDE = "optimized_attention_override"


class Garment(torch.nn.Module):
    """The garment's encoder, a U-Net's first half to which the garment's latents are added, and the warp.

    Args:
        control: weights of the encoder, without their prefix.
        warp: weights of the warp.
        config: the host's configuration of the U-Net that this stands beside.
        device: where the weights lie.
    """

    recorded_layers = tuple(f"{WARP}.{k}" for k in range(BLOCKS))
    """The layers that a recording finds beside the U-Net's own."""

    def __init__(self, control: dict[str, Tensor], warp: dict[str, Tensor], config: Mapping[str, Any], device: Any) -> None:
        super().__init__()
        operations, dtype = comfy.ops.manual_cast, control["time_embed.0.weight"].dtype
        placed = {"device": device, "dtype": dtype}
        encoder = openaimodel.UNetModel(**{**config, **placed, "operations": operations})
        encoder.output_blocks, encoder.out = torch.nn.ModuleList(), torch.nn.Identity()
        out, taken = control["cond_first_block.0.weight"].shape[:2]
        encoder.cond_first_block = torch.nn.Sequential(operations.Conv2d(taken, out, 3, padding=1, **placed))
        check_weights("garment encoder", encoder.state_dict(), control)
        encoder.load_state_dict(control)
        # what the warp never reads is not kept
        encoder.input_blocks, encoder.middle_block = encoder.input_blocks[:BLOCKS], None
        self.encoder: Any = encoder
        heads = config["num_heads"]
        self.warp_flow_blks, self.warp_zero_convs = torch.nn.ModuleList(), torch.nn.ModuleList()
        for k in range(BLOCKS):
            width = warp[f"warp_zero_convs.{k}.weight"].shape[0]
            read = warp[f"warp_flow_blks.{k}.transformer_blocks.0.attn2.to_k.weight"].shape[1]
            self.warp_flow_blks.append(
                attention.SpatialTransformer(
                    width, heads, width // heads, context_dim=read, use_checkpoint=False, operations=operations, **placed
                )
            )
            self.warp_zero_convs.append(operations.Conv2d(width, width, 1, **placed))
        own = {key: value for key, value in self.state_dict().items() if key.startswith("warp_")}
        check_weights("warp", own, warp)
        self.load_state_dict(warp, strict=False)

    def encode(self, x: Tensor, garment: Tensor, timesteps: Tensor, context: Tensor, options: dict[str, Any]) -> list[Tensor]:
        """The encoder's maps, from what the U-Net sees (B, 13, h, w) and the garment's latents (B, 4, h, w)."""
        encoder, maps = self.encoder, []
        embedded = encoder.time_embed(timestep_embedding(timesteps, encoder.model_channels).to(x.dtype))
        h = x
        for i, block in enumerate(encoder.input_blocks):
            h = openaimodel.forward_timestep_embed(block, h, embedded, context, dict(options))
            if i == 0:
                h = h + encoder.cond_first_block(garment)
            maps.append(h)
        return maps

    def warp(self, k: int, h: Tensor, seen: Tensor, options: dict[str, Any]) -> Tensor:
        """What goes into an output block, (B, C, h, w), with the garment's features added."""
        tokens = seen.flatten(2).transpose(1, 2)  # row-major
        place = {"block": (WARP, k), LAYER: self.recorded_layers[k]}
        moved = self.warp_flow_blks[k](h, tokens, {**options, **place})
        return h + self.warp_zero_convs[k](moved)


def with_garment(model: Any, control: dict[str, Tensor], warp: dict[str, Tensor]) -> Any:
    """A clone of the model that sees the garment; the host loads and offloads the garment's weights beside its own."""
    management = comfy.model_management
    offload = management.unet_offload_device()
    garment = Garment(control, warp, model.model.model_config.unet_config, offload).eval()
    patcher = comfy.model_patcher.ModelPatcher(garment, load_device=model.load_device, offload_device=offload)
    model = model.clone()

    # closures: some hosts deep-copy what lies in a model's options
    def see(executor: Any, x: Tensor, timesteps: Tensor, context: Any = None, *args: Any, **kwargs: Any) -> Any:
        # y, control, transformer_options; a host or another wrapper may name them
        y, guide, options = (*args, *[None] * 3)[:3]
        options = dict(kwargs.pop("transformer_options", options) or {})
        y, guide = kwargs.pop("y", y), kwargs.pop("control", guide)
        plain = {OVERRIDE: options[OVERRIDE]} if OVERRIDE in options else {}
        options[GARMENT] = garment.encode(x[:, :CHANNELS], x[:, CHANNELS:], timesteps, context, plain)
        return executor(x[:, :CHANNELS], timesteps, context, y, guide, options, **kwargs)

    def move(h: Tensor, skip: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        k = options["block"][1] - FIRST
        if k >= 0 and GARMENT in options:
            h = garment.warp(k, h, options[GARMENT][BLOCKS - 1 - k], options)
        return h, skip

    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, GARMENT, see)
    model.set_model_output_block_patch(move)
    model.set_additional_models(GARMENT, [patcher])
    return model
