"""Stable Diffusion 1's weights by name: from diffusers' and transformers' names to those of latent-diffusion checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

PREFIX = "vision_model."
"""What stands before a vision model's keys in transformers up to 4."""
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_PLAIN = {"conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut"}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_names(keys: Iterable[str], layers: int = 2) -> dict[str, str]:
    """A diffusers U-Net's keys to latent-diffusion's, for blocks of ``layers`` residual blocks.

    Raises:
        KeyError: a key has no known name there.
    """
    keys = list(keys)
    attending = {key.split(".")[1] for key in keys if key.startswith("up_blocks.") and ".attentions." in key}
    return {key: _unet_name(key, layers, attending) for key in keys}


def _unet_name(key: str, layers: int, attending: set[str]) -> str:
    for ours, theirs in _ENDS.items():
        if key.startswith(ours + "."):
            return theirs + key.removeprefix(ours)
    side, *parts = key.split(".")
    if side == "mid_block":
        kind, index, *rest = parts
        place = 1 if kind == "attentions" else 2 * int(index)
        return f"middle_block.{place}.{_inside(kind, rest)}"
    if side not in ("down_blocks", "up_blocks"):
        raise KeyError(f"the U-Net's key {key!r} has no known name in latent-diffusion checkpoints")
    block, kind, index, *rest = parts
    if kind == "downsamplers":
        return f"input_blocks.{(layers + 1) * (int(block) + 1)}.0.op.{'.'.join(rest[1:])}"
    first = (layers + 1) * int(block)
    if kind == "upsamplers":
        return f"output_blocks.{first + layers}.{1 + (block in attending)}.conv.{'.'.join(rest[1:])}"
    number = first + int(index) + (1 if side == "down_blocks" else 0)
    return f"{side.replace('down', 'input').replace('up', 'output')}.{number}.{int(kind == 'attentions')}.{_inside(kind, rest)}"


def _inside(kind: str, rest: list[str]) -> str:
    return ".".join(rest if kind == "attentions" else [_RESIDUAL[rest[0]], *rest[1:]])


def unet_to_ldm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A diffusers U-Net's weights under latent-diffusion names."""
    return {theirs: state[ours] for ours, theirs in unet_names(state).items()}


def vae_names(keys: Iterable[str], levels: int = 4) -> dict[str, str]:
    """A diffusers AutoencoderKL's keys to latent-diffusion's.

    Raises:
        KeyError: a key has no known name there.
    """
    return {key: _vae_name(key, levels) for key in keys}


def _vae_name(key: str, levels: int) -> str:
    side, _, rest = key.partition(".")
    if side in ("quant_conv", "post_quant_conv"):
        return key
    parts = rest.split(".")
    if parts[0] in ("down_blocks", "up_blocks"):
        level = int(parts[1]) if parts[0] == "down_blocks" else levels - 1 - int(parts[1])
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
        raise KeyError(f"the autoencoder's key {key!r} has no known name in latent-diffusion checkpoints")
    return f"{side}.{_renamed(parts)}"


def _renamed(parts: list[str]) -> str:
    return ".".join(_PLAIN.get(part, part) for part in parts)


def vae_to_ldm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A diffusers AutoencoderKL's weights under latent-diffusion names; matrices of attention become 1 x 1 convolutions."""
    levels = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("encoder.down_blocks."))
    out = {}
    for ours, theirs in vae_names(state, levels).items():
        is_matrix = ".attn_1." in theirs and state[ours].ndim == 2
        out[theirs] = state[ours][:, :, None, None] if is_matrix else state[ours]
    return out


def vision_to_ldm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `CLIPVisionModel`'s weights without the ``vision_model.`` of transformers up to 4."""
    return {key.removeprefix(PREFIX): value for key, value in state.items()}
