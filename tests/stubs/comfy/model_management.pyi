from collections.abc import Sequence

import torch

from .model_patcher import ModelPatcher

def get_torch_device() -> torch.device: ...
def unet_offload_device() -> torch.device: ...
def text_encoder_device() -> torch.device: ...
def text_encoder_offload_device() -> torch.device: ...
def intermediate_dtype() -> torch.dtype: ...  # not in 0.8.0: ask with hasattr
def unet_dtype(
    device: torch.device | None = None,
    model_params: int = 0,
    supported_dtypes: Sequence[torch.dtype] = ...,
    weight_dtype: torch.dtype | None = None,
) -> torch.dtype: ...
def unet_manual_cast(
    weight_dtype: torch.dtype, inference_device: torch.device, supported_dtypes: Sequence[torch.dtype] = ...
) -> torch.dtype | None: ...
def load_models_gpu(
    models: Sequence[ModelPatcher],
    memory_required: float = 0,
    force_patch_weights: bool = False,
    minimum_memory_required: float | None = None,
    force_full_load: bool = False,
) -> None: ...
