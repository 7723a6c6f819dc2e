"""How good edited pictures are, region by region, and what a change of the run changed in them, and where."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ....drawn.groups import Edits
from ....drawn.spec import PairSpec
from ....models.edit.family import GRID
from ....scores.imacs import roc_area
from ..quality import psnr, ssim
from ..reader import Reader, Readings, score
from .cases import Truth

REGIONS = ("garment", "kept", "revealed")
"""Of a picture: what the garment's picture shows, what stays as on the person's picture, and what neither shows."""
QUALITY = (*(f"psnr_{region}" for region in REGIONS), "ssim_garment", "glyphs", "glyphs_read", "pattern", "colour")
"""What `quality` measures of each picture."""
EFFECT = (*(f"change_{region}" for region in REGIONS), "roc")
"""What `effect` measures of each picture."""


def regions(edits: Edits) -> dict[str, Tensor]:
    """The masks of `REGIONS`, (B, 1, 128, 96) each."""
    revealed = (1 - edits.from_garment) * (1 - edits.from_person)
    return dict(zip(REGIONS, (edits.from_garment, edits.from_person, revealed), strict=True))


def quality(reader: Reader, pictures: Tensor, edits: Edits, wanted: Sequence[PairSpec]) -> Tensor:
    """`QUALITY` of each picture against the right answer, (B, 8): dB, SSIM, and counts of what was read right.

    The PSNR of a region that a picture does not have is NaN.
    """
    found = [psnr(pictures, edits.worn, mask) for mask in regions(edits).values()]
    found.append(ssim(pictures, edits.worn, edits.from_garment))
    read, rows = reader.read(pictures, wanted), []
    for glyphs, pattern, colour, pair in zip(read.glyphs, read.patterns, read.colours, wanted, strict=True):
        counts = score(Readings((glyphs,), (pattern,), (colour,)), [pair])
        rows.append([counts.glyphs, counts.glyphs_read, counts.patterns, counts.colours])
    return torch.cat([torch.stack(found, 1), torch.tensor(rows, dtype=torch.float32)], 1)


def quality_figures(rows: Tensor) -> dict[str, float | int | None]:
    """Means over pictures of PSNR and SSIM, shares read right, and of how many, from rows of `quality` (B, 8)."""
    named = dict(zip(QUALITY, rows.double().unbind(1), strict=True))
    means = {name: mean(named[name]) for name in QUALITY[:4]}
    read = {"glyph": float(named["glyphs"].sum() / named["glyphs_read"].sum())}
    read |= {name: float(named[name].mean()) for name in ("pattern", "colour")}
    return {**means, **read, "glyphs_read": int(named["glyphs_read"].sum()), "pairs": len(rows)}


def effect(pictures: Tensor, before: Tensor, edits: Edits, truth: Truth) -> Tensor:
    """`EFFECT` of what made pictures (B, 3, 128, 96) from ``before``, (B, 4).

    The mean absolute change in each region, in 0-1, and how well the change of a patch tells garment from what stays: the
    area under its ROC curve over the patches of either kind, 0.5 where it cannot tell them apart.
    """
    change = (pictures - before).abs().mean(1, keepdim=True)
    found = [(change * mask).flatten(1).sum(1) / mask.flatten(1).sum(1) for mask in regions(edits).values()]
    cells = F.adaptive_avg_pool2d(change, GRID).flatten(1)
    areas = [roc_area(c[t], g[t].float()) for c, t, g in zip(cells, truth.told, truth.garment, strict=True)]
    found.append(torch.tensor([float("nan") if area is None else area for area in areas]))
    return torch.stack(found, 1)


def effect_figures(rows: Tensor) -> dict[str, float | None]:
    """Means over pictures from rows of `effect`, (B, 4)."""
    return {name: mean(column) for name, column in zip(EFFECT, rows.double().unbind(1), strict=True)}


def mean(values: Tensor) -> float | None:
    """The mean of what is a number; None where nothing is."""
    known = values[~values.isnan()]
    return float(known.mean()) if len(known) else None
