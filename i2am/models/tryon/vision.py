"""CLIP's vision model: its shape, read from its weights, and what its pictures are normalised by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .checkpoint import measured

MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures, for red, green and blue in 0-1."""
HEAD = 64
"""Channels per attention head."""


def vision_config(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The shape of a CLIP vision model, read from its weights, in the words of its usual configuration files.

    Raises:
        WeightsFileError: the weights are not such a model's.
    """
    with measured("image encoder"):
        positions, patches = weights["embeddings.position_embedding.weight"], weights["embeddings.patch_embedding.weight"]
        tokens, width = positions.shape
        patch = patches.shape[-1]
        return {
            "model_type": "clip_vision_model",
            "hidden_act": "quick_gelu",
            "hidden_size": width,
            "num_hidden_layers": len({key.split(".")[2] for key in weights if key.startswith("encoder.layers.")}),
            "num_attention_heads": max(1, width // HEAD),
            "intermediate_size": weights["encoder.layers.0.mlp.fc1.weight"].shape[0],
            "num_channels": patches.shape[1],
            "patch_size": patch,
            "image_size": round(max(tokens - 1, 0) ** 0.5) * patch,
        }
