"""IP-Adapters in diffusers: layers attend to tokens of pictures beside the text, with a softmax of its own for each adapter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...errors import RecordingError
from ...geometry.layout import Layout, Reference, TokenGrid


def adapters_of(unet: nn.Module, kwargs: Mapping[str, Any]) -> Layout | None:
    """The layout of a U-Net's adapters, each with a softmax of its own; None: it has none.

    Args:
        unet: the U-Net.
        kwargs: what it is called with, which says how many pictures each adapter gets.
    """
    processor = next((p for p in map(_processor, unet.modules()) if hasattr(p, "to_k_ip")), None)
    if processor is None:
        return None
    count = len(processor.num_tokens)
    projections = list(getattr(getattr(unet, "encoder_hid_proj", None), "image_projection_layers", ()))
    given = (kwargs.get("added_cond_kwargs") or {}).get("image_embeds")
    embeds = given if isinstance(given, list | tuple) else ()
    references = []
    for i, tokens in enumerate(processor.num_tokens):
        projection = projections[i] if i < len(projections) else None
        embed = embeds[i] if i < len(embeds) else None
        name = "IP-Adapter" if count == 1 else f"IP-Adapter {i + 1}"
        grid = TokenGrid(0, 0, int(tokens))
        if "Full" in type(projection).__name__ and isinstance(embed, Tensor):
            grid = _grid(int(embed.shape[-2]))
        pictures = int(embed.shape[1]) if isinstance(embed, Tensor) and embed.ndim > 2 else 1
        for picture in range(pictures):
            of = "" if pictures == 1 else f", picture {picture + 1}"
            references.append(Reference(grid, picture * grid.tokens, name + of, i + 1))
    return Layout(tuple(references))


def _grid(tokens: int) -> TokenGrid:
    """The grid of tokens that are projected one by one, and so keep their places: a class token and a square of patches."""
    side = math.isqrt(tokens - 1)
    return TokenGrid(side, side, 1, rect=None) if side * side == tokens - 1 else TokenGrid(0, 0, tokens)


def softmaxes_of(layer: str, module: Any, kwargs: Mapping[str, Any]) -> list[int]:
    """Which softmax each attention of a layer's call is: 0 the layer's own, then those of the adapters that are switched on.

    Raises:
        RecordingError: adapters are limited by masks, which gives each of their pictures a softmax of its own.
    """
    processor = _processor(module)
    if not hasattr(processor, "to_k_ip"):
        return [0]
    if kwargs.get("ip_adapter_masks") is not None:
        raise RecordingError(
            f"the IP-Adapters of layer {layer!r} are limited by masks (ip_adapter_masks), which gives each of their pictures a "
            f"softmax of its own; run without these masks, or leave the layer out with `layers`"
        )
    return [0, *(i for i, scale in enumerate(processor.scale, 1) if not _is_off(scale))]


def _is_off(scale: Any) -> bool:
    return all(s == 0 for s in scale) if isinstance(scale, list) else scale == 0


def _processor(module: Any) -> Any:
    return getattr(module, "processor", None)
