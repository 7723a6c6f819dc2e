"""StableVITON's garment in diffusers: an encoder beside the U-Net, and nine blocks that warp its features into the decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import Transformer2DModel, UNet2DConditionModel
from torch import Tensor, nn

from .checkpoint import check_weights, measured
from .networks import HEADS, unet_of
from .stableviton import BLOCKS, FIRST

DECODER = ("output_blocks.", "out.")


class Garment(nn.Module):
    """What StableVITON has beside its U-Net: the garment's encoder, and what joins the warped features to the U-Net's.

    The warp's attention lies in the U-Net itself, as ``warp``, where a recording finds it.

    Args:
        unet: the U-Net, which gets the warp.
        weights: the U-Net's own, under latent-diffusion names.
        control: weights of the garment's encoder: a U-Net's first half, and the convolution that its latents enter by.
        warp: weights of the warp.

    Raises:
        WeightsFileError: weights are missing, left over or of another shape; listed by group.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        weights: Mapping[str, Tensor],
        control: Mapping[str, Tensor],
        warp: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        half = {key: value for key, value in control.items() if not key.startswith("cond_first_block.")}
        decoder = {key: value for key, value in weights.items() if key.startswith(DECODER)}
        encoder = unet_of({**half, **decoder}, "garment encoder")
        self.time_proj, self.time_embedding, self.conv_in = encoder.time_proj, encoder.time_embedding, encoder.conv_in
        self.down_blocks = encoder.down_blocks[: BLOCKS // 3]
        with measured("garment encoder"):
            taken = control["cond_first_block.0.weight"].shape[1]
            self.cond_first = _convolution(control, "cond_first_block.0", taken, encoder.conv_in.out_channels, padding=1)
        with measured("warp"):
            widths = [warp[f"warp_flow_blks.{k}.norm.weight"].shape[0] for k in range(BLOCKS)]
            self.zero_convs = nn.ModuleList(_convolution(warp, f"warp_zero_convs.{k}", w, w) for k, w in enumerate(widths))
            blocks = nn.ModuleList(_transformer(warp, f"warp_flow_blks.{k}.", f"warp.{k}") for k in range(BLOCKS))
        known = {f"warp_flow_blks.{key}": x for key, x in blocks.state_dict().items()}
        known |= {f"warp_zero_convs.{key}": x for key, x in self.zero_convs.state_dict().items()}
        check_weights("warp", known, warp)
        unet.add_module("warp", blocks)
        self._maps: list[Tensor] = []
        for k in range(BLOCKS):
            block, place = divmod(FIRST + k, 3)
            unet.up_blocks[block].resnets[place].register_forward_pre_hook(self._joined(unet, k), with_kwargs=True)

    def see(self, x: Tensor, garment: Tensor, timesteps: Tensor, context: Tensor) -> None:
        """Encode what the U-Net's next call sees (B, 13, h, w) with the garment's latents (B, 4, h, w)."""
        embedded = self.time_embedding(self.time_proj(timesteps).to(x.dtype))
        h = self.conv_in(x) + self.cond_first(garment)
        self._maps = [h]
        for block in self.down_blocks:
            h, passed = block(hidden_states=h, temb=embedded, encoder_hidden_states=context)
            self._maps += passed

    def _joined(self, unet: UNet2DConditionModel, k: int) -> Any:
        def join(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> tuple[tuple[Tensor, ...], Any]:
            both = args[0]  # what comes from below, and behind it the U-Net's own map
            width = self.zero_convs[k].in_channels
            h, skip = both[:, :width], both[:, width:]
            tokens = self._maps[BLOCKS - 1 - k].flatten(2).transpose(1, 2)  # row-major
            moved = unet.warp[k](h, encoder_hidden_states=tokens, return_dict=False)[0]
            return (torch.cat([h + self.zero_convs[k](moved), skip], 1), *args[1:]), kwargs

        return join


def _convolution(weights: Mapping[str, Tensor], name: str, taken: int, given: int, padding: int = 0) -> nn.Conv2d:
    made = nn.Conv2d(taken, given, 1 + 2 * padding, padding=padding, device="meta")
    mine = {key: weights[f"{name}.{key}"] for key in ("weight", "bias")}
    check_weights(name, made.state_dict(), mine)
    made.load_state_dict(mine, assign=True)
    return made


def _transformer(weights: Mapping[str, Tensor], prefix: str, layer: str) -> Transformer2DModel:
    """A block of the warp; ``layer`` is what recordings call its cross-attention."""
    mine = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    width = weights[f"{prefix}norm.weight"].shape[0]
    with torch.device("meta"):
        made = Transformer2DModel(
            num_attention_heads=HEADS,
            attention_head_dim=width // HEADS,
            in_channels=width,
            cross_attention_dim=weights[f"{prefix}transformer_blocks.0.attn2.to_k.weight"].shape[1],
        )
    check_weights("warp", made.state_dict(), mine)
    made.load_state_dict(mine, assign=True)
    made.transformer_blocks[0].attn2.i2am_layer = layer
    return made
