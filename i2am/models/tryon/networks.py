"""The paper's networks as diffusers' and transformers' own modules, from weights under latent-diffusion names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from ...errors import I2AMError
from .checkpoint import check_weights, measured
from .ldm_keys import PREFIX, unet_names, vae_names
from .vision import vision_config

HEADS = 8
WIDTHS = (1, 2, 4, 4)
"""Of the blocks, in multiples of the first one's: Stable Diffusion 1's, at any width."""


def unet_of(weights: Mapping[str, Tensor], part: str = "U-Net") -> UNet2DConditionModel:
    """A U-Net of Stable Diffusion 1's shape, at the width and with the channels that its weights have.

    Args:
        weights: under latent-diffusion names.
        part: what errors call it.

    Raises:
        WeightsFileError: weights are missing, left over or of another shape; listed by group.
    """
    with measured(part), torch.device("meta"):
        first = weights["input_blocks.0.0.weight"]
        width = first.shape[0]
        unet = UNet2DConditionModel(
            in_channels=first.shape[1],
            out_channels=weights["out.2.weight"].shape[0],
            block_out_channels=tuple(width * times for times in WIDTHS),
            attention_head_dim=HEADS,
            cross_attention_dim=weights["input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"].shape[1],
        )
    state = unet.state_dict()
    names = unet_names(state)
    check_weights(part, {theirs: state[ours] for ours, theirs in names.items()}, weights)
    unet.load_state_dict({ours: weights[theirs] for ours, theirs in names.items()}, assign=True)
    return unet.eval()


def vae_of(weights: Mapping[str, Tensor]) -> AutoencoderKL:
    """An autoencoder of Stable Diffusion's kind, of the widths and levels that its weights have.

    Raises:
        WeightsFileError: weights are missing, left over or of another shape; listed by group.
    """
    with measured("autoencoder"), torch.device("meta"):
        levels = len({key.split(".")[2] for key in weights if key.startswith("encoder.down.")})
        blocks = len({key.split(".")[4] for key in weights if key.startswith("encoder.down.0.block.")})
        vae = AutoencoderKL(
            block_out_channels=tuple(weights[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels)),
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=blocks,
            latent_channels=weights["decoder.conv_in.weight"].shape[1],
        )
    state = vae.state_dict()
    names = vae_names(state, levels)
    check_weights("autoencoder", {theirs: state[ours] for ours, theirs in names.items()}, weights)
    # 1 x 1 convolutions there, matrices here
    vae.load_state_dict({ours: weights[theirs].reshape(state[ours].shape) for ours, theirs in names.items()}, assign=True)
    return vae.eval()


def vision_of(weights: Mapping[str, Tensor]) -> Any:
    """A `transformers.CLIPVisionModel` of the size that its weights have; keys without the older ``vision_model.``.

    Raises:
        I2AMError: transformers is not installed.
        WeightsFileError: weights are missing, left over or of another shape; listed by group.
    """
    try:
        from transformers import CLIPVisionConfig, CLIPVisionModel
    except ImportError as error:
        raise I2AMError(
            f"the image encoder needs transformers ({error}); install it with: pip install 'i2am[models]'"
        ) from error
    config = vision_config(weights)
    config.pop("model_type")
    with measured("image encoder"):
        model = CLIPVisionModel(CLIPVisionConfig(**config))
    state = model.state_dict()
    names = {key: key.removeprefix(PREFIX) for key in state}
    check_weights("image encoder", {theirs: state[ours] for ours, theirs in names.items()}, weights)
    model.load_state_dict({ours: weights[theirs] for ours, theirs in names.items()}, assign=True)
    return model.eval()
