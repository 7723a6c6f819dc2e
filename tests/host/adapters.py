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
APPLIED = {
    "sd15": [*(("input", i, 1) for i in (1, 2, 4, 5, 7, 8)), *(("output", i, 1) for i in range(3, 12)), ("middle", 1, 1)],
    "sdxl": [
        *(("input", i, depth) for i, depth in ((4, 2), (5, 2), (7, 10), (8, 10))),
        *(("output", i, 10 if i < 3 else 2) for i in range(6)),
        ("middle", 1, 10),
    ],
}
"""Where the pack applies its adapters, in the order of their weights: (kind, block, how many attentions)."""


def layers_of(shape: str) -> list[str]:
    """The layers in which its adapters attend: for the middle, the pack names a place that the host never looks at."""
    return [f"{kind}.{i}.1.{n}" for kind, i, depth in APPLIED[shape] for n in range(depth) if kind != "middle"]


LAYERS = layers_of("sd15")
TOKENS = {"standard": 4, "plus": 16, "full": 257}


@cache
def pack() -> ModuleType:
    """The pack; its nodes are registered from then on."""
    return load(FOLDER)


def patch() -> ModuleType:
    """The module that attends."""
    import sys

    return sys.modules[f"{pack().__name__}.CrossAttentionPatch"]


def _projection(kind: str, context: int) -> torch.nn.Module:
    import sys

    projections = sys.modules[f"{pack().__name__}.image_proj_models"]
    if kind == "standard":
        return projections.ImageProjModel(context, SEEN, 4)
    if kind == "full":
        return projections.MLPProjModel(context, SEEN)
    return projections.Resampler(context, 4, 64, 12, 16, SEEN, context, 4)


@cache
@torch.inference_mode()  # as the host loads files
def weights(kind: str, shape: str = "sd15", seed: int = 0) -> dict[str, Any]:
    """An IPADAPTER in the pack's own layout of keys: "standard", "plus" or "full"."""
    source = torch.Generator().manual_seed(seed)
    unet, context = tiny.model(shape=shape).model.diffusion_model, tiny.SHAPES[shape]["context_dim"]
    blocks = {"input": unet.input_blocks, "output": unet.output_blocks, "middle": [None, unet.middle_block]}
    attentions = [x.attn2 for kind_, i, _ in APPLIED[shape] for x in blocks[kind_][i][1].transformer_blocks]
    layers = {}
    for number, attention in enumerate(attentions):
        for name in ("k", "v"):
            values = torch.randn(attention.to_q.out_features, context, generator=source) * (tiny.CONTEXT / context) ** 0.5
            layers[f"{2 * number + 1}.to_{name}_ip.weight"] = values
    projection = {
        name: torch.randn(value.shape, generator=source) * (0.5 / value[0].numel() ** 0.5 if value.ndim > 1 else 0.1)
        for name, value in _projection(kind, context).state_dict().items()
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


def apply(
    model: Any,
    kind: str = "standard",
    seed: int = 5,
    pictures: int = 1,
    batch: bool = False,
    shape: str = "sd15",
    **options: Any,
) -> Any:
    """The model with an adapter, through the pack's own node."""
    import nodes

    pack()
    node = nodes.NODE_CLASS_MAPPINGS["IPAdapterEmbedsBatch" if batch else "IPAdapterEmbeds"]()
    given = {"weight": 1.0, "weight_type": "linear", "start_at": 0.0, "end_at": 1.0, "embeds_scaling": "V only", **options}
    shown, nothing = picture(kind, seed, pictures), torch.zeros_like(picture(kind, 0))
    with torch.inference_mode():
        return node.apply_ipadapter(model, weights(kind, shape), shown, neg_embed=nothing, **given)[0]
