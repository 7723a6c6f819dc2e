"""The paper's try-on models in diffusers: loaded from a checkpoint or folder, and sampled as their authors do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from ..conditioning import Encoder, Ready
from ..sampling import noise_of
from .checkpoint import Checkpoint, Part, sort_checkpoint
from .encoder import TryOnEncoder
from .folder import read_model
from .garment import Garment
from .mapper import projection_of
from .networks import unet_of, vae_of, vision_of
from .sampling import noised, sample, timesteps_of
from .vision import vision_config

COMPANIONS = {"garment": Garment}
"""What builds the network beside a U-Net, by `Companion.network`, from the U-Net, its weights and the companion's parts."""


class CompanionNetwork(Protocol):
    """A network beside the U-Net, joined to it when it was built."""

    def see(self, x: Tensor, beside: Tensor, timesteps: Tensor, context: Tensor, /) -> None:
        """Take what the U-Net's next call sees (B, C, h, w), and the companion's own latents (B, 4, h, w)."""


@dataclass
class TryOnModel:
    """One of the paper's models, or one of their kind, ready to run.

    Attributes:
        encoder: the reference encoder that `conditioning.assemble` asks for.
        unet: the U-Net.
        vae: the autoencoder.
        companion: the network beside the U-Net; None where the family has none.
    """

    encoder: Encoder
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    companion: CompanionNetwork | None = None

    @classmethod
    def load(
        cls, path: Path, family: str = "auto", *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> TryOnModel:
        """Read a checkpoint in the authors' layout, or Paint-by-Example's folder in diffusers' layout.

        Args:
            path: a ``.safetensors`` or ``.ckpt`` file, or a folder.
            family: of `families.FAMILIES`, or "auto".
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
        companion = None
        if found.family.companion is not None:
            build = COMPANIONS[found.family.companion.network]
            companion = build(unet, parts["unet"], **found.companion).to(device).eval()
        return cls(_encoder(found, device), unet.to(device), vae_of(parts["vae"]).to(device), companion)

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (B, H, W, 3) in 0-1 to the autoencoder's latents (B, 4, h, w), unscaled: the mode of their distribution."""
        moved = (pictures.movedim(-1, 1) * 2 - 1).to(self.vae.device, torch.float32).contiguous()
        return self.vae.encode(moved).latent_dist.mode().float().cpu()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 4, h, w), unscaled, to pictures (B, 3, H, W) in 0-1."""
        made = self.vae.decode(latents.to(self.vae.device, torch.float32).contiguous()).sample
        return (made / 2 + 0.5).clamp(0, 1).cpu()  # type: ignore[no-any-return]

    def predict(self, x: Tensor, known: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """ε (B, 4, h, w) from noisy latents (B, 4, h, w), what stands behind them, the timestep and the tokens (B, S, C)."""
        seen = torch.cat([x, known], 1).to(self.unet.dtype)
        context = tokens.to(seen)
        if self.companion is not None:
            channels = self.encoder.family.channels
            seen, beside = seen[:, :channels], seen[:, channels:]
            self.companion.see(seen, beside, t.expand(len(seen)), context)
        return self.unet(seen, t, context).sample.float()  # type: ignore[no-any-return]


@torch.inference_mode()
def try_on(
    model: TryOnModel,
    ready: Ready,
    *,
    seeds: Sequence[int],
    steps: int,
    cfg: float,
    sampler: str | None = None,
    on_step: Callable[[int], object] | None = None,
) -> Tensor:
    """Latents (B, 4, h, w), unscaled; guidance runs as one batch, the unconditional half first.

    A family that starts from a picture starts from that picture noised to t = 999, as its authors do.

    Args:
        model: the model.
        ready: what `conditioning.assemble` made for it.
        seeds: of the noise, one per image.
        steps: the wanted number; see `sampling.timesteps_of`.
        cfg: scale of classifier-free guidance; 1 runs without.
        sampler: "ddim" or "plms"; None: the authors'.
        on_step: called with the number of finished steps.

    Raises:
        I2AMError: the number of steps is out of range.
    """
    tokens, options = ready.positive[0]
    device, family = model.unet.device, model.encoder.family
    times = timesteps_of(steps)
    x = noise_of(seeds, ready.latent.shape[1:])
    if family.start is not None:
        x = noised(ready.latent * family.scale, x)
    known, context = options["noise_concat"].expand(len(seeds), -1, -1, -1), tokens.expand(len(seeds), -1, -1)
    if cfg != 1:
        context = torch.cat([ready.negative[0][0].expand_as(context), context])
        known = known.repeat(2, 1, 1, 1)
    known, context = known.to(device), context.to(device)

    def predict(noisy: Tensor, t: Tensor) -> Tensor:
        return model.predict(noisy, known, t, context)

    made = sample(predict, x.to(device), times, cfg=cfg, sampler=sampler or family.sampler, on_step=on_step)
    return made.cpu() / family.scale


def _encoder(found: Checkpoint, device: str | torch.device) -> TryOnEncoder:
    weights = found.parts["vision"]
    vision = vision_of(weights).to(device)
    dtype = weights["embeddings.class_embedding"].dtype
    project = projection_of(found.parts["mapper"], found.family.single_token, device=device, dtype=dtype)

    def see(pixels: Tensor) -> tuple[Tensor, Tensor]:
        out = vision(pixels.to(device, dtype))
        return out.last_hidden_state, out.pooler_output

    config = vision_config(weights)
    sides = {"picture": config["image_size"], "patch": config["patch_size"]}
    return TryOnEncoder(found.family, see, project, found.parts["null"]["vector"], **sides)
