"""The demo model's parts: the paper's custom try-on model in small.

A U-Net with 12 input channels (noisy, agnostic and densepose latents) that attends to every patch token
of the reference picture and to one leading token without a place, at two grids (32x24 and 16x12), while
the reference grid is 20x14. Only options that ComfyUI's own U-Net and VAE also have.
"""

from __future__ import annotations

from diffusers import AutoencoderKL, UNet2DConditionModel

from .encoder import CONTEXT
from .family import DEMO

HEADS = 4
FACTOR = DEMO.factor
LATENT = DEMO.latent_size(DEMO.size)


def build_unet() -> UNet2DConditionModel:
    """The U-Net, untrained: (B, 12, 32, 24) to (B, 4, 32, 24)."""
    return UNet2DConditionModel(
        sample_size=LATENT,
        in_channels=DEMO.channels,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(64, 128),
        layers_per_block=1,
        norm_num_groups=32,
        cross_attention_dim=CONTEXT,
        attention_head_dim=HEADS,
        use_linear_projection=False,
    )


def build_vae() -> AutoencoderKL:
    """The autoencoder, untrained: factor 4, 4 channels. Latents are normalised inside its 1x1 convolutions."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(64, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=32,
        sample_size=LATENT[0] * FACTOR,
        scaling_factor=1.0,
    )
