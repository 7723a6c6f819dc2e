from typing import Any

import torch
from torch import Tensor

class UNetModel(torch.nn.Module):
    model_channels: int
    input_blocks: torch.nn.ModuleList
    middle_block: torch.nn.Module | None
    output_blocks: torch.nn.ModuleList
    time_embed: torch.nn.Module
    out: torch.nn.Module
    def __init__(
        self,
        image_size: int,
        in_channels: int,
        model_channels: int,
        out_channels: int,
        num_res_blocks: list[int],
        **config: Any,  # about forty more of this kind of U-Net
    ) -> None: ...

def forward_timestep_embed(
    ts: Any, x: Tensor, emb: Tensor, context: Tensor | None = None, transformer_options: dict[str, Any] = ...
) -> Tensor: ...
