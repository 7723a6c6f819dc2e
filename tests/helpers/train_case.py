"""A small start and a few drawn pairs as a VITON-HD folder, for the tests of training."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import paper_models as paper
import torch
from torch import Tensor

from i2am.data.training import TrainingPairs
from i2am.train.loop import Manner, Outcome, Recipe, train
from i2am.train.start import Networks, starting_point

SMALL, SIZE = paper.SMALL, (64, 64)
FIRST = f"{paper.UNET}.input_blocks.0.0.weight"
BESIDE = ("proj_out.", "learnable_vector", paper.VISION)


@lru_cache(maxsize=1)
def _custom() -> dict[str, Tensor]:
    return paper.checkpoint("custom", SMALL)


def custom() -> dict[str, Tensor]:
    """A random checkpoint of the custom model; training from it writes into its tensors."""
    return {k: v.clone() for k, v in _custom().items()}


def stable_diffusion() -> dict[str, Tensor]:
    """A checkpoint in Stable Diffusion 1.5's keys at a tenth of its width: 4 channels in, a text encoder, no vision."""
    state = {k: v for k, v in custom().items() if not k.startswith(BESIDE)}
    state[FIRST] = state[FIRST][:, :4].clone()
    return {**state, "cond_stage_model.transformer.text_model.final_layer_norm.weight": torch.ones(8)}


def clip() -> dict[str, Tensor]:
    """CLIP's own file: a vision model beside what is not needed of it."""
    state = custom()
    seeing = {k.removeprefix("cond_stage_model.transformer."): v for k, v in state.items() if k.startswith(paper.VISION)}
    return {**seeing, "logit_scale": torch.ones(()), "text_model.final_layer_norm.weight": torch.ones(8)}


def start() -> Networks:
    return starting_point(stable_diffusion(), clip())


def data(folder: Path, masks: bool = False) -> TrainingPairs:
    return TrainingPairs(folder, SIZE, SMALL.picture, masks)


def run(folder: Path, out: Path, recipe: Recipe, manner: Manner | None = None) -> Outcome:
    return train(start(), data(folder, bool(recipe.regularisers)), recipe, out, manner)
