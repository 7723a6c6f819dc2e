"""What `record` is given is checked before the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from joint_models import CASES
from PIL import Image

from i2am import AttributionMaps
from i2am.errors import RecordingError
from i2am.hosts.diffusers.record import record

CASE = CASES["FLUX.1"]
MODEL = CASE.model()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"strides": 1}, "no option 'strides'; did you mean 'stride'"),
        ({"blub": 1}, "no option 'blub'; there are layers"),
        ({"stride": "1"}, "stride must be a whole number, got '1'"),
        ({"stride": 0}, "stride must be at least 1"),
        ({"images": 1.5}, "images must be a whole number"),
        ({"groups": 2.5}, "groups must be a whole number"),
        ({"budget": "1 GB"}, "budget must be a whole number"),
        ({"cells": "all"}, "cells must be a whole number"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"every": 0.5}, "every is 0.5"),
        ({"pairwise": "all"}, "pairwise must be None, 'mean' or 'heads'"),
        ({"layers": [0]}, "layers are names or globs"),
        ({"layers": 3}, "layers are names or globs"),
        ({"keep": "cond"}, "keep are several branches"),
        ({"branches": "cond"}, "branches are several branches"),
        ({"info": {"blub": 1}}, "no fact 'blub'; it takes sigmas, seed, .*put others into info="),
        ({"info": {"host": "mine"}}, "no fact 'host'.*finds it out itself"),
        ({"info": {"model": object()}}, r"info\['model'\] cannot be saved"),
        ({"info": {"extra": {"a": object()}}}, r"info\['extra'\] cannot be saved"),
        ({"info": {"extra": 3}}, r"info\['extra'\] must be a dict"),
        ({"thumbnails": {"generated": torch.rand(4, 4, 3)}}, "thumbnail 'generated' is torch.float32"),
        ({"thumbnails": {"generated": np.zeros((4, 4), np.uint8)}}, "thumbnail 'generated' is torch.uint8 "),
        ({"thumbnails": {"generated": "a.png"}}, "thumbnail 'generated' is str"),
    ],
)
def test_what_cannot_be_is_refused_at_once(given: dict[str, Any], text: str) -> None:
    with pytest.raises(RecordingError, match=text):
        record(MODEL, **{"steps": 2, **given})


def test_a_pillow_picture_is_kept_and_saved(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (6, 4), (200, 30, 10, 255))
    array = np.full((3, 5, 3), 7, np.uint8)
    recording = record(
        MODEL, steps=2, thumbnails={"generated": picture, "reference": array}, info={"seed": 3, "extra": {"a": [1]}}
    )
    with recording:
        CASE.run(MODEL, CASE.inputs())
    recording.maps.save(tmp_path / "maps.safetensors")
    kept = AttributionMaps.load(tmp_path / "maps.safetensors")
    assert kept.thumbnails["generated"].shape == (4, 6, 3)
    assert kept.thumbnails["generated"][0, 0].tolist() == [200, 30, 10]
    assert torch.equal(kept.thumbnails["reference"], torch.from_numpy(array))
    assert (kept.run.seed, kept.run.extra["a"]) == (3, [1])
