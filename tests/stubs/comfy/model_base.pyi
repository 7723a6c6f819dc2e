from collections.abc import Mapping
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from .supported_models_base import BASE

class ModelType(Enum):
    EPS = 1
    V_PREDICTION = 2

class BaseModel(torch.nn.Module):
    diffusion_model: torch.nn.Module
    model_config: BASE
    model_type: ModelType
    def __init__(
        self, model_config: BASE, model_type: ModelType = ..., device: torch.device | None = None, unet_model: Any = ...
    ) -> None: ...
    def load_model_weights(self, sd: Mapping[str, Tensor], unet_prefix: str = "", assign: bool = False) -> BaseModel: ...
    def process_latent_out(self, latent: Tensor) -> Tensor: ...
    def set_inpaint(self) -> None: ...
