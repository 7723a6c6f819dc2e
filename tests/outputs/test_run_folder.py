"""i2am/outputs/run_folder.py: whatever fails, the rest of a run is written, and the reason stands in scores.json."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from i2am.errors import I2AMError, MaskError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.maps.facts import RunInfo
from i2am.maps.value import AttributionMaps
from i2am.outputs import run_folder
from i2am.outputs.run_folder import write_run
from i2am.recording.recorder import Recorder
from i2am.scores.run import score_image

ALL = {"generated.png", "generated_pasted.png", "first_look.png", "maps.safetensors", "report.html", "scores.json"}
MADE = torch.rand(3, 96, 64, generator=torch.Generator().manual_seed(0))
PASTED = torch.rand(3, 96, 64, generator=torch.Generator().manual_seed(1))


@cache
def maps() -> AttributionMaps:
    """A recording of random calls with one reference."""
    layout, source = Layout.of(TokenGrid(5, 4, 1, picture=(50, 40))), torch.Generator().manual_seed(2)
    recorder = Recorder(layout, steps=2, generated_size=(96, 64), branches=("cond",), pairwise="mean", groups=1)
    for step in range(2):
        q, k = (torch.randn(1, 2, n, 4, generator=source) for n in (96, 21))
        recorder.observe("output.9", (12, 8), step, "cond", q, k, k, scale=0.5)
        recorder.end_step(step)
    return recorder.finish(RunInfo(steps=2, model="made-up", seed=7, cfg=1.0))


def mask(size: tuple[int, int], *box: int) -> Image.Image:
    out = Image.new("L", size)
    out.paste(255, box)
    return out


def pictures(**changed: Image.Image) -> dict[str, Image.Image]:
    given = {"reference": Image.new("RGB", (40, 50), (200, 30, 40)), "person": Image.new("RGB", (64, 96))}
    return {**given, "inpaint_mask": mask((64, 96), 10, 10, 50, 80), "reference_mask": mask((40, 50), 5, 5, 30, 40), **changed}


def written(out: Path, **changed: Any) -> dict[str, Any]:
    given = {"made": MADE, "maps": maps(), "pictures": pictures(), "pasted": PASTED, **changed}
    returned = write_run(out, given["made"], given["maps"], given["pictures"], 1.5, pasted=given["pasted"])
    assert json.loads((out / "scores.json").read_text(encoding="utf-8")) == json.loads(json.dumps(returned))
    return returned


def names(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def broken(*_: Any, **__: Any) -> None:
    raise I2AMError("this part is broken\non two lines")


def test_a_whole_run_is_written(tmp_path: Path) -> None:
    scores = written(tmp_path)
    assert names(tmp_path) == ALL
    assert scores["failed"] == {}
    assert (scores["model"], scores["seed"], scores["steps"], scores["cfg"], scores["seconds"]) == ("made-up", 7, 2, 1.0, 1.5)
    inpaint, reference = (torch.from_numpy(np.array(pictures()[f"{x}_mask"]))[None] / 255 for x in ("inpaint", "reference"))
    expected = score_image(maps(), inpaint, reference).scores
    assert {x: scores["imacs"][x]["score"] for x in "gr"} == {x: expected[x].score for x in "gr"}
    shown = np.array(Image.open(tmp_path / "generated.png"))
    assert np.array_equal(shown, (MADE * 255).round().byte().movedim(0, -1).numpy())
    assert np.array_equal(
        np.array(Image.open(tmp_path / "generated_pasted.png")), (PASTED * 255).round().byte().movedim(0, -1).numpy()
    )


@pytest.mark.parametrize(("part", "file"), [("first_look", "first_look.png"), ("report_of_run", "report.html"), ("save", None)])
def test_what_fails_takes_nothing_else_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, part: str, file: str | None
) -> None:
    if file is None:
        monkeypatch.setattr(AttributionMaps, "save", broken)
        file = "maps.safetensors"
    else:
        monkeypatch.setattr(run_folder, part, broken)
    scores = written(tmp_path)
    assert names(tmp_path) == ALL - {file}
    assert scores["failed"] == {file: "this part is broken on two lines"}
    assert scores["imacs"]["g"]["score"] is not None
    assert f"{file} was not written: this part is broken" in caplog.text


def test_without_maps_there_is_the_picture_and_without_a_picture_the_maps(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a", MADE, None, pictures(), 1.0, failed={"maps": "no layer was seen"})
    assert names(tmp_path / "a") == {"generated.png", "scores.json"}
    assert (one["failed"], one["imacs"]) == ({"maps": "no layer was seen"}, {})
    other = write_run(tmp_path / "b", None, maps(), pictures(), 1.0, failed={"picture": "out of memory"})
    assert names(tmp_path / "b") == {"maps.safetensors", "scores.json"}
    assert other["imacs"]["r"]["score"] is not None


TURNED = pictures()["reference_mask"].transpose(Image.Transpose.ROTATE_90)
BAD = {
    "empty reference mask": ({"reference_mask": mask((40, 50), 0, 0, 0, 0)}, "IMACS_r", "is empty"),
    "full reference mask": ({"reference_mask": mask((40, 50), 0, 0, 40, 50)}, "IMACS_r", "covers the whole picture"),
    "turned reference mask": ({"reference_mask": TURNED}, "IMACS_r", "another shape"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mask_takes_away_its_own_score_alone(tmp_path: Path, case: str) -> None:
    changed, name, text = BAD[case]
    scores = written(tmp_path, pictures=pictures(**changed))
    assert names(tmp_path) == ALL
    assert text in scores["failed"][name]
    assert scores["imacs"]["r"]["score"] is None
    assert scores["imacs"]["g"]["score"] is not None


def test_a_full_inpainting_mask_takes_away_the_scores_alone(tmp_path: Path) -> None:
    scores = written(tmp_path, pictures=pictures(inpaint_mask=mask((64, 96), 0, 0, 64, 96)))
    assert names(tmp_path) == ALL
    assert "covers the whole picture" in scores["failed"]["IMACS_g"]
    with pytest.raises(MaskError):
        score_image(maps(), torch.ones(1, 96, 64), None)
