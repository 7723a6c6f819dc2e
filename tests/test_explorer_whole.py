"""I²AM Explorer in every ComfyUI of this machine, in both renderers: what `make test-browser` asks beyond the short way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import browsers
import hosts
import numpy as np
import pytest
from outputs.test_viewer_file import large
from report_case import picture
from test_host_server import served

from i2am.geometry.resample import bilinear
from i2am.levels.choice import Choice
from i2am.levels.patch import sram
from i2am.maps.value import AttributionMaps
from i2am.outputs.explored import explorer_file
from i2am.outputs.second import SecondRun
from i2am.pictures.colours import table_of

LONGEST = 1500  # seconds; about 70 on an idle machine
PATCH = 4  # pixels of the demo picture
LETTER = (48, 60)  # the pixel of it that the script points at
CELL = f"{LETTER[1] // PATCH},{LETTER[0] // PATCH}"
FULL, FADE = 0.6, 1.5  # how opaque a heat is, as in web/viewer/heat.js
OFF = 3  # of 255: rounded colours and opacities, and maps of 16 or 8 bits
MOVE = 16  # milliseconds of script that a move of the pointer may take
READABLE = 4.5  # contrast that WCAG asks of small text (AA)
SCENES = ("drawn", "resized", "keyboard", "duplicate", "saved", "subgraph", "two", "leaks", "moves", "both", "dark", "touch")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(browsers.missing()), reason=browsers.summary())]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Starts a host's server once; gives its address and folder."""
    running: dict[hosts.Host, tuple[str, Path]] = {}
    with ExitStack() as stack:

        def at(host: hosts.Host) -> tuple[str, Path]:
            if host not in running:
                base = tmp_path_factory.mktemp("host")
                running[host] = (stack.enter_context(served(host, base)), base)
                (base / "temp").mkdir(exist_ok=True)
                maps, shown = large(1), (picture(384, 512), [picture(512, 512, 1), picture(512, 512, 2)])
                (base / "temp" / "large.i2am").write_bytes(explorer_file(maps, *shown))
                both = explorer_file(maps, *shown, second=SecondRun(maps, shown[0]))
                (base / "temp" / "two.i2am").write_bytes(both)
            return running[host]

        yield at


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((host, vue), id=f"{host.version}-{name}")
        for host in hosts.find()
        for vue, name in ((False, "canvas"), (True, "vue"))
    ],
)
def found(request: pytest.FixtureRequest, servers: Any) -> dict[str, Any]:
    """What each scene of the script found, and the maps that the run saved."""
    host, vue = request.param
    address, base = servers(host)
    how = ["--vue"] if vue else []
    scenes = browsers.run("explorer_person.js", how, address, LONGEST)
    scenes |= browsers.run("explorer_cost.js", ["--file", "large.i2am", "--both", "two.i2am", *how], address, LONGEST)
    files = (base / "output" / "I2AM").glob("browser*.safetensors")
    maps = AttributionMaps.load(max(files, key=lambda path: path.stat().st_mtime))
    return {"maps": maps, "vue": vue, **scenes}


def of(found: dict[str, Any], scene: str) -> Any:
    """What a scene found; fails with what stopped it."""
    assert "error" not in found[scene], found[scene].get("error")
    return found[scene]["found"]


def pixels(pin: dict[str, Any]) -> tuple[int, ...]:
    return tuple(pin[key] for key in ("x", "y", "width", "height") if key in pin)


@pytest.mark.parametrize("scene", SCENES)
def test_the_page_reports_no_error(found: dict[str, Any], scene: str) -> None:
    of(found, scene)
    assert found[scene]["problems"] == []


@pytest.mark.parametrize("on", ["reference", "generated"])
def test_what_is_drawn_is_the_librarys_map(found: dict[str, Any], on: str) -> None:
    """Every patch's colour against the float map of the saved recording, over the picture as the browser drew it."""
    seen = of(found, "drawn")[on]
    assert seen["on"] == on
    row, column = map(int, seen["query"].split(","))
    assert (row, column) == ((15, 12) if on == "reference" else (7, 3))
    heat, base = np.array(seen["heat"], float), np.array(seen["base"], float)
    values = bilinear(sram(found["maps"], (row, column), on, Choice()).values, heat.shape[:2])[0].numpy()
    peak = np.unravel_index(values.argmax(), values.shape)
    assert seen["peak"] == f"{peak[0]},{peak[1]}"
    level = 255 * (values - values.min()) / (values.max() - values.min())
    # what a level and its neighbours would draw: the map is quantised, so either may be meant
    drawn = []
    for near in (-1, 0, 1):
        at = np.clip(np.rint(level) + near, 0, 255).astype(int)
        cover = (np.minimum(at / 255 / FULL, 1) ** FADE)[..., None]
        drawn.append(np.abs(cover * table_of("inferno")[at] + (1 - cover) * base - heat).max(-1))
    off = np.minimum.reduce(drawn)
    away = np.maximum(*(np.abs(index - at) for index, at in zip(np.indices(values.shape), peak)))
    clear = (away == 0) | (away > (1 if on == "reference" else 2))  # of the ring around the peak
    assert off[clear].max() <= OFF
    assert np.abs(heat - base).max(-1)[peak] > 10  # not merely the picture


def test_a_click_means_the_same_patch_at_every_size_of_the_node(found: dict[str, Any]) -> None:
    small, big = of(found, "resized")
    assert (small["query"], big["query"]) == (CELL, CELL)
    assert big["width"] > 1.1 * small["width"]


def test_the_keyboard_alone_points_pins_and_removes(found: dict[str, Any]) -> None:
    seen = of(found, "keyboard")
    assert "i2am-generated" in seen["focus"]["on"]
    assert seen["focus"]["outline"] == "solid 2px"
    assert seen["first"]["query"] == "16,12"  # the middle of 32 x 24
    assert seen["moved"]["query"] == "18,13"
    assert [pixels(pin) for pin in seen["pinned"]["pins"]] == [(54, 74)]
    assert seen["grown"]["query"] == "18,13,2,2"
    assert [pixels(pin) for pin in seen["region"]["pins"]] == [(54, 74), (52, 72, 8, 8)]
    assert "query" not in seen["cleared"]
    assert len(seen["nothing"]["pins"]) == 2
    assert seen["nodes"][0] == seen["nodes"][1], "Delete in the viewer deleted a node"
    assert "i2am-reference" in seen["second"]
    assert seen["mirror"]["on"] == "generated"
    assert seen["chosen"]["query"] == "18,13"
    assert seen["named"] == ["left sleeve", "pin 2"]


def test_a_copy_is_its_own_and_is_undone(found: dict[str, Any]) -> None:
    seen = of(found, "duplicate")
    assert (seen["viewers"], seen["pins"], seen["after"]) == (2, [1, 1], [1, ""])
    assert seen["undone"][0] == {"nodes": 2, "viewers": 2, "pins": 1}
    assert {"nodes": 1, "viewers": 1, "pins": 1} in seen["undone"][1:]  # the host may have kept a step of its own between


def test_a_saved_workflow_shows_it_again_or_says_that_it_must_be_run(found: dict[str, Any]) -> None:
    seen = of(found, "saved")
    assert json.loads(seen["kept"])[0]["name"] == "logo"
    assert seen["blank"] == {"viewers": 0, "nodes": 0}
    assert seen["back"] == seen["reopened"] == {"viewers": 1, "pins": ["logo"]}
    assert seen["gone"] == "What the last run left is no longer there: run the graph again."
    assert seen["problems"] == []


def test_it_works_inside_a_subgraph(found: dict[str, Any]) -> None:
    seen = of(found, "subgraph")
    assert (seen["inside"]["query"], seen["inside"]["pins"]) == (CELL, 1)
    assert seen["outside"] == 0
    assert seen["again"] == {"viewers": 1, "pins": 1}
    assert len(json.loads(seen["kept"])) == 1
    assert seen["problems"] == []


def test_two_references_answer_at_once(found: dict[str, Any]) -> None:
    seen = of(found, "two")
    lines = [line.split() for line in seen["table"].splitlines() if line.startswith(seen["first"]["name"])]
    assert len(lines) == 2
    hovered = seen["hovered"]
    shares = list(map(float, hovered["shares"].split(",")))
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    for index, (cells, peak) in enumerate(zip(lines, hovered["peaks"].split())):
        x, y = (int(cells[cells.index("reference") + 2 + i]) for i in range(2))
        row, column = map(int, peak.split(","))
        assert (column, row) == (x // 8, y // 8)
        assert float(cells[-1].rstrip("%")) == pytest.approx(100 * shares[index], abs=0.06)
    assert seen["clicked"]["on"] == "generated"
    assert seen["clicked"]["pins"][-1]["on"] == "reference 2"
    assert seen["rows"] == 1, "the three pictures do not lie in one row"


def test_nothing_stays_of_deleted_nodes(found: dict[str, Any]) -> None:
    """The page's own counters; what a host keeps of any node with an element of its own is measured beside, and allowed."""
    seen = of(found, "leaks")
    assert seen["problems"] == []
    assert seen["seen"] == seen["times"] == 50
    assert seen["after"]["ours"] == seen["before"]["ours"] > 10
    plain, then = seen["host"]
    for key in ("nodes", "listeners"):
        own = (seen["after"][key] - seen["before"][key]) / seen["times"]
        host = (then[key] - plain[key]) / seen["fewer"]
        assert own <= host + 0.2, f"{key}: {own:.1f} for each node, of which the host keeps {host:.1f}"


@pytest.mark.parametrize(("scene", "pictures"), [("moves", 3), ("both", 6)])
def test_a_move_takes_less_than_a_frame_of_script(found: dict[str, Any], scene: str, pictures: int) -> None:
    """Of one run, and where two are compared, at 64 x 48 patches against 2 x 32 x 32.

    Of each move the best of several, for other work may interrupt any of them.
    """
    seen = of(found, scene)
    assert "64 by 48 patches" in seen["label"]
    assert seen["references"] == pictures - 1
    for name in ("generated", "reference"):
        moves = np.array(seen[name])
        assert len(moves) >= 8
        assert moves.shape[1] == 60
        best = moves.min(0)
        median, most = np.median(best), np.quantile(best, 0.95)
        print(f"a move over a {name} picture: median {median:.1f} ms, 95th percentile {most:.1f} ms")
        assert most < MOVE


def test_both_themes_can_be_read(found: dict[str, Any]) -> None:
    dark, light = of(found, "dark"), of(found, "touch")
    assert (dark["theme"], light["theme"]) == ("dark", "light")
    for seen in (dark["message"], dark["contrast"], light["contrast"]):
        assert seen["ratio"] >= READABLE, seen


def test_fingers_tap_and_drag(found: dict[str, Any]) -> None:
    seen = of(found, "touch")
    assert seen["tapped"]["query"] == CELL
    assert [pin["on"] for pin in seen["tapped"]["pins"]] == ["generated"]
    row, column, rows, columns = map(int, seen["dragged"]["query"].split(","))
    pin = seen["dragged"]["pins"][-1]
    assert pin["on"] == "reference 1"
    assert pixels(pin) == (8 * column, 8 * row, 8 * columns, 8 * rows)
    assert rows * columns > 4
    assert seen["still"], "the graph moved under the finger"
