"""How good generated pictures are: what the reader reads from them, PSNR and SSIM inside the garment."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from ...drawn.draw import DemoPairs
from ...drawn.spec import PairSpec
from .reader import Counts, Reader, score

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


def psnr(pictures: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over the masked pixels of each picture, (B,); NaN without any.

    ``pictures`` and ``truth`` are (B, 3, H, W) in 0-1, ``mask`` (B, 1, H, W) of 0 and 1.
    """
    error = ((pictures - truth).square().mean(1, keepdim=True) * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)
    return -10 * torch.log10(error.clamp_min(1e-10))


def _smooth(x: Tensor) -> Tensor:
    """A Gaussian window, channel by channel, mirrored at the border."""
    at = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    kernel = torch.exp(-0.5 * (at / SIGMA) ** 2)
    kernel = (kernel / kernel.sum()).repeat(x.shape[1], 1)
    x = F.pad(x, (WINDOW // 2,) * 4, mode="reflect")
    x = F.conv2d(x, kernel.view(-1, 1, WINDOW, 1), groups=x.shape[1])
    return F.conv2d(x, kernel.view(-1, 1, 1, WINDOW), groups=x.shape[1])


def ssim(pictures: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Structural similarity, mean over the mask, (B,): Wang et al. 2004, Gaussian window of 11, per channel.

    Windows at the garment's edge also see what lies beside it.
    """
    a, b = _smooth(pictures), _smooth(truth)
    aa, bb, ab = _smooth(pictures**2) - a**2, _smooth(truth**2) - b**2, _smooth(pictures * truth) - a * b
    value = (2 * a * b + C1) * (2 * ab + C2) / ((a**2 + b**2 + C1) * (aa + bb + C2))
    return (value.mean(1, keepdim=True) * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)


@dataclass
class PictureTally:
    """Readings and likeness of many pictures."""

    counts: list[Counts] = field(default_factory=list)
    ssims: list[Tensor] = field(default_factory=list)
    psnrs: list[Tensor] = field(default_factory=list)

    def add(self, reader: Reader, pictures: Tensor, specs: list[PairSpec], truth: DemoPairs) -> None:
        """Read and compare a batch, (B, 3, 128, 96) in 0-1."""
        self.counts.append(score(reader.read(pictures, specs), specs))
        self.ssims.append(ssim(pictures, truth.person, truth.visible))
        self.psnrs.append(psnr(pictures, truth.person, truth.visible))

    def figures(self) -> dict[str, float | int]:
        """Right shares, mean SSIM and PSNR (dB), and of how many."""
        names = ("glyphs", "patterns", "colours", "glyphs_read", "pairs")
        total = Counts(**{name: sum(getattr(c, name) for c in self.counts) for name in names})
        likeness = {"ssim": float(torch.cat(self.ssims).mean()), "psnr": float(torch.cat(self.psnrs).mean())}
        return {**total.shares, **likeness, "glyphs_read": total.glyphs_read, "pairs": total.pairs}
