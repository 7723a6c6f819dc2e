from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

class VAE:
    first_stage_model: torch.nn.Module
    downscale_ratio: Any  # a number, or a tuple for video
    upscale_ratio: Any
    def __init__(
        self,
        sd: Mapping[str, Tensor] | None = None,
        device: torch.device | None = None,
        config: dict[str, Any] | None = None,
        dtype: torch.dtype | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None: ...
    def encode(self, pixel_samples: Tensor) -> Tensor: ...
    def decode(self, samples_in: Tensor) -> Tensor: ...
