"""A style model of FLUX.1 Redux with random weights, and what the host's Apply Style Model makes with it."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import comfy.ldm.flux.redux
import comfy.sd
import torch
from host_tests import tiny_joint

from nodes import StyleModelApply

TOKENS = 9
"""Of a picture: three rows and columns of patches."""


@cache
def style_model() -> Any:
    """The host's own, with random weights, for the width of the tiny FLUX."""
    network = comfy.ldm.flux.redux.ReduxImageEncoder(6, tiny_joint.WIDTH, dtype=torch.float32)
    source = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=source) / weight.shape[-1] ** 0.5)
    return comfy.sd.StyleModel(network)


def vision(seed: int, pictures: int = 1, tokens: int = TOKENS) -> Any:
    """What CLIP Vision Encode gives of random pictures: three rows and columns of patches."""
    hidden = torch.randn(pictures, tokens, 6, generator=torch.Generator().manual_seed(seed))
    return SimpleNamespace(last_hidden_state=hidden, image_sizes=[torch.Size((3, 44, 44))] * pictures)


def styled(conditioning: Any, seen: Any, strength: float = 1.0, kind: str = "multiply") -> Any:
    """As the host's Apply Style Model leaves it."""
    return StyleModelApply().apply_stylemodel(conditioning, style_model(), seen, strength, kind)[0]
