"""The figures of what cuts cost are of cuts that were made."""

from __future__ import annotations

import pytest
import torch

from i2am.bench.cuts import CUTS, TARGETS, attend, measure_cuts
from i2am.bench.joint import Block

SMALL = Block((16, 16), ((16, 16), (8, 16)), 8, 4, 16, measured=4, tokens_in=1)


@pytest.mark.parametrize("name", CUTS)
def test_each_cut_changes_the_attention(name: str) -> None:
    q, k, v = SMALL.tensors(4, torch.device("cpu"))
    sequence = SMALL.sequence()
    assert not torch.allclose(attend(q, k, v, sequence, CUTS[name]), attend(q, k, v, sequence, None), atol=1e-3)


def test_every_cut_has_its_figures_and_a_target() -> None:
    figures = measure_cuts(SMALL, torch.device("cpu"), 1)
    assert set(figures) == set(CUTS) == set(TARGETS)
    assert all(figure["of_attention"] > 0 and figure["of_block"] > 0 for figure in figures.values())
