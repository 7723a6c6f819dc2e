"""The demo's edit with two references, with random weights: its files, its scores, and the page that opens with it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from i2am.demo import run
from i2am.demo.card.sources import EDIT, load
from i2am.demo.edit_model import EditTryOn
from i2am.demo.edit_run import run_edit
from i2am.demo.evaluate.edit.figures import hash_of
from i2am.demo.page import write_page
from i2am.demo.train.edit.shards import load_vae
from i2am.demo.train.edit.start import untrained
from i2am.maps.value import AttributionMaps
from i2am.models.edit.family import LATE, WEIGHTS


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("edit")


@pytest.fixture(scope="module")
def scores(out: Path) -> dict:
    return run_edit(out, EditTryOn(untrained(0).eval(), load_vae()), seed=3, steps=2, progress=False)


def test_every_picture_and_page_of_the_edit_is_there(out: Path, scores: dict) -> None:
    parts = ("person", "garment", "generated", "answer", "which", "which_truth", "cuts")
    for name in ("edit", *(f"edit_{part}" for part in parts)):
        picture = Image.open(out / f"{name}.png").convert("RGB")
        assert any(low != high for low, high in picture.getextrema()), f"{name} is one colour"
    assert "<html" in (out / "edit.html").read_text(encoding="utf-8")
    maps = AttributionMaps.load(out / "edit_maps.safetensors")
    assert [r.name for r in maps.references] == ["person", "garment"]
    assert tuple(layer.name for layer in maps.default_layers) == LATE
    assert set(maps.thumbnails) == {"generated", "reference", "reference 2"}


def test_the_scores_of_the_edit(scores: dict) -> None:
    assert {"share_roc", "share_iou", "within_1", "baselines", "picture"} <= set(scores)
    assert set(scores["within_1"]) == {"person", "garment"}
    assert scores["baselines"]["share_roc"] > 0.8  # how often a patch is garment on other pictures is a strong guess
    assert set(scores["baselines"]["within_1"]) == {"chance", "same_place"}
    assert scores["within_1"]["garment"] < 0.5  # random weights know nothing
    assert list(scores["cuts"]) == ["without person", "without garment"]
    assert all(one["mean"] == 0 for one in scores["cuts"].values())  # untrained, its last layer gives 0 whatever was seen
    assert json.loads(json.dumps(scores)) == scores


def test_the_page_opens_with_the_edit(out: Path, scores: dict, tmp_path: Path) -> None:
    for name in ("edit", "edit_cuts", "overview", "look", "sram"):
        Image.open(out / "edit.png").save(tmp_path / f"{name}.png")
    one = {"seed": 3, "correspondence": {"within_1": 0.875, "chance": 0.03, "same_place": 0.25}}
    page = write_page(tmp_path, {**one, "edit": scores}).read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["An edit with two references", "A try-on with one reference"]
    assert re.findall(r"<h3>(.*?)</h3>", page) == ["Did each reference matter?", "Did its letters arrive?"]
    assert page.count("without person") == page.count("without garment") == 1
    assert re.findall(r'href="(.*?)"', page) == ["edit.html", "tryon.html"]
    assert page.index("<img") > page.index("<h2>")
    assert f"{scores['share_roc']:.3f}" in page
    assert "87.5% of cases" in page
    assert "<script" not in page
    alone = write_page(tmp_path, one).read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", alone) == ["A try-on with one reference"]


def test_a_missing_edit_model_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run, "EDIT_WEIGHTS", tmp_path)
    assert run._edit(tmp_path, 3, 2, False) == {}
    assert f"{tmp_path / 'edit.safetensors'} is missing" in caplog.text


def test_committed_figures_are_of_the_weights_that_ship() -> None:
    figures = load(EDIT)
    if figures:
        assert figures["setup"]["sha256"] == hash_of(WEIGHTS)
        about = EditTryOn.load().model.about
        assert figures["setup"]["samples"] == about["samples"]
        done = about["samples"] >= about["recipe"]["samples"]  # weights on the way are measured on fewer, as the card says
        assert figures["setup"]["pairs"] >= (200 if done else 64)
        assert figures["setup"]["choice_pairs"] >= (100 if done else 24)
        assert figures["setup"]["changed_pairs"] >= (32 if done else 8)
