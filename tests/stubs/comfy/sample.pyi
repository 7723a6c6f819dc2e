from typing import Any

from torch import Tensor

from .model_patcher import ModelPatcher

def fix_empty_latent_channels(model: ModelPatcher, latent_image: Tensor, **ratios: Any) -> Tensor: ...  # ratios: not in 0.8.0
