"""Builds the edit model as the host's own MODEL, FLUX in small, with its learned text tokens as a CONDITIONING."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import torch

from ....errors import WeightsFileError
from ....geometry.words import Word
from ....models.carried import Conditioning
from ....models.edit.family import LATE, REFERENCE_METHOD, SHAPE, SHIFT, TEXT, TEXT_WIDTH, VECTOR, WEIGHTS, WHY_LATE
from ....models.edit.model import CONTEXT, load_edit
from ....models.tryon.checkpoint import check_weights
from ..default_layers import DefaultLayers
from ..words import carried_words
from .demo import Latents, demo_vae

PARAMETERS: dict[str, Any] = {**SHAPE, "image_model": "flux", "default_ref_method": REFERENCE_METHOD}
"""What the host's class takes. Its own default would place references as FLUX.1 Kontext does, which this model never saw."""


class _Config(comfy.supported_models.Flux):
    """The edit model among the host's model configurations, which its detection would take for one of FLUX's own sizes."""

    unet_config = PARAMETERS
    sampling_settings: ClassVar[dict[str, Any]] = {"shift": math.log(SHIFT)}
    latent_format = Latents
    supported_inference_dtypes: ClassVar[list[torch.dtype]] = [torch.float32]

    def __init__(self, parameters: dict[str, Any]) -> None:
        super().__init__(parameters)
        self.default_layers = DefaultLayers(LATE, WHY_LATE)


def load_edit_model(folder: Path = WEIGHTS) -> tuple[Any, Any, Conditioning]:
    """MODEL, VAE and the learned text tokens, without references.

    Raises:
        FileNotFoundError: weights are missing.
        I2AMError: a file is not whole, or holds the weights of another model.
        RuntimeError: the host's autoencoder does not take the weights' keys.
    """
    weights, _ = load_edit(folder)
    context = weights.pop(CONTEXT, torch.empty(TEXT, TEXT_WIDTH))
    named = [Word(f"learned token {i}", i - 1) for i in range(1, len(context) + 1)]
    options = {"pooled_output": torch.zeros(1, VECTOR), **carried_words(context[None], named)}
    return _model(weights), demo_vae(), [[context[None], options]]


def _model(weights: dict[str, torch.Tensor]) -> Any:
    management = comfy.model_management
    config = _Config({**PARAMETERS, "dtype": torch.float32})
    inner = config.get_model({}, device=management.unet_offload_device())
    named = config.process_unet_state_dict(weights)
    try:
        check_weights("edit model", inner.diffusion_model.state_dict(), named)
    except WeightsFileError as error:
        raise WeightsFileError(f"{error}; they ship with the pack and belong to its version: install the pack anew") from error
    inner.diffusion_model.load_state_dict(named)
    return comfy.model_patcher.ModelPatcher(
        inner, load_device=management.get_torch_device(), offload_device=management.unet_offload_device()
    )
