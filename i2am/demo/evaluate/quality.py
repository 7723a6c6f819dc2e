"""How good generated pictures are: what the reader reads from them, PSNR and SSIM inside the garment."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from ...drawn.draw import DemoPairs
from ...drawn.spec import PairSpec
from .reader import Counts, Reader, score

MOST_PSNR = 100.0
"""dB, what pictures that are the same count as; their true PSNR is infinite."""


def psnr(pictures: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over the masked pixels of each picture, (B,), at most `MOST_PSNR`; NaN without any.

    ``pictures`` and ``truth`` are (B, 3, H, W) in 0-1, ``mask`` (B, 1, H, W) of 0 and 1.
    """
    inside = mask.bool().expand_as(truth)
    found = [
        peak_signal_noise_ratio(one[where], true[where], data_range=1.0)
        for one, true, where in zip(pictures, truth, inside, strict=True)
    ]
    return torch.stack(found).clamp(max=MOST_PSNR)


def ssim(pictures: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Structural similarity, mean over the mask, (B,): Wang et al. 2004, Gaussian window of 11, per channel.

    Windows at the garment's edge also see what lies beside it.
    """
    _, value = structural_similarity_index_measure(pictures, truth, data_range=1.0, return_full_image=True)
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
