"""The bundled edit model in use: pictures in, the edited picture out, its attention recorded or cut on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ..drawn.spec import PICTURE, REFERENCE
from ..geometry.layout import TokenGrid
from ..geometry.sequence import Sequence, generated, reference, text
from ..hosts.attention import Attention
from ..maps.facts import RunInfo
from ..maps.value import AttributionMaps
from ..models.edit.blocks import Attend, attend
from ..models.edit.family import GARMENT_GRID, GRID, LATE, STEPS, TEXT, WEIGHTS
from ..models.edit.model import EditModel
from ..models.edit.sampling import edit_noise, sample, sigmas
from ..recording.recorder import Recorder
from .train.edit.shards import load_vae

PARTS = ("person", "garment", "text", "generated")
"""What attention goes to, as the recorded shares name it: the references first, in their order."""
BOTH = PARTS[:2]


@lru_cache(maxsize=2)
def sequence(short: bool = False) -> Sequence:
    """The tokens of a call; ``short``: of the last block, whose queries are the generated tokens alone."""
    spans = (
        text(TEXT),
        generated(TokenGrid(*GRID, picture=PICTURE)),
        reference(TokenGrid(*GRID, picture=PICTURE), "person"),
        reference(TokenGrid(*GARMENT_GRID, picture=REFERENCE), "garment"),
    )
    whole = Sequence.of(*spans)
    first = whole.generated
    return Sequence(whole.spans, queries=((first.start, first.stop),)) if short else whole


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


class EditRecording:
    """Records a run of `EditTryOn.edit` through its ``attend`` and ``on_step``, every generated token and every pair.

    Args:
        images: pictures of the batch.
        steps: of the run.
        groups: time groups of the pairwise maps.
        seed: of the starting noise, for readers.
    """

    def __init__(self, images: int = 1, steps: int = STEPS, *, groups: int = 1, seed: int | None = None) -> None:
        options: dict[str, Any] = {"stride": 1, "cells": 0, "null_branches": (), "generated_size": PICTURE}
        self.recorder = Recorder(None, steps=steps, images=images, groups=min(groups, steps), **options)
        levels = tuple(sigmas(steps)[:-1].tolist())
        about: dict[str, Any] = {"sampler": "Euler", "cfg": 1.0, "model": "I2AM edit model", "default_layers": LATE}
        self.run = RunInfo(steps=steps, sigmas=levels, seed=seed, **about)
        self._step = 0

    def attend(self, name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The layer's own attention, after it was recorded."""
        of = sequence(short=q.shape[2] < k.shape[2])
        Attention.joint(name, of, "cond", q, k, None, scale=q.shape[-1] ** -0.5).record(self.recorder, self._step)
        return attend(name, q, k, v)

    def on_step(self, done: int) -> None:
        """A step has ended; ``done`` are."""
        self.recorder.end_step(self._step)
        self._step = done

    def finish(self) -> AttributionMaps:
        """What was recorded."""
        return self.recorder.finish(self.run)
