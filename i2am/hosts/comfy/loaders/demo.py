"""Builds the demo model's parts as the host's own MODEL and VAE, from the weights that ship with the pack."""

from __future__ import annotations

from typing import Any, ClassVar

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models_base
import comfy.utils
import torch

from ....models.demo.comfy_config import UNET_CONFIG, VAE_CONFIG
from ....models.demo.family import DEMO, DemoEncoder, load_part
from ....models.tryon.ldm_keys import vae_to_ldm
from ..names import NAME


class Latents(comfy.latent_formats.LatentFormat):
    """Latents that the autoencoder itself normalises: 4 channels, 4 pixels per cell."""

    latent_channels = 4
    spacial_downscale_ratio = DEMO.factor


class _Config(comfy.supported_models_base.BASE):
    """The demo model among the host's model configurations; its schedule is the host's default, that of SD1.5."""

    unet_config = UNET_CONFIG
    unet_extra_config: ClassVar[dict[str, Any]] = {"num_heads": UNET_CONFIG["num_heads"], "num_head_channels": -1}
    latent_format = Latents
    supported_inference_dtypes: ClassVar[list[torch.dtype]] = [torch.float32]


def load_demo_model() -> tuple[Any, Any, DemoEncoder]:
    """MODEL, VAE and the reference encoder.

    Raises:
        FileNotFoundError: the weights are missing.
        RuntimeError: the host's U-Net or autoencoder does not take the weights' keys.
    """
    return _model(), demo_vae(), DemoEncoder()


def _model() -> Any:
    config = _Config({**UNET_CONFIG, "dtype": torch.float32})
    management = comfy.model_management
    inner = comfy.model_base.BaseModel(
        config, model_type=comfy.model_base.ModelType.EPS, device=management.unet_offload_device()
    )
    names = comfy.utils.unet_to_diffusers(UNET_CONFIG)
    state = {names[key]: value for key, value in load_part("unet").items()}
    inner.diffusion_model.load_state_dict(state)
    patcher = comfy.model_patcher.ModelPatcher(
        inner, load_device=management.get_torch_device(), offload_device=management.unet_offload_device()
    )
    patcher.set_attachments(NAME, "I²AM demo model")
    return patcher


def demo_vae() -> Any:
    """The bundled autoencoder as the host's own VAE.

    Raises:
        FileNotFoundError: the weights are missing.
        RuntimeError: the host's autoencoder does not take the weights' keys.
    """
    params = {"ddconfig": dict(VAE_CONFIG), "embed_dim": VAE_CONFIG["z_channels"]}
    weights = vae_to_ldm(load_part("vae"))
    vae = comfy.sd.VAE(sd=weights, config={"params": params}, dtype=torch.float32)
    missing = set(vae.first_stage_model.state_dict()) ^ set(weights)
    if missing:
        raise RuntimeError(
            f"this ComfyUI's autoencoder has other keys than the demo's weights: {', '.join(sorted(missing)[:5])}"
        )
    vae.downscale_ratio = vae.upscale_ratio = DEMO.factor
    return vae
