"""The demo autoencoder's keys in the names that latent-diffusion hosts, ComfyUI among them, use."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

LEVELS = 3
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
"""What a latent-diffusion `Encoder` and `Decoder` need to be of `model.build_vae`'s shape."""
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
"""What ComfyUI's `UNetModel` needs to be of `model.build_unet`'s shape."""

_PLAIN = {"conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut"}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def vae_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A diffusers AutoencoderKL's state dict with latent-diffusion keys; linear attention weights become 1x1 convolutions.

    Raises:
        KeyError: a key has no known name there.
    """
    out = {}
    for key, value in state.items():
        name = _name(key)
        is_matrix = ".attn_1." in name and value.ndim == 2
        out[name] = value[:, :, None, None] if is_matrix else value
    return out


def _name(key: str) -> str:
    side, _, rest = key.partition(".")
    if side in ("quant_conv", "post_quant_conv"):
        return key
    parts = rest.split(".")
    if parts[0] in ("down_blocks", "up_blocks"):
        level = int(parts[1]) if parts[0] == "down_blocks" else LEVELS - 1 - int(parts[1])
        way = parts[0].removesuffix("_blocks")
        if parts[2] == "resnets":
            return f"{side}.{way}.{level}.block.{parts[3]}.{_renamed(parts[4:])}"
        return f"{side}.{way}.{level}.{way}sample.{'.'.join(parts[4:])}"
    if parts[0] == "mid_block":
        if parts[1] == "resnets":
            return f"{side}.mid.block_{int(parts[2]) + 1}.{_renamed(parts[3:])}"
        inner = ".".join(parts[3:])
        for ours, theirs in _ATTENTION.items():
            if inner.startswith(ours + "."):
                return f"{side}.mid.attn_1.{theirs}{inner.removeprefix(ours)}"
        raise KeyError(f"the autoencoder's key {key!r} has no known name in a latent-diffusion host")
    return f"{side}.{_renamed(parts)}"


def _renamed(parts: list[str]) -> str:
    return ".".join(_PLAIN.get(part, part) for part in parts)
