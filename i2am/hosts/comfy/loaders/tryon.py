"""Builds the paper's models as the host's own MODEL and VAE, and their reference encoder, from an authors' checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.clip_model
import comfy.model_base
import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models
import comfy.utils
import torch
from torch import Tensor

from ....errors import WeightsFileError
from ....models.tryon.checkpoint import Checkpoint, check_weights, measured, sort_checkpoint
from ....models.tryon.encoder import TryOnEncoder
from ....models.tryon.folder import read_model
from ....models.tryon.mapper import projection_of
from ....models.tryon.vision import vision_config
from ..names import NAME
from .garment import with_garment

COMPANIONS = {"garment": with_garment}
"""What puts the network beside a MODEL's U-Net, by `Companion.network`: it takes the MODEL and the companion's parts."""


class _Config(comfy.supported_models.SD15):
    """Stable Diffusion 1.5 whose further input channels come with the conditioning, not from the host's inpainting nodes."""

    def inpaint_model(self) -> bool:
        return False


def load_tryon(path: Path, family: str = "auto") -> tuple[Any, Any, TryOnEncoder]:
    """MODEL, VAE and the reference encoder of a checkpoint, or of a folder in diffusers' layout.

    Raises:
        WeightsFileError: the file cannot be read safely, is none of the paper's models, or its keys do not fit.
        I2AMError: its image encoder is none that is known.
    """
    found = sort_checkpoint(read_model(path), family)
    with measured("U-Net"):
        model = _model(found.parts["unet"])
    if found.family.companion is not None:
        with measured(" and the ".join(found.companion)):
            model = COMPANIONS[found.family.companion.network](model, **found.companion)
    model.set_attachments(NAME, path.name)
    with measured("autoencoder"):
        vae = _vae(found.parts["vae"])
    with measured("image encoder"):
        return model, vae, _encoder(found)


def _model(weights: dict[str, Tensor]) -> Any:
    management = comfy.model_management
    config = _Config(comfy.model_detection.detect_unet_config(weights, ""))
    dtype = management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(weights),
        supported_dtypes=list(config.supported_inference_dtypes),
        weight_dtype=comfy.utils.weight_dtype(weights),
    )
    device = management.get_torch_device()
    config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, config.supported_inference_dtypes))
    model = config.get_model(weights, "", device=management.unet_offload_device())
    check_weights("U-Net", model.diffusion_model.state_dict(), weights)
    model.load_model_weights(dict(weights), "")
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=management.unet_offload_device())


def _vae(weights: dict[str, Tensor]) -> Any:
    width = weights["encoder.conv_in.weight"].shape[0]
    levels = sorted({int(key.split(".")[2]) for key in weights if key.startswith("encoder.down.")})
    shape = {
        "double_z": True,
        "z_channels": weights["decoder.conv_in.weight"].shape[1],
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": width,
        "ch_mult": [weights[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] // width for i in levels],
        "num_res_blocks": len({key.split(".")[4] for key in weights if key.startswith("encoder.down.0.block.")}),
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    try:
        vae = comfy.sd.VAE(sd=weights, config={"params": {"ddconfig": shape, "embed_dim": shape["z_channels"]}})
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        odd = " ".join(str(error).partition("size mismatch for ")[2].splitlines()[0].split())
        raise WeightsFileError(
            f"the weights of the autoencoder do not fit: {odd} The file mixes two models, take another"
        ) from error
    check_weights("autoencoder", vae.first_stage_model.state_dict(), weights)
    return vae


class _Parts(torch.nn.Module):
    """The reference encoder's networks as one model for the host's memory management."""

    def __init__(self, found: Checkpoint, device: Any) -> None:
        super().__init__()
        vision, mapper = found.parts["vision"], found.parts["mapper"]
        dtype, operations = vision["embeddings.class_embedding"].dtype, comfy.ops.manual_cast
        self.vision = comfy.clip_model.CLIPVision(vision_config(vision), dtype, device, operations)
        check_weights("image encoder", self.vision.state_dict(), vision)
        self.vision.load_state_dict(vision)
        self.mapper = projection_of(mapper, found.family.single_token, operations, device=device, dtype=dtype)


def _encoder(found: Checkpoint) -> TryOnEncoder:
    management = comfy.model_management
    device, offload = management.text_encoder_device(), management.text_encoder_offload_device()
    parts = _Parts(found, offload).eval()
    patcher = comfy.model_patcher.ModelPatcher(parts, load_device=device, offload_device=offload)

    def on_device(run: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        def loaded(x: Tensor) -> Any:
            management.load_models_gpu([patcher])
            return run(x.to(device))

        return loaded

    def see(pixels: Tensor) -> tuple[Tensor, Tensor]:
        tokens, _, pooled = parts.vision(pixels)
        return tokens, pooled

    config = vision_config(found.parts["vision"])
    sides = {"picture": config["image_size"], "patch": config["patch_size"]}
    return TryOnEncoder(found.family, on_device(see), on_device(parts.mapper), found.parts["null"]["vector"], **sides)
