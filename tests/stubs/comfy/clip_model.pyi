from typing import Any

import torch
from torch import Tensor

class CLIPVision(torch.nn.Module):
    def __init__(self, config_dict: dict[str, Any], dtype: torch.dtype, device: Any, operations: Any) -> None: ...
    def __call__(
        self, pixel_values: Tensor, attention_mask: Tensor | None = None, intermediate_output: int | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor]: ...  # last hidden states, an intermediate layer's, pooled
