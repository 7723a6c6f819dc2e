"""The paper's try-on models in diffusers: loaded from a checkpoint or folder, and sampled with DDIM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from ..families import KINDS, Ready
from ..schedule import ddim
from .checkpoint import Checkpoint, Part, sort_checkpoint
from .encoder import TryOnEncoder, vision_config
from .folder import read_model
from .garment import Garment
from .mapper import project_of
from .networks import unet_of, vae_of, vision_of

CHANNELS = 13
"""What StableVITON's U-Net takes; the garment's latents come behind them."""


@dataclass
class TryOnModel:
    """One of the paper's models, ready to run.

    Attributes:
        encoder: the reference's encoder, which also is the family that `families.assemble` asks for.
        garment: what StableVITON has beside its U-Net; None for the others.
    """

    encoder: TryOnEncoder
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    scheduler: DDIMScheduler
    garment: Garment | None = None

    @classmethod
    def load(
        cls, path: Path, family: str = "auto", *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> TryOnModel:
        """Read a checkpoint in the authors' layout, or Paint-by-Example's folder in diffusers' layout.

        Args:
            path: a ``.safetensors`` or ``.ckpt`` file, or a folder.
            family: of `checkpoint.FAMILIES`, or "auto".
            device: where to run.
            dtype: of the U-Net and the encoders; the autoencoder stays in fp32, which fp16 is too narrow for.

        Raises:
            WeightsFileError: the file cannot be read safely, is none of the paper's models, or its keys do not fit.
            I2AMError: transformers is missing, or the image encoder is none that is known.
        """
        found = sort_checkpoint(read_model(path), family)
        # cast before they are placed: diffusers warns of a model that is cast as a whole
        parts = {
            name: Part({key: value.to(torch.float32 if name == "vae" else dtype) for key, value in part.items()})
            for name, part in found.parts.items()
        }
        found = replace(found, parts=parts)
        unet = unet_of(parts["unet"])
        garment = None
        if found.family == "stableviton":
            garment = Garment(unet, parts["unet"], parts["control"], parts["warp"]).to(device).eval()
        return cls(_encoder(found, device), unet.to(device), vae_of(parts["vae"]).to(device), ddim(), garment)

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (B, H, W, 3) in 0-1 to the autoencoder's latents (B, 4, h, w), unscaled: the mode of their distribution."""
        moved = (pictures.movedim(-1, 1) * 2 - 1).to(self.vae.device)
        return self.vae.encode(moved).latent_dist.mode().float().cpu()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 4, h, w), unscaled, to pictures (B, 3, H, W) in 0-1."""
        made = self.vae.decode(latents.to(self.vae.device, torch.float32)).sample
        return (made / 2 + 0.5).clamp(0, 1).cpu()  # type: ignore[no-any-return]

    def predict(self, x: Tensor, known: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """ε (B, 4, h, w) from noisy latents (B, 4, h, w), what stands behind them, the timestep and the tokens (B, S, C)."""
        seen = torch.cat([x, known], 1).to(self.unet.dtype)
        context = tokens.to(seen)
        if self.garment is not None:
            seen, garment = seen[:, :CHANNELS], seen[:, CHANNELS:]
            self.garment.see(seen, garment, t.expand(len(seen)), context)
        return self.unet(seen, t, context).sample.float()  # type: ignore[no-any-return]


@torch.inference_mode()
def try_on(
    model: TryOnModel,
    ready: Ready,
    *,
    seeds: Sequence[int],
    steps: int,
    cfg: float,
    on_step: Callable[[int], object] | None = None,
) -> Tensor:
    """Latents (B, 4, h, w), unscaled, of DDIM; guidance runs as one batch, the unconditional half first.

    A family that starts from a picture starts from that picture noised to t = 999, as its authors do.

    Args:
        model: the model.
        ready: what `families.assemble` made for it.
        seeds: of the noise, one an image.
        steps: DDIM steps.
        cfg: scale of classifier-free guidance; 1 runs without.
        on_step: called with the number of finished steps.
    """
    tokens, options = ready.positive[0]
    device, scheduler = model.unet.device, model.scheduler
    noise = torch.stack([torch.randn(ready.latent.shape[1:], generator=torch.Generator().manual_seed(s)) for s in seeds])
    x = noise
    if KINDS[model.encoder.name].start is not None:
        x = scheduler.add_noise(ready.latent * model.encoder.scale, noise, torch.full((len(seeds),), len(scheduler.betas) - 1))
    known, context = options["noise_concat"].expand(len(seeds), -1, -1, -1), tokens.expand(len(seeds), -1, -1)
    if cfg != 1:
        context = torch.cat([ready.negative[0][0].expand_as(context), context])
        known = known.repeat(2, 1, 1, 1)
    x, known, context = x.to(device), known.to(device), context.to(device)
    scheduler.set_timesteps(steps, device=device)
    for i, t in enumerate(scheduler.timesteps):
        if cfg != 1:
            uncond, cond = model.predict(x.repeat(2, 1, 1, 1), known, t, context).chunk(2)
            epsilon = uncond + cfg * (cond - uncond)
        else:
            epsilon = model.predict(x, known, t, context)
        x = scheduler.step(epsilon, t, x).prev_sample
        if on_step is not None:
            on_step(i + 1)
    return x.cpu() / model.encoder.scale


def _encoder(found: Checkpoint, device: str | torch.device) -> TryOnEncoder:
    weights = found.parts["vision"]
    vision = vision_of(weights).to(device)
    dtype = weights["embeddings.class_embedding"].dtype
    project = project_of(found.family, found.parts["mapper"], device=device, dtype=dtype)

    def see(pixels: Tensor) -> tuple[Tensor, Tensor]:
        out = vision(pixels.to(device, dtype))
        return out.last_hidden_state, out.pooler_output

    config = vision_config(weights)
    sides = {"picture": config["image_size"], "patch": config["patch_size"]}
    return TryOnEncoder(found.family, see, project, found.parts["null"]["vector"], **sides)
