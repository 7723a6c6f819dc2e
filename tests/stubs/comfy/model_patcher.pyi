from collections.abc import Callable
from typing import Any

import torch

class ModelPatcher:
    model: Any
    model_options: dict[str, Any]
    additional_models: dict[str, list[ModelPatcher]]
    attachments: dict[str, Any]
    load_device: torch.device
    offload_device: torch.device
    def __init__(
        self,
        model: torch.nn.Module,
        load_device: torch.device,
        offload_device: torch.device,
        size: int = 0,
        weight_inplace_update: bool = False,
    ) -> None: ...
    def clone(self) -> ModelPatcher: ...
    def add_wrapper_with_key(self, wrapper_type: str, key: str, wrapper: Callable[..., Any]) -> None: ...
    def set_additional_models(self, key: str, models: list[ModelPatcher]) -> None: ...
    def set_model_output_block_patch(self, patch: Callable[..., Any]) -> None: ...
    def set_attachments(self, key: str, attachment: Any) -> None: ...
