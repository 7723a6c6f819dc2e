"""The edit model before training."""

from __future__ import annotations

import torch
from torch import nn

from ....models.edit.blocks import Modulation, Scale
from ....models.edit.family import BLOCKS
from ....models.edit.model import EditModel

SHARPNESS = 1.3
"""Scale of queries and keys: attention that begins with a say."""

BRANCHES = ("attn.proj.weight", "mlp.2.weight", "linear2.weight")
"""What a block adds to its stream goes through one of these."""


@torch.no_grad()
def untrained(seed: int) -> EditModel:
    """A model with random weights: gates open, residual branches small, and 0 as its output."""
    torch.manual_seed(seed)
    model = EditModel()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, Scale):
            module.scale.fill_(SHARPNESS)
        if isinstance(module, Modulation):
            nn.init.normal_(module.lin.weight, std=0.02)
            gates = module.lin.bias.view(module.parts, -1)
            gates[2::3] = 1  # each shift and scale is followed by its gate
    for name, parameter in model.named_parameters():
        if name.endswith(BRANCHES):
            parameter.mul_(len(BLOCKS) ** -0.5)
        if name.endswith(("final_layer.linear.weight", "adaLN_modulation.1.weight")):
            parameter.zero_()
    return model
