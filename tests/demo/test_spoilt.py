"""The demo model with noise in its keys: only these change, by as much as was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from i2am.demo.evaluate.spoilt import KEYS, main, spoil
from i2am.models.demo.family import WEIGHTS
from i2am.models.demo.tryon import DemoModel


def test_noise_of_the_given_strength_is_in_the_keys_alone(tmp_path: Path) -> None:
    assert main(["--strength", "2", "--out", str(tmp_path)]) == 0
    before, after = load_file(WEIGHTS / "unet.safetensors"), load_file(tmp_path / "unet.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.endswith(KEYS)} != set()
    for name in changed:
        noise = after[name].float() - before[name].float()
        assert float(noise.std() / before[name].float().std()) == pytest.approx(2, rel=0.05)
    assert DemoModel.load(tmp_path).about["spoilt"] == {"keys": len(changed), "strength": 2.0, "seed": 0}


def test_no_noise_is_the_model_itself_and_its_own_folder_is_kept(tmp_path: Path) -> None:
    spoil(tmp_path, 0)
    before, after = load_file(WEIGHTS / "unet.safetensors"), load_file(tmp_path / "unet.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(ValueError, match="holds the model itself"):
        spoil(WEIGHTS, 1)
    assert main(["--strength", "-1", "--out", str(tmp_path)]) == 2
