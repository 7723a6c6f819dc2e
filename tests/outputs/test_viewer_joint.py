"""The page of a joint recording: patch maps that were pooled to cells, of each layer or as the mean over all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from joint_run import JointRun
from report_case import PICTURES
from torch import Tensor
from viewer_case import Question, ask, in_browser

from i2am.geometry.layout import TokenGrid
from i2am.geometry.resample import bilinear, bilinear_rows
from i2am.geometry.sequence import Sequence, generated, reference, text
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam
from i2am.maps.facts import TOGETHER
from i2am.maps.value import AttributionMaps
from i2am.outputs.viewer_data import viewer_data

GRIDS = {"picture": TokenGrid(8, 6), "shirt": TokenGrid(6, 4), "shoes": TokenGrid(4, 8)}
CELLS = {"picture": (4, 3), "shirt": (3, 4), "shoes": (4, 4)}
"""In blocks of 2 x 2, 2 x 1 and 1 x 2."""


def recorded(budget: int = 10**9) -> AttributionMaps:
    sequence = Sequence.of(
        text(5), generated(GRIDS["picture"]), reference(GRIDS["shirt"], "shirt"), reference(GRIDS["shoes"], "shoes")
    )
    run = JointRun({"cond": sequence}, images=1, steps=2, spread=6.0)
    return run.record(cells=4, budget=budget)


def of_all_layers() -> AttributionMaps:
    """With a byte too few for all pairs beside the coarsest marginal maps, which are means over the heads."""
    whole = recorded()._tensors
    pairs = sum(t.nbytes for key, t in whole.items() if key[0] == "pairwise")
    marginals = sum(t.nbytes // t.shape[2] for key, t in whole.items() if key[0] not in ("pairwise", "spread"))
    return recorded(budget=pairs + marginals - 1)


def pairs_of(maps: AttributionMaps, index: int) -> Tensor:
    """(queries' cells, reference's cells): the mean over all layers and steps."""
    return torch.stack([maps.pairwise(x.name, reference=index)[0].mean((0, 1)) for x in maps.pair_layers()]).mean(0)


def test_patch_maps_say_their_grids() -> None:
    data = viewer_data(recorded(), *PICTURES)
    assert [entry["layer"] for entry in data["pairwise"]] == [0, 1, 0, 1]
    for entry, name in zip(data["pairwise"], ("shirt", "shirt", "shoes", "shoes"), strict=True):
        assert entry["grids"] == {"generated": [4, 3], "reference": list(CELLS[name]), "leading": 0}
        assert entry["values"]["shape"][2:] == [12, CELLS[name][0] * CELLS[name][1]]
    together = viewer_data(of_all_layers(), *PICTURES)
    assert [(entry["layer"], entry["reference"]) for entry in together["pairwise"]] == [(-1, 0), (-1, 1)]


@in_browser
@pytest.mark.parametrize("together", [False, True])
def test_the_page_answers_with_pooled_patch_maps(together: bool, tmp_path: Path) -> None:
    maps = of_all_layers() if together else recorded()
    assert (maps.pair_layers()[0].name == TOGETHER) == together
    patches = [(0, 0), (3, 2), (7, 5), (4, 1)]
    asked: list[Question] = [("sram", at, {"reference": i}) for i in range(2) for at in patches]
    asked += [("mirror", at, {"reference": i}) for i in range(2) for at in [(0, 0), (3, 3)]]
    asked += [("G2R", None, {"reference": 1}), ("sram", (1, 1), {"layer": 1})]
    got = ask(maps, asked, tmp_path)
    assert got["errors"] == []
    for (what, at, state), answer in zip(asked[:-1], got["answers"], strict=False):
        index = state["reference"]
        name = ("shirt", "shoes")[index]
        pairs, whole, size = pairs_of(maps, index), GRIDS[name], CELLS[name]
        if what == "sram":
            assert at is not None
            row = bilinear_rows([(at[0], at[1])], CELLS["picture"], (8, 6)) @ pairs
            map_ = bilinear(row.view(1, *size), (whole.rows, whole.columns)) * size[0] * size[1] / whole.placed
        elif what == "mirror":
            assert at is not None
            column = bilinear_rows([(at[0], at[1])], size, (whole.rows, whole.columns)) @ pairs.T
            map_ = bilinear(column.view(1, *CELLS["picture"]), (8, 6))
            map_ = map_ / map_.sum()
        else:
            map_ = ulam(maps, "G2R", Choice(reference=index)).values
        np.testing.assert_allclose(answer["values"], map_.flatten().numpy(), rtol=2e-4, atol=2e-5, err_msg=f"{what} {at}")
    assert (got["answers"][-1] is None) == together
