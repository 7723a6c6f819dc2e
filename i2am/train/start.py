"""The start of training: Stable Diffusion 1.5 with additional input channels at zero, and a CLIP vision model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import WeightsFileError
from ..models.tryon.checkpoint import FIRST, Part, split_parts
from ..models.tryon.networks import HEADS, unet_of, vae_of, vision_of
from .networks import CHANNELS, Frozen, TryOn

VISION = ("cond_stage_model.transformer.vision_model.", "vision_model.", "")
"""Where a vision model's keys may stand: in a try-on checkpoint, in CLIP's own file, bare."""
INSIDE_VISION = ("embeddings.", "pre_layrnorm.", "encoder.", "post_layernorm.")
STABLE_DIFFUSION = 4
"""Input channels of the plain model."""


@dataclass(frozen=True)
class Networks:
    """What is trained and what is not."""

    tryon: TryOn
    frozen: Frozen


def starting_point(state: Mapping[str, Tensor], vision: Mapping[str, Tensor] | None = None, seed: int = 0) -> Networks:
    """The custom model before its training, in fp32; it reuses the tensors of ``state`` and ``vision``.

    The U-Net's new input channels are zero, so that at first it predicts the same as the original U-Net. A
    projection and a token for "no reference" that the checkpoint lacks are drawn at random: the projection as torch
    draws a linear layer, the token from the standard normal distribution.

    Args:
        state: a Stable Diffusion 1.5 checkpoint (4 input channels), or a custom model's (12), in latent-diffusion's keys.
        vision: a CLIP vision model's weights, also within a whole CLIP; None: they are in the checkpoint.
        seed: of what is drawn.

    Raises:
        WeightsFileError: a part is missing, of another model, or does not fit; says what to give.
    """
    parts = split_parts(state).parts
    unet, autoencoder = parts["unet"], parts["vae"]
    if FIRST not in unet:
        raise WeightsFileError(
            f"the checkpoint has no 'model.diffusion_model.{FIRST}'; start from a Stable Diffusion 1.5 checkpoint (one file, "
            f"such as v1-5-pruned-emaonly.safetensors) or from a custom model that was trained here"
        )
    unet[FIRST] = widened(unet[FIRST])
    if not autoencoder:
        raise WeightsFileError("the checkpoint has no 'first_stage_model.' (autoencoder); start from a whole checkpoint")
    seeing = _vision_part(state, vision)
    networks = unet_of(unet).float(), vae_of(autoencoder).float(), vision_of(seeing).float()
    context, width = int(networks[0].config["cross_attention_dim"]), int(networks[2].config.hidden_size)
    proj_out, null = _projection(parts["mapper"], parts["null"], width, context, seed)
    return Networks(TryOn(networks[0], proj_out, null), Frozen(networks[1], networks[2]))


def _projection(mapper: Part, given: Part, width: int, context: int, seed: int) -> tuple[nn.Linear, Tensor]:
    """The projection of the reference's tokens and the token for "no reference", (1, 1 or S, context), drawn where missing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        proj_out, null = nn.Linear(width, context), torch.randn(1, 1, context)
    if mapper:
        if set(mapper) != {"proj_out.weight", "proj_out.bias"} or mapper["proj_out.weight"].shape != (context, width):
            raise WeightsFileError(
                f"the checkpoint's projection of the reference ({', '.join(sorted(mapper)[:3])}) is not one linear layer from "
                f"{width} to {context}; start from Stable Diffusion 1.5, or leave out --vision to keep the checkpoint's own"
            )
        proj_out.load_state_dict({key.removeprefix("proj_out."): value.float() for key, value in mapper.items()})
    return proj_out, given["vector"].float() if given else null


def widened(first: Tensor) -> Tensor:
    """The first convolution's weights (C, 4 or 12, 3, 3) for 12 input channels; new channels are zero.

    Raises:
        WeightsFileError: they are for another number of channels.
    """
    channels = first.shape[1]
    if channels == CHANNELS:
        return first
    if channels != STABLE_DIFFUSION:
        raise WeightsFileError(
            f"the checkpoint's U-Net takes {channels} input channels; expected {STABLE_DIFFUSION} (Stable Diffusion 1.5) or "
            f"{CHANNELS} (the custom model): choose another --start"
        )
    wide = first.new_zeros(first.shape[0], CHANNELS, *first.shape[2:])
    wide[:, :channels] = first
    return wide


def _vision_part(state: Mapping[str, Tensor], vision: Mapping[str, Tensor] | None) -> Part:
    source = state if vision is None else vision
    for prefix in VISION[: 1 if vision is None else None]:
        part = {
            key.removeprefix(prefix): value
            for key, value in source.items()
            if key.startswith(tuple(prefix + inside for inside in INSIDE_VISION)) and not key.endswith("position_ids")
        }
        if part:
            return Part(part)
    if vision is None:
        raise WeightsFileError(
            "the checkpoint has no image encoder (Stable Diffusion's has a text encoder in its place); give a CLIP vision "
            "model with --vision, such as the model.safetensors of openai/clip-vit-large-patch14"
        )
    raise WeightsFileError(
        f"the file of --vision holds no CLIP vision model: its keys begin {', '.join(sorted(vision)[:3]) or 'nowhere'}; "
        f"expected 'vision_model.embeddings.…' as transformers saves it"
    )


def small_start(seed: int = 0) -> Networks:
    """The custom model at a tenth of its width with random weights: to try the pipeline, not to make pictures.

    The U-Net begins at 32 channels, the image encoder has 2 layers of width 64 and takes 56 x 56 pixels in 4 x 4 patches.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModel

    widths, context, seen = (32, 64, 128, 128), 48, 64
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            in_channels=CHANNELS,
            block_out_channels=widths,
            attention_head_dim=HEADS,
            cross_attention_dim=context,
        )
        vae = AutoencoderKL(
            block_out_channels=widths,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
        config = CLIPVisionConfig(
            hidden_size=seen,
            intermediate_size=2 * seen,
            num_hidden_layers=2,
            num_attention_heads=1,
            image_size=56,
            patch_size=14,
        )
        vision = CLIPVisionModel(config)
        return Networks(TryOn(unet, nn.Linear(seen, context), torch.randn(1, 1, context)), Frozen(vae, vision))
