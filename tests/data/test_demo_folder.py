"""The drawn data set, and the command that writes it: what lies where, and that it is what was drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2am.commands.cli import main
from i2am.data.kinds import open_data_set
from i2am.drawn.draw import draw_pairs
from i2am.drawn.seeds import HELD_OUT
from i2am.drawn.spec import draw_pair

NEEDS = ("person", "agnostic", "inpaint_mask", "densepose", "reference", "reference_mask")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drawn") / "deep" / "data"
    assert main(["draw-data", str(out), "--pairs", "2", "--test-pairs", "3", "--seed", "5"]) == 0
    return out


def test_what_the_command_writes_is_a_whole_data_set(folder: Path) -> None:
    data = open_data_set(folder)
    assert data.title == "VITON-HD (data)"
    for which, split, count, takes in (
        ("paired", "train", 2, ()),
        ("paired", "test", 3, ()),
        ("unpaired", "test", 3, ("truth",)),
    ):
        pairs = data.pairs(which, split)
        assert len(pairs) == count
        assert data.check(pairs, (*NEEDS, *takes)).problems == ()


def test_each_wears_the_next_ones_garment_and_the_truth_shows_it(folder: Path) -> None:
    pairs = open_data_set(folder).pairs("unpaired")
    seeds = [HELD_OUT + 5 + i for i in range(3)]
    assert [(p.person, p.garment) for p in pairs] == [(f"{seeds[i]}_00", f"{seeds[(i + 1) % 3]}_00") for i in range(3)]
    for pair, seed, other in zip(pairs, seeds, seeds[1:] + seeds[:1], strict=True):
        garment = draw_pair(other)
        worn = draw_pairs([replace(draw_pair(seed).wearing(garment.garment), flat=garment.flat)])
        opened = pair.open(["truth", "reference", "person"])
        for name, drawn in (
            ("truth", worn.person),
            ("reference", worn.reference),
            ("person", draw_pairs([draw_pair(seed)]).person),
        ):
            seen = np.asarray(opened[name], dtype=np.float32) / 255
            assert np.abs(seen - drawn[0].movedim(0, -1).numpy()).mean() < 0.02, name
        assert np.abs(np.asarray(opened["truth"]).astype(int) - np.asarray(opened["person"])).mean() > 5


def test_drawn_again_pictures_stay_and_lists_follow(tmp_path: Path) -> None:
    command = ["draw-data", str(tmp_path), "--pairs", "0", "--test-pairs"]
    assert main([*command, "2"]) == 0
    kept = tmp_path / "test" / "image" / f"{HELD_OUT}_00.jpg"
    Image.new("RGB", (96, 128), (1, 2, 3)).save(kept)
    before = kept.read_bytes()
    assert main([*command, "3"]) == 0
    assert kept.read_bytes() == before
    assert len(open_data_set(tmp_path).pairs("unpaired")) == 3
    assert all("truth" in pair.files for pair in open_data_set(tmp_path).pairs("unpaired"))
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--pairs", "1000001"], "--pairs is 1000001; expected 0 to 1000000"),
        (["--seed", "99999999"], "--seed is 99999999"),
        (["--pairs", "0", "--test-pairs", "0"], "nothing to draw"),
        (["--test-pairs", "1"], "takes another's garment"),
    ],
)
def test_bad_numbers_are_told_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    assert main(["draw-data", str(tmp_path / "out"), *given]) == 2
    told = capfd.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_folders_place_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("")
    assert main(["draw-data", str(tmp_path / "out")]) == 2
    assert "out is no folder; give another folder" in capfd.readouterr().err
