"""CLIP's vision model: its shape, read from its weights, and what its pictures are normalised by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...errors import I2AMError

MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures, for red, green and blue in 0-1."""
HEAD = 64
"""Channels per attention head."""


def vision_config(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The shape of a CLIP vision model, read from its weights, in the words of its usual configuration files.

    Raises:
        I2AMError: the weights are not such a model's.
    """
    try:
        positions, patches = weights["embeddings.position_embedding.weight"], weights["embeddings.patch_embedding.weight"]
        layers = 1 + max(int(key.split(".")[2]) for key in weights if key.startswith("encoder.layers."))
        middle = weights["encoder.layers.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise I2AMError(f"the image encoder's weights are not a CLIP vision model's ({error} is missing)") from error
    side = round((positions.shape[0] - 1) ** 0.5)
    return {
        "model_type": "clip_vision_model",
        "hidden_act": "quick_gelu",
        "hidden_size": positions.shape[1],
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, positions.shape[1] // HEAD),
        "intermediate_size": middle,
        "num_channels": patches.shape[1],
        "patch_size": patches.shape[-1],
        "image_size": side * patches.shape[-1],
    }
