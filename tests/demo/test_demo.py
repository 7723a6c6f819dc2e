"""`i2am demo` with the shipped weights, on a seed that nobody picked: it is derived from the commit."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image

from i2am import AttributionMaps, sram
from i2am.commands.cli import main
from i2am.demo.letters import named_letters
from i2am.drawn.scene import DemoCase, telling_patches
from i2am.drawn.seeds import is_held_out
from i2am.geometry.layout import TokenGrid
from i2am.models.edit.family import WEIGHTS
from i2am.models.edit.model import FILE

ROOT = Path(__file__).parents[2]
SIDES = ("r2g", "r2g_balanced", "mass", "g2r")
STEPS = 20
GRID = TokenGrid(32, 24)
HAS_EDIT = (WEIGHTS / FILE).is_file()
"""Whether the edit model's weights are in this checkout."""


def _commit_seed() -> int:
    """A number from the newest commit; outside of a checkout, one from the files' names."""
    try:
        told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 20
    return int(told[:6], 16) % 100_000


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    argv = [
        "demo",
        "--out",
        str(out),
        "--seed",
        str(_commit_seed()),
        "--steps",
        str(STEPS),
        "--edit-steps",
        "10",
        "--blocks",
        "12",
    ]
    assert main(argv) == 0
    return out


def test_every_promised_file_is_there_and_opens(demo: Path) -> None:
    pictures = [
        "generated",
        "paired",
        "person",
        "agnostic",
        "densepose",
        "reference",
        "inpaint_mask",
        "reference_mask",
        "truth",
        "paired_reference",
    ]
    pictures += [f"{level}_{side}" for level in ("ulam", "tlam", "hlam", "llam") for side in SIDES]
    pictures += ["overview", "look", "sram", "sram_glyph", "sram_print_edge", "sram_background", "causal", "generated_pasted"]
    pictures += ["sram_sleeve"] * any(p.name == "sleeve" for p in telling_patches(DemoCase.draw(_commit_seed()), GRID))
    for name in pictures:
        picture = Image.open(demo / f"{name}.png").convert("RGB")
        assert picture.getextrema() != ((0, 0),) * 3, f"{name} is black"
    for side in ("g2r", "r2g_balanced"):
        assert Image.open(demo / f"tlam_{side}.gif").n_frames == 10
    pages = ["report", "tryon", *(["edit"] if HAS_EDIT else [])]
    assert all("<html" in (demo / f"{page}.html").read_text(encoding="utf-8") for page in pages)


def test_the_scores_have_every_promised_part(demo: Path) -> None:
    scores = json.loads((demo / "scores.json").read_text())
    for preset in ("default", "paper", "official"):
        for side in ("g", "r"):
            part = scores["imacs"][preset][side]
            assert part["score"] == pytest.approx(part["inside"] - part["lambda"] * part["outside"])
            assert {"auc", "mass_ratio", "baselines"} <= part.keys()
    assert set(scores["imacs"]["mirror"]) == set(scores["imacs"]["balanced"]) == {"g"}
    assert {"within_1", "within_2", "chance", "same_place"} <= scores["correspondence"].keys()
    assert {"retrieval", "correlation"} <= scores["causal"].keys()
    letters = named_letters(DemoCase.draw(_commit_seed()))
    assert [*scores["letters"]] == [one.name for one in letters]
    assert all(scores["letters"].values())
    assert scores["recording_bytes"] == AttributionMaps.load(demo / "maps.safetensors").nbytes
    assert scores["seconds"]["all"] >= scores["seconds"]["generate"] > 0
    assert ("edit" in scores) == HAS_EDIT


def test_the_maps_point_home_and_are_causal_on_a_seed_that_nobody_picked(demo: Path) -> None:
    scores = json.loads((demo / "scores.json").read_text())
    points = scores["correspondence"]  # of one garment on one person: the mean over many pairs is higher
    assert points["within_1"] >= 0.7
    assert points["within_2"] >= 0.9
    assert points["within_1"] > 10 * points["chance"]
    assert scores["causal"]["retrieval"] >= 0.5
    assert scores["imacs"]["default"]["r"]["auc"] > 0.7


def test_the_glyph_patch_looks_at_the_glyph(demo: Path) -> None:
    """Also through the file: the SRAM of the patch on the glyph peaks near the glyph's true place."""
    maps = AttributionMaps.load(demo / "maps.safetensors")
    case = DemoCase.draw(_commit_seed())
    glyph = next(p for p in telling_patches(case, GRID) if p.name == "glyph")
    assert glyph.truth is not None
    row, column = divmod(int(sram(maps, glyph.cell).values[0].argmax()), 14)
    x, y = glyph.truth
    assert abs(column - (x / 8 - 0.5)) <= 2
    assert abs(row - (y / 8 - 0.5)) <= 2


def test_demo_seeds_were_never_trained_on() -> None:
    case = DemoCase.draw(5)
    assert is_held_out(case.own_spec.seed)
    assert not torch.equal(case.own.reference, case.worn.reference)
    assert torch.equal(DemoCase.draw(5).worn.person, case.worn.person)


def test_fewer_steps_than_time_groups(tmp_path: Path) -> None:
    assert main(["demo", "--out", str(tmp_path), "--steps", "3", "--edit-steps", "2", "--blocks", "0"]) == 0
    assert Image.open(tmp_path / "tlam_g2r.gif").n_frames == 3
    assert (tmp_path / "report.html").is_file()
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["steps"] == 3
    assert "causal" not in scores
