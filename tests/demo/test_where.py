"""Where the garment went, by attention that is planted to follow it or to shun it."""

from __future__ import annotations

import pytest
import torch

from i2am.demo.evaluate.cases import case_of
from i2am.demo.evaluate.correspondence import true_tokens
from i2am.demo.evaluate.where import WhereTally
from i2am.drawn.places import GRID
from i2am.drawn.seeds import HELD_OUT
from i2am.drawn.spec import PICTURE
from i2am.geometry.resample import area
from i2am.models.demo.encoder import REFERENCE_GRID
from i2am.models.demo.family import demo_layout
from i2am.recording.recorder import Recorder


@pytest.mark.parametrize("follows", [True, False])
def test_where_the_garment_went_by_planted_attention(follows: bool) -> None:
    case = case_of("unpaired", [HELD_OUT + 40, HELD_OUT + 41])
    _, covered = true_tokens(case.truth)
    of_garment = area(case.truth.reference_mask[:, 0], REFERENCE_GRID).flatten(1) >= 0.5
    sides = torch.eye(2) * 3
    q = sides[(covered == follows).long()][:, None]
    k = torch.cat([torch.zeros(2, 1, 2), sides[of_garment.long()]], 1)[:, None]
    recorder = Recorder(demo_layout(), steps=1, images=2, pairwise="mean", generated_size=PICTURE)
    recorder.observe("a", GRID, 0, "cond", q, k, None, scale=1.0)
    recorder.end_step(0)
    tally = WhereTally()
    tally.add(recorder.finish(), case)
    figures = tally.figures()
    assert figures["mirror"] == {"auc": float(follows), "pairs": 2}
    assert figures["inpaint_mask"]["auc"] > 0.7
