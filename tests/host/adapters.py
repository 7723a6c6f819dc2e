"""IPAdapter_plus, where it lies in the host's custom_nodes: loaded as the host does, with tiny adapters of random weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from host_tests import tiny
from host_tests.boot import load
from torch import Tensor

FOLDER = Path.cwd() / "custom_nodes" / "ComfyUI_IPAdapter_plus"
SEEN = 48  # numbers of a token of the vision model
INPUT, OUTPUT = (1, 2, 4, 5, 7, 8), (3, 4, 5, 6, 7, 8, 9, 10, 11)
LAYERS = [f"input.{i}.1.0" for i in INPUT] + [f"output.{i}.1.0" for i in OUTPUT]
"""Where the pack applies its adapters on SD1.5; its ("middle", 1) is a place that the host never looks at."""
TOKENS = {"standard": 4, "plus": 16, "full": 257}


@cache
def pack() -> ModuleType:
    """The pack; its nodes are registered from then on."""
    return load(FOLDER)


def patch() -> ModuleType:
    """The module that attends."""
    import sys

    return sys.modules[f"{pack().__name__}.CrossAttentionPatch"]


def _projection(kind: str) -> torch.nn.Module:
    import sys

    projections = sys.modules[f"{pack().__name__}.image_proj_models"]
    if kind == "standard":
        return projections.ImageProjModel(tiny.CONTEXT, SEEN, 4)
    if kind == "full":
        return projections.MLPProjModel(tiny.CONTEXT, SEEN)
    return projections.Resampler(tiny.CONTEXT, 4, 64, 12, 16, SEEN, tiny.CONTEXT, 4)


@cache
@torch.inference_mode()  # as the host loads files
def weights(kind: str, seed: int = 0) -> dict[str, Any]:
    """An IPADAPTER in the pack's own layout of keys: "standard", "plus" or "full"."""
    source = torch.Generator().manual_seed(seed)
    unet = tiny.model(sd15=True).model.diffusion_model
    blocks = [*(unet.input_blocks[i] for i in INPUT), *(unet.output_blocks[i] for i in OUTPUT), unet.middle_block]
    layers = {}
    for number, block in enumerate(blocks):
        channels = block[1].transformer_blocks[0].attn2.to_q.out_features
        for name in ("k", "v"):
            layers[f"{2 * number + 1}.to_{name}_ip.weight"] = torch.randn(channels, tiny.CONTEXT, generator=source)
    projection = {
        name: torch.randn(value.shape, generator=source) * (0.5 / value[0].numel() ** 0.5 if value.ndim > 1 else 0.1)
        for name, value in _projection(kind).state_dict().items()
    }
    for name in projection:
        if "norm" in name and name.endswith("weight"):
            projection[name] += 1
    return {"image_proj": projection, "ip_adapter": layers}


@cache
def vision(seed: int = 0) -> Any:
    """A CLIP_VISION of random weights with the grid of the real one, 16 x 16 patches of 14 pixels, and few channels."""
    import json
    import tempfile

    import comfy.clip_vision

    config = {
        "model_type": "clip_vision_model",
        "hidden_act": "quick_gelu",
        "hidden_size": SEEN,
        "image_size": 224,
        "intermediate_size": 2 * SEEN,
        "num_attention_heads": 4,
        "num_channels": 3,
        "num_hidden_layers": 3,
        "patch_size": 14,
        "projection_dim": SEEN,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:  # the oldest host reads it from a file
        json.dump(config, file)
        file.flush()
        model = comfy.clip_vision.ClipVisionModel(file.name)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.model.named_parameters():
            value.copy_(torch.randn(value.shape, generator=source) * (0.1 if value.ndim == 1 else value[0].numel() ** -0.5))
            if "norm" in name and name.endswith("weight"):
                value.add_(1)
    return model


def picture(kind: str, seed: int, pictures: int = 1) -> Tensor:
    """What a vision model would say of some pictures, as EMBEDS."""
    shape = (pictures, SEEN) if kind == "standard" else (pictures, 257, SEEN)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def apply(model: Any, kind: str = "standard", seed: int = 5, pictures: int = 1, batch: bool = False, **options: Any) -> Any:
    """The model with an adapter, through the pack's own node."""
    import nodes

    pack()
    node = nodes.NODE_CLASS_MAPPINGS["IPAdapterEmbedsBatch" if batch else "IPAdapterEmbeds"]()
    given = {"weight": 1.0, "weight_type": "linear", "start_at": 0.0, "end_at": 1.0, "embeds_scaling": "V only", **options}
    shown, nothing = picture(kind, seed, pictures), torch.zeros_like(picture(kind, 0))
    with torch.inference_mode():
        return node.apply_ipadapter(model, weights(kind), shown, neg_embed=nothing, **given)[0]
