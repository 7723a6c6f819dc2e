"""The bundled edit model in use: pictures in, the edited picture out, its attention watched or cut on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ..models.edit.blocks import Attend, attend
from ..models.edit.calls import BOTH
from ..models.edit.family import STEPS, WEIGHTS
from ..models.edit.model import EditModel
from ..models.edit.sampling import edit_noise, sample
from .train.edit.shards import load_vae

PARTS = (*BOTH, "text", "generated")
"""What attention goes to, as the recorded shares name it: the references first, in their order."""


@dataclass
class EditTryOn:
    """The edit model and the autoencoder that it shares with the other bundled model."""

    model: EditModel
    vae: AutoencoderKL

    @classmethod
    def load(cls, folder: Path = WEIGHTS) -> EditTryOn:
        """Read the weights of ``folder``.

        Raises:
            FileNotFoundError: they are missing.
            I2AMError: the file is not whole.
        """
        return cls(EditModel.load(folder), load_vae().to(memory_format=torch.channels_last))

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in 0-1 to latents (B, 4, H / 4, W / 4)."""
        return self.vae.encode(pictures * 2 - 1).latent_dist.mode()  # type: ignore[no-any-return]

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 4, H, W) to pictures (B, 3, 4 H, 4 W) in 0-1."""
        return (self.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)  # type: ignore[no-any-return]

    def edit(
        self,
        person: Tensor,
        garment: Tensor,
        seeds: Collection[int],
        *,
        given: Collection[str] = BOTH,
        steps: int = STEPS,
        attend: Attend = attend,
        on_step: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Pictures (B, 3, 128, 96) in 0-1 of the persons in the garments.

        Args:
            person: latents (B, 4, 32, 24).
            garment: latents (B, 4, 40, 28).
            seeds: of each picture's starting noise.
            given: which references the model gets; the others are left out.
            steps, attend, on_step: see `sample`.
        """
        references = [latent for name, latent in zip(BOTH, (person, garment), strict=True) if name in given]
        noise = edit_noise([*seeds])
        return self.decode(
            sample(self.model.network, self.model.context, references, noise, steps, attend=attend, on_step=on_step)
        )
