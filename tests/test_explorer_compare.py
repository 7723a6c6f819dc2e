"""Two runs compared in I²AM Explorer, in every ComfyUI of this machine and in both renderers: workflow 18."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import browsers
import hosts
import pytest
from test_host_server import served

from i2am.geometry.pins import Pin
from i2am.levels.choice import Choice
from i2am.levels.difference import Difference, difference, patch_difference
from i2am.maps.value import AttributionMaps
from i2am.outputs.pin_table import said_of

LONGEST = 900  # seconds; about 40 on an idle machine
CELL = (8, 5)  # the patch of 8 x 8 pixels that the script points at
WHITE = [255, 255, 255]  # the mark's colour
WAYS = [
    pytest.param((host, vue), id=f"{host.version}-{name}")
    for host in hosts.find()
    for vue, name in ((False, "canvas"), (True, "vue"))
]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(browsers.missing()), reason=browsers.summary())]


@pytest.fixture(scope="module", params=WAYS)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each scene found, and the maps of both runs."""
    host, vue = request.param
    base = tmp_path_factory.mktemp("host")
    with served(host, base) as address:
        scenes = browsers.run("explorer_compare.js", ["--vue"] if vue else [], address, LONGEST)
    for name, scene in scenes.items():
        assert "error" not in scene, f"{name}: {scene.get('error')}"
    return {"runs": [run_of(base, name) for name in ("first", "second")], **scenes}


def run_of(base: Path, name: str) -> AttributionMaps:
    (file,) = (base / "output" / "I2AM").glob(f"{name}*.safetensors")
    return AttributionMaps.load(file)


def differences(runs: list[AttributionMaps]) -> list[Difference]:
    """Of the patch that the script points at, on each reference."""
    return [patch_difference(runs[0], runs[1], CELL, choice=Choice(reference=i)) for i in range(2)]


@pytest.mark.parametrize("scene", ["linked", "wiped", "difference"])
def test_the_page_reports_no_error(found: dict[str, Any], scene: str) -> None:
    assert found[scene]["problems"] == []


def test_the_same_patch_is_marked_in_both_runs(found: dict[str, Any]) -> None:
    seen = found["linked"]["found"]
    assert seen["runs"] == ["first (cfg 1)", "second (cfg 5)"]
    before = [one["colour"] for one in seen["before"]]
    assert WHITE not in (before[0], before[3])
    for pointed in seen["pointed"]:  # at the picture of the first run, and at that of the second
        assert pointed["query"] == f"{CELL[0]},{CELL[1]}"
        colours = [one["colour"] for one in pointed["pictures"]]
        assert (colours[0], colours[3]) == (WHITE, WHITE)
        assert pointed["scales"][:2] == pointed["scales"][2:], "two scales"
    assert seen["mirror"]["on"] == "generated"
    assert all("One scale for both runs" in note for note in seen["mirror"]["notes"])
    assert len(seen["mirror"]["notes"]) == 2


def test_nothing_moves_under_the_pointer(found: dict[str, Any]) -> None:
    seen = found["linked"]["found"]
    tops = [[one["top"] for one in shown["pictures"]] for shown in (*seen["pointed"], seen["mirror"])]
    assert tops[0] == tops[1] == tops[2]
    assert seen["pinned"]["query"] == f"{CELL[0]},{CELL[1]}"
    assert [pin["on"] for pin in seen["pinned"]["pins"]] == ["generated"]


def test_the_wipe_is_used_by_keys_alone(found: dict[str, Any]) -> None:
    seen = found["wiped"]["found"]
    assert seen["chosen"] == "wipe"
    assert seen["focus"] == {"label": "Wipe: first on the left, second on the right", "type": "range"}
    assert seen["cuts"] == ["0.52", "0.28", "0.00", "1.00"]
    assert seen["labels"][1] == "28 % first (cfg 1), 72 % second (cfg 5)"
    assert seen["half"] == seen["all"]  # left of the edge: the first run
    assert seen["less"] == seen["none"] != seen["all"]  # right of it: the second


def test_the_difference_is_the_librarys(found: dict[str, Any]) -> None:
    seen, runs = found["difference"]["found"], found["runs"]
    whole = [difference(*runs, "which reference"), *(difference(*runs, "G2R", Choice(reference=i)) for i in range(2))]
    for shown, expected in ((seen["whole"], whole), (seen["pointed"], differences(runs))):
        limits, moved = ([float(x) for x in shown[key].split()] for key in ("limits", "moved"))
        assert limits == pytest.approx([one.limit for one in expected], abs=2e-3, rel=5e-3)
        assert moved == pytest.approx([one.moved for one in expected], abs=2e-3)
    assert seen["pictures"] == 3
    assert all(note.startswith("Orange: more in the second run; blue: less.") for note in seen["pointed"]["notes"][1:])
    assert (seen["again"]["view"], seen["again"]["cut"]) == ("difference", "1.00")


def test_the_table_says_what_the_library_does(found: dict[str, Any]) -> None:
    seen, runs = found["linked"]["found"], found["runs"]
    (letter, _) = seen["kept"]
    pin = Pin(letter["name"], letter["colour"], letter["x"], letter["y"])
    lines = [line for line in seen["table"].splitlines() if line.startswith("letter  difference")]
    (cell,) = pin.cells(runs[0].generated_size, runs[0].layers[0].grid)
    assert cell == CELL
    for line, apart in zip(lines, differences(runs), strict=True):
        assert line.endswith(said_of(apart))
