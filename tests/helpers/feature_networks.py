"""Small networks as files, in place of those that FID, KID and LPIPS are usually taken with."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

WIDTH = 6


class Features(nn.Module):
    """Means of a random convolution: pictures (B, 3, H, W) uint8 to (B, 6)."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv2d(3, WIDTH, 5, 4)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layer(pictures.float() / 255).relu().mean((2, 3))


class Logits(Features):
    """As the published Inception script has it: features only where they are asked for."""

    def forward(self, pictures: Tensor, return_features: bool = False) -> Tensor:
        features = self.layer(pictures.float() / 255).relu().mean((2, 3))
        return features if return_features else features[:, :2]


class Unlike(nn.Module):
    """The mean square difference of two pictures in -1 to 1."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return (one - other).square().mean()


class Twice(nn.Module):
    """Twice what `Unlike` gives."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return 2 * (one - other).square().mean()


class Wrong(nn.Module):
    """Gives a map in place of features, and of a distance."""

    def forward(self, pictures: Tensor, other: Tensor | None = None) -> Tensor:
        return pictures.float()


def scripted(network: nn.Module, path: Path) -> Path:
    """The network as a TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(network.eval()).save(str(path))
    return path


def exported(network: nn.Module, path: Path, size: tuple[int, int]) -> Path:
    """The network of pictures (B, 3, *size) uint8 as a torch.export file."""
    batch = torch.export.Dim("batch", min=1, max=64)
    given = torch.zeros(2, 3, *size, dtype=torch.uint8)
    torch.export.save(torch.export.export(network.eval(), (given,), dynamic_shapes=({0: batch},)), path)
    return path
