"""The paper's models are evaluated as the demo model is: checkpoints of reduced width, with what each of them cannot give."""

from __future__ import annotations

from pathlib import Path

import paper_models as paper
import pytest
from evaluation_run import evaluated
from paper_runs import SIDE, SIZES
from PIL import Image
from safetensors.torch import save_file
from small_pictures import make_small

from i2am.evaluation.metrics.names import OF_MAPS


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of small pictures."""
    make_small(monkeypatch)


@pytest.mark.parametrize("family", ["paint-by-example", "custom", pytest.param("stableviton", marks=pytest.mark.slow)])
def test_a_family_of_the_papers(data: Path, tmp_path: Path, family: str) -> None:
    state = {key: value.contiguous() for key, value in paper.checkpoint(family, SIZES).items()}
    save_file(state, tmp_path / "weights.safetensors")
    options = ["--model", str(tmp_path / "weights.safetensors"), "--limit", "2", "--batch", "2", "--pairs", "unpaired"]
    folder = evaluated(data, tmp_path / "out", *options)
    run, rows = folder.run(), folder.rows()
    assert (run.family, run.model, len(rows)) == (family, "weights.safetensors", 2)
    on_reference = {name for name in OF_MAPS if "_r." in name} | {"entropy"}
    for row in rows:
        with Image.open(folder.sample(row.key)) as picture:
            assert picture.size == (SIDE, SIDE)
        assert row.values.keys() >= {"ssim", "psnr", "mass_inside", "imacs_g.default", "matches"}  # the truth is drawn too
        if family == "paint-by-example":
            assert all("single token" in row.unavailable[name] for name in on_reference)
            assert folder.maps(row.key).keys() == {"R2G"}
        else:
            assert row.values.keys() >= on_reference
            assert folder.maps(row.key).keys() == {"R2G", "G2R"}
