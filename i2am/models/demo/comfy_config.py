"""The bundled model's shape as the configuration of latent-diffusion networks, which ComfyUI builds its own from."""

from __future__ import annotations

VAE_CONFIG = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 128,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 64,
    "ch_mult": [1, 1, 1],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "dropout": 0.0,
}
"""What a latent-diffusion `Encoder` and `Decoder` need to be of `networks.build_vae`'s shape."""
UNET_CONFIG = {
    "image_size": 32,
    "in_channels": 12,
    "out_channels": 4,
    "model_channels": 64,
    "channel_mult": [1, 2],
    "num_res_blocks": [1, 1],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "context_dim": 128,
    "num_heads": 4,
    "num_head_channels": -1,
    "use_checkpoint": False,
    "legacy": False,
}
"""What ComfyUI's `UNetModel` needs to be of `networks.build_unet`'s shape."""
