"""A map at many thresholds says what IMACS says at each; the share inside is that behind the mass ratio."""

from __future__ import annotations

import pytest
import torch
from levels_run import run
from scipy.stats import mannwhitneyu
from torchmetrics.functional.classification import binary_auroc

from i2am.levels.heat import Heat
from i2am.levels.marginal import ulam
from i2am.scores.imacs import imacs, roc_area
from i2am.scores.sweep import THRESHOLDS, share_inside, sweep

MASK = torch.zeros(24, 16)
MASK[4:18, 2:11] = 1
MASK[18, 2:11] = 0.25


@pytest.mark.parametrize("preset", ["default", "paper", "official"])
def test_a_sweep_is_imacs_at_every_threshold(preset: str) -> None:
    heat = ulam(run().maps, "R2G", preset=preset)
    found = sweep(heat, MASK)
    assert found is not None
    assert tuple(found.means) == THRESHOLDS
    for threshold in THRESHOLDS:
        for weight in (0.0, 1.0, 3.0):
            score = imacs(heat, MASK, threshold=threshold, weight=weight)
            assert found.means[threshold] == (score.inside, score.outside)
            assert found.score(threshold, weight) == pytest.approx(score.score, abs=1e-6)
        assert found.auc == score.auc


def test_a_flat_map_has_no_sweep() -> None:
    assert sweep(Heat(torch.ones(1, 4, 4), "R2G", "generated", "ULAM", ("",), (8, 8)), MASK[:8, :8]) is None


def test_the_share_inside_is_the_mass_ratio_times_the_area() -> None:
    heat = ulam(run().maps, "R2G")
    score = imacs(heat, MASK)
    assert share_inside(heat, MASK) == pytest.approx(score.mass_ratio * float(MASK.mean()), rel=1e-5)
    even = Heat(torch.full((1, 4, 4), 2.0), "R2G", "generated", "ULAM", ("",), (24, 16))
    assert share_inside(even, MASK) == pytest.approx(float(MASK.mean()), rel=1e-6)


def test_the_area_under_the_roc_curve_is_scipys_and_torchmetrics() -> None:
    values = torch.rand(12, 9, generator=torch.Generator().manual_seed(2)).mul(8).round().div(8)  # with many ties
    mask = (torch.rand(12, 9, generator=torch.Generator().manual_seed(3)) > 0.6).float()
    inside, outside = values[mask == 1].numpy(), values[mask == 0].numpy()
    found = roc_area(values, mask)
    assert found == pytest.approx(mannwhitneyu(inside, outside).statistic / (inside.size * outside.size), abs=1e-12)
    assert found == pytest.approx(float(binary_auroc(values.flatten(), mask.flatten().long())), abs=1e-6)
