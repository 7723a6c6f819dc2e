"""The edit model as diffusers' `FluxTransformer2DModel`: its configuration, and its weights under diffusers' names."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .family import SHAPE

WIDTH, HEADS = SHAPE["hidden_size"], SHAPE["num_heads"]
CONFIG: dict[str, Any] = {
    "patch_size": 1,  # diffusers takes patches that are packed already
    "in_channels": SHAPE["in_channels"] * SHAPE["patch_size"] ** 2,
    "num_layers": SHAPE["depth"],
    "num_single_layers": SHAPE["depth_single_blocks"],
    "attention_head_dim": WIDTH // HEADS,
    "num_attention_heads": HEADS,
    "joint_attention_dim": SHAPE["context_in_dim"],
    "pooled_projection_dim": SHAPE["vec_in_dim"],
    "guidance_embeds": SHAPE["guidance_embed"],
    "axes_dims_rope": tuple(SHAPE["axes_dim"]),
}
"""What `FluxTransformer2DModel` takes."""

_WHOLE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_DOUBLE = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
}
_SINGLE = {
    "modulation.lin": "norm.linear",
    "linear2": "proj_out",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}
_JOINED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
}
"""Matrices that diffusers keeps apart; each but an MLP's is as high as the network is wide."""


def diffusers_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's state dict under diffusers' names."""
    out: dict[str, Tensor] = {}
    for name, value in state.items():
        module, _, end = name.rpartition(".")
        end = "weight" if end == "scale" else end
        kind, _, rest = module.partition(".")
        if module in _WHOLE:
            if module == "final_layer.adaLN_modulation.1":  # ours gives shift, then scale; theirs the reverse
                value = value.roll(WIDTH, 0)
            out[f"{_WHOLE[module]}.{end}"] = value
            continue
        index, _, part = rest.partition(".")
        block = {"double_blocks": "transformer_blocks", "single_blocks": "single_transformer_blocks"}[kind]
        if part in _JOINED:
            names = _JOINED[part]
            heights = [WIDTH] * 3 + [value.shape[0] - 3 * WIDTH] * (len(names) - 3)
            for single, rows in zip(names, value.split(heights), strict=True):
                out[f"{block}.{index}.{single}.{end}"] = rows
        else:
            out[f"{block}.{index}.{(_DOUBLE if kind == 'double_blocks' else _SINGLE)[part]}.{end}"] = value
    return out
