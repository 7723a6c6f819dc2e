"""Two runs beside each other without JavaScript: the table has both runs' true figures, and the picture shows both."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from edit_run import SHAPES, edit_run
from PIL import Image
from report_case import read_file, record
from two_runs import run, two

from i2am.errors import I2AMError, UnavailableError
from i2am.geometry.pins import pins_of
from i2am.levels.choice import Choice
from i2am.levels.difference import difference, patch_difference
from i2am.levels.patch import sram
from i2am.levels.share import share
from i2am.maps.facts import RunInfo
from i2am.maps.value import AttributionMaps
from i2am.outputs.explored import Explored, explore, explorer_file
from i2am.outputs.pin_table import said_of
from i2am.outputs.report import write_report
from i2am.outputs.second import SAME, SAME_IMAGE, STAND_INS, SecondRun, check_together, run_names
from i2am.outputs.viewer_file import LARGEST

PINS = pins_of(
    '[{"name": "logo", "x": 20, "y": 30}, {"name": "left", "on": "reference 2", "x": 9, "y": 9, "width": 24, "height": 24}]'
)


@pytest.fixture(scope="module")
def explored() -> Explored:
    maps, generated, references, second = two()
    return explore(maps, generated, references, PINS, second=second)


def rows(table: str) -> list[list[str]]:
    return [re.split(r"  +", line) for line in table.splitlines()]


def test_the_table_has_both_runs_and_their_difference(explored: Explored) -> None:
    maps, other = run(0), run(1)
    lines = rows(explored.table)
    assert lines[0][:3] == ["pin", "run", "on"]
    assert [line[1] for line in lines[1:10]] == ["first (seed 0)", "second (seed 1)", "difference"] * 3
    cell = (30 // 8, 20 // 8)
    for i in range(2):
        choice = Choice(reference=i)
        first, second, apart = lines[1 + 3 * i : 4 + 3 * i]
        ratios = []
        for line, of in ((first, maps), (second, other)):
            values = sram(of, cell, choice=choice).values[0]
            ratios.append(float(values.max() / values.mean()))
            row, column = divmod(int(values.argmax()), values.shape[1])
            assert line[6:9] == [f"{8 * column + 4}", f"{8 * row + 4}", f"{ratios[-1]:.1f}"]
            assert line[10] == f"{float(share(of).values[i][cell]):.1%}"
        shares = [float(share(of).values[i][cell]) for of in (maps, other)]
        found = patch_difference(maps, other, cell, choice=choice)
        row, column = found.place()
        assert apart[6:9] == [f"{8 * column + 4}", f"{8 * row + 4}", f"{ratios[1] - ratios[0]:+.1f}"]
        assert apart[10:] == [f"{100 * (shares[1] - shares[0]):+.1f} points", said_of(found)]
    whole = difference(maps, other, "G2R", Choice(reference=1))
    assert f"second (seed 1) minus first (seed 0), G2R of reference 2: {said_of(whole)}" in explored.table
    assert explored.table.splitlines()[-1] == STAND_INS


def test_the_first_runs_outputs_stay_as_they_were(explored: Explored) -> None:
    maps, generated, references, _ = two()
    alone = explore(maps, generated, references, PINS)
    assert [torch.equal(a.values, b.values) for a, b in zip(alone.heats, explored.heats, strict=True)] == [True] * 3
    assert (alone.answer, alone.points, alone.at) == (explored.answer, explored.points, explored.at)
    assert torch.equal(alone.region, explored.region)
    assert "run" not in rows(alone.table)[0]


def test_the_picture_shows_both_runs_and_what_differs(explored: Explored) -> None:
    maps, generated, references, second = two()
    alone = explore(maps, generated, references, PINS).marked
    assert explored.marked.height > 4 * alone.height  # two runs, the whole picture, and a row for each pin
    pixels = np.asarray(explored.marked, int)
    other = explore(second.maps, second.generated, references, PINS).marked
    tops = [y for y in range(len(pixels)) if pixels.shape[0] - y >= 512 and _same(pixels[y : y + 512], alone, 512)]
    below = [y for y in range(len(pixels)) if pixels.shape[0] - y >= 512 and _same(pixels[y : y + 512], other, 512)]
    assert len(tops) == len(below) == 1
    assert below[0] > tops[0] + 512
    rest = pixels[below[0] + 560 :]
    orange = (rest[..., 0] - rest[..., 2] > 90).sum()
    blue = (rest[..., 2] - rest[..., 0] > 90).sum()
    assert min(orange, blue) > 2000


def _same(part: np.ndarray, picture: Image.Image, height: int) -> bool:
    wanted = np.asarray(picture, int)[:height]
    return bool((part[0, : wanted.shape[1]] == wanted[0]).all() and (part[:, : wanted.shape[1]] == wanted).all())


def test_the_same_recording_twice_differs_nowhere_and_says_so() -> None:
    maps, generated, references, _ = two()
    found = explore(maps, generated, references, PINS, second=SecondRun(run(0), generated))
    lines = rows(found.table)
    assert [line[-1] for line in lines if line[1:2] == ["difference"]] == ["no difference"] * 3
    assert "second minus first, G2R of reference 1: no difference" in found.table
    assert found.table.splitlines()[-1] == SAME
    data = read_file(explorer_file(maps, generated, references, second=SecondRun(run(0), generated)))
    assert any(note.startswith("Both recordings are the same") for note in data["notes"])


def test_the_file_holds_both_runs_in_the_room_of_one() -> None:
    maps, generated, references, second = two()
    raw = explorer_file(maps, generated, references, second=second)
    data, alone = read_file(raw), read_file(explorer_file(maps, generated, references))
    assert len(raw) <= LARGEST
    assert (alone["name"], alone["second"]) == ("", None)
    assert (data["name"], data["second"]["name"]) == ("first (seed 0)", "second (seed 1)")
    assert [one["values"]["shape"] for one in data["second"]["pairwise"]] == [
        one["values"]["shape"] for one in data["pairwise"]
    ]
    assert data["second"]["pairwise"][0]["values"]["data"] != data["pairwise"][0]["values"]["data"]
    assert data["second"]["generated"]["src"] != data["generated"]["src"]
    assert data["second"]["references"][0]["src"] == data["references"][0]["src"]  # a stand-in, and said
    assert any(note.startswith("The second run kept no pictures") for note in data["notes"])


def test_kept_pictures_of_other_references_are_shown_for_the_second_run() -> None:
    maps, generated, references, second = two()
    grey = {name: torch.full((8, 8, 3), 90, dtype=torch.uint8) for name in ("reference", "reference 2")}
    other = replace(second, maps=second.maps.with_thumbnails(grey))
    data = read_file(explorer_file(maps, generated, references, second=other))
    assert data["second"]["references"][0]["src"] != data["references"][0]["src"]
    assert (data["second"]["references"][0]["width"], STAND_INS in data["notes"]) == (8, False)
    same = replace(other, maps=other.maps)
    shown = same.pictures(maps.with_thumbnails(grey), references)
    assert all(a is b for a, b in zip(shown, references, strict=True))  # both kept the same: the given ones are sharper


def test_runs_are_called_by_what_tells_them_apart() -> None:
    maps = record()
    runs = []
    for info in (
        RunInfo(7, cfg=1.0, seed=5, model="a"),
        RunInfo(7, cfg=5.0, seed=5, model="b", sampler="euler", extra={"patches": "lora 0.8 on 9 weights"}),
    ):
        other = record()
        object.__setattr__(other, "run", info)
        runs.append(other)
    assert run_names(*runs) == ("first (a, cfg 1)", "second (b, lora 0.8 on 9 weights, euler, cfg 5)")
    assert run_names(maps, maps) == ("first", "second")


def test_what_cannot_be_compared_is_refused() -> None:
    maps, generated, references, second = two()
    coarse = edit_run(SHAPES[:2], steps=1, size=(8, 6))
    with pytest.raises(UnavailableError, match=r"the generated picture has 16 x 12 patches .* in the first and 8 x 6"):
        explore(maps, generated, references, [], second=SecondRun(coarse, generated))
    for call in (explore, explorer_file):
        given = (PINS,) if call is explore else ()
        with pytest.raises(I2AMError, match="picture of the second run is 128 x 20 pixels, but the second run's"):
            call(maps, generated, references, *given, second=replace(second, generated=Image.new("RGB", (128, 20))))
    with pytest.raises(I2AMError, match="image 1 is compared, but the second run had 1 image"):
        SecondRun.of(maps, [generated], 1)
    with pytest.raises(I2AMError, match="of the second run: 2 pictures were given, but the run had 1 image"):
        SecondRun.of(maps, [generated] * 2, 0)
    for given, missing in (((maps, None), "image_2"), ((None, generated), "maps_2")):
        with pytest.raises(I2AMError, match=f"but {missing} is not: a second run is compared with both"):
            check_together(*given)
    for given in ((maps, generated), (None, None)):
        check_together(*given)


def test_pins_that_the_second_run_lacks_are_said_and_the_first_stays() -> None:
    first, without = record(), record(None)
    height, width = first.generated_size
    pictures = [Image.new("RGB", (40, 50)), Image.new("RGB", (60, 30))]
    pins = pins_of('[{"name": "a", "x": 8, "y": 8}]')
    picture = Image.new("RGB", (width, height))
    found = explore(first, picture, pictures, pins, second=SecondRun(without, picture))
    assert [line[1] for line in rows(found.table)[1:3]] == ["first", "first"]
    assert "a in the second run: none of the chosen layers has pairwise maps" in found.table
    assert "second minus first, G2R" in found.table


def kept(seeds: tuple[int, int], number: int) -> AttributionMaps:
    """A run that kept a small picture of each of its two references."""
    small = {
        name: torch.from_numpy(np.random.default_rng(seed).integers(0, 255, (8, 6, 3), np.uint8))
        for name, seed in zip(("reference", "reference 2"), seeds, strict=True)
    }
    return run(number).with_thumbnails(small)


def test_other_references_are_named() -> None:
    """Patches are compared by their places, which mean nothing on another picture."""
    picture = Image.new("RGB", (4, 4))
    first = kept((0, 1), 0)
    assert SecondRun(kept((0, 1), 1), picture).notes(first) == []
    order = SecondRun(kept((1, 0), 1), picture).notes(first)
    assert [note.split(": ")[0] for note in order] == [
        "reference 1 of the second run is reference 2 of the first",
        "reference 2 of the second run is reference 1 of the first",
    ]
    (other,) = SecondRun(kept((0, 7), 1), picture).notes(first)
    assert other.startswith("reference 2 is another picture in the second run")


def test_one_picture_for_two_runs_is_told() -> None:
    maps, generated, references, second = two()
    told = explore(maps, generated, references, PINS, second=replace(second, generated=generated)).table
    assert SAME_IMAGE in told.splitlines()
    assert SAME_IMAGE not in explore(maps, generated, references, PINS, second=second).table


@pytest.mark.parametrize("second", ["maps", "pair"])
def test_a_second_run_of_another_type_is_refused(tmp_path: Path, second: str) -> None:
    maps, generated, references, run_two = two()
    wrong = {"maps": run_two.maps, "pair": (run_two.maps, generated)}[second]
    with pytest.raises(I2AMError, match=r"given as SecondRun\(maps, picture\).*got a (AttributionMaps|tuple)"):
        write_report(tmp_path / "page.html", maps, generated, references, second=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, "maps.safetensors"])
def test_what_is_no_recording_is_not_compared(wrong: object) -> None:
    maps = run(0)
    with pytest.raises(I2AMError, match="the second run's maps are the maps of a recording"):
        difference(maps, wrong, "G2R")  # type: ignore[arg-type]
    with pytest.raises(I2AMError, match="the first run's maps are the maps of a recording"):
        patch_difference(wrong, maps, (0, 0))  # type: ignore[arg-type]
