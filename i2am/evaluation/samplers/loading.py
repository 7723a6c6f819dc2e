"""The model of an evaluation, by its weights and its family."""

from __future__ import annotations

from pathlib import Path

import torch

from ...models.demo.as_tryon import demo_files, load_demo
from ...models.tryon.model import TryOnModel
from ..errors import EvaluationError
from . import DEMO, EDIT
from .edit import EditSampler, edit_file
from .sampler import Sampler, Sampling
from .tryon import TryOnSampler

ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def load(path: Path | None, family: str, how: Sampling, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Sampler:
    """A model of the paper's, or a bundled one.

    Args:
        path: its weights' file or folder; None: the bundled ones.
        family: "demo", "edit", "auto" (told from the weights), or of `models.families.FAMILIES`.
        how: how to sample.
        device: where to run.
        dtype: of its U-Net; the edit model runs in fp32.

    Raises:
        EvaluationError: there is no path, and the family has no weights of its own; or it cannot be sampled in this way.
        WeightsFileError: the weights cannot be read, or are of another model.
    """
    if family == EDIT:
        return EditSampler.load(path, how, device)
    if family == DEMO:
        return TryOnSampler(load_demo(path, device=device, dtype=dtype), how)
    if path is None:
        raise EvaluationError(
            f"--family {family} has no weights of its own: give them by --model, or take --family {DEMO} or {EDIT}"
        )
    return TryOnSampler(TryOnModel.load(path, family, device=device, dtype=dtype), how)


def weights_of(path: Path | None, family: str) -> list[Path]:
    """The files that a model's weights are read from, in a fixed order.

    Raises:
        WeightsFileError: a file of the demo model is missing.
    """
    if family == EDIT:
        return [edit_file(path), demo_files()["vae"]]
    if family == DEMO:
        return list(demo_files(path).values())
    assert path is not None
    return sorted(file for file in path.rglob("*") if file.suffix in ENDINGS) if path.is_dir() else [path]
