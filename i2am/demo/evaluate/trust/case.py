"""One pair at one noise, as the study sees it, whatever the model is."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import torch
from torch import Tensor

from ....geometry.resample import Size, area
from ....interventions.plan import Cut
from ....levels.heat import Heat
from ....maps.value import AttributionMaps
from .trials import BASELINE, Trial

BLUR = 8.0
"""Standard deviation in pixels of the blurred reference: one token of either model."""


@dataclass(frozen=True, eq=False)
class Uncut:
    """The run without a cut.

    Attributes:
        maps: its recording.
        heats: the maps that are tried, by name; those of a picture on one grid.
        picture: (3, H, W) in 0-1.
        truth: (H, W), 1 = where the reference is truly seen.
    """

    maps: AttributionMaps
    heats: dict[str, Heat]
    picture: Tensor
    truth: Tensor


class Case(Protocol):
    """A pair at one noise."""

    reference: int
    """Which reference is cut."""

    def uncut(self) -> Uncut:
        """Make the run without a cut, and record it."""

    def make(self, trials: Sequence[Trial]) -> Tensor:
        """Pictures (n, 3, H, W) in 0-1 of as many runs, in one batch."""


class Studied(Protocol):
    """A model that is studied."""

    name: str
    steps: int

    def about(self) -> dict[str, Any]:
        """What it is: the hash of its weights, on how many samples they were trained, how it is run."""

    def case(self, pair: int, noise: int) -> Case:
        """The held-out pair of this number at the noise of this number."""


def noise_seed(pair: int, noise: int) -> int:
    """The seed of a run's noise, and of its random orders."""
    return 1000 * pair + noise


def blurred(picture: Tensor) -> Tensor:
    """A picture (3, H, W) under a Gaussian of `BLUR` pixels."""
    return torch.from_numpy(cv2.GaussianBlur(picture.permute(1, 2, 0).numpy(), (0, 0), BLUR)).permute(2, 0, 1).contiguous()


def is_due(cut: Cut, layer: str, step: int) -> bool:
    """Whether a cut is made in a layer and step."""
    return cut.is_due(step) and (cut.layers is None or any(fnmatch.fnmatchcase(layer, pattern) for pattern in cut.layers))


def baseline(mask: Tensor, cells: Size, picture: str) -> Heat:
    """The drawn truth (H, W) as a map: the part of each cell that it covers; cells that are equal in it in random order."""
    size: Size = (mask.shape[0], mask.shape[1])
    ties = torch.rand(cells, generator=torch.Generator().manual_seed(0))
    values = area(mask[None].float(), cells)[0] + 1e-4 * ties
    return Heat(values[None], BASELINE, picture, "ULAM", ("",), size)
