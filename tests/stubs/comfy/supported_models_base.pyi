from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from .latent_formats import LatentFormat
from .model_base import BaseModel, ModelType

class BASE:
    unet_config: dict[str, Any]
    unet_extra_config: ClassVar[dict[str, Any]]
    latent_format: type[LatentFormat]  # an object of it in the configuration's own objects
    supported_inference_dtypes: ClassVar[list[torch.dtype]]
    manual_cast_dtype: torch.dtype | None
    def __init__(self, unet_config: dict[str, Any]) -> None: ...
    def get_model(
        self, state_dict: Mapping[str, Tensor], prefix: str = "", device: torch.device | None = None
    ) -> BaseModel: ...
    def inpaint_model(self) -> bool: ...
    def model_type(self, state_dict: Mapping[str, Tensor], prefix: str = "") -> ModelType: ...
    def process_unet_state_dict(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]: ...
    def set_inference_dtype(
        self, dtype: torch.dtype, manual_cast_dtype: torch.dtype | None, device: torch.device | None = None
    ) -> None: ...
