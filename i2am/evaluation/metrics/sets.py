"""A set of generated pictures against a set of real ones: FID and KID, as torchmetrics has them, from their features."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from ..facts import Lacking, OfSet

SUBSET, SUBSETS = 1000, 100
"""KID's usual subsets; sets of equal sizes that are no larger are taken whole."""
FEWEST = 2


class _Given(nn.Module):
    """Features that are given instead of pictures."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def of_sets(real: Tensor, generated: Tensor, seed: int = 0) -> tuple[dict[str, OfSet], dict[str, Lacking]]:
    """FID and KID from features (N, D) and (M, D), and what is missing, by name.

    KID is the unbiased estimate over the whole sets where they are equally large and hold no more than 1000 pictures; else its
    mean over 100 subsets of 1000, or of as many as the smaller set has, drawn from ``seed``.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    n = min(len(real), len(generated))
    if n < FEWEST:
        reason = (
            f"FID and KID compare sets of {FEWEST} or more pictures, got {len(generated)} generated and {len(real)} real ones"
        )
        return {}, {name: Lacking(reason=reason) for name in ("fid", "kid")}
    # one process computes these for all, so torchmetrics must not gather them from the others
    given = _Given(generated.shape[1])
    several = n > SUBSET or len(real) != len(generated)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will save all extracted features")
        fid = FrechetInceptionDistance(given, sync_on_compute=False)
        kid = KernelInceptionDistance(
            given, subsets=SUBSETS if several else 1, subset_size=min(SUBSET, n), sync_on_compute=False
        )
    for metric in (fid, kid):
        metric.update(real.double(), real=True)
        metric.update(generated.double(), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, spread = kid.compute()
    return {
        "fid": OfSet(value=float(fid.compute()), n=len(generated)),
        "kid": OfSet(value=float(mean), n=len(generated), spread=float(spread) if several else None),
    }, {}
