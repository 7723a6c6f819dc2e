"""Two runs in the viewer: its own differences are the library's, and both are seen by pointer and keyboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edit_run import SHAPES, edit_run
from report_case import LAYERS, PICTURES, Scripts, record
from two_runs import pictures_of, run, two
from viewer_case import dump, in_browser

from i2am.levels.choice import Choice
from i2am.levels.difference import difference, patch_difference
from i2am.levels.patch import sram
from i2am.levels.share import share
from i2am.maps.value import AttributionMaps
from i2am.outputs.explored import explorer_file
from i2am.outputs.report import write_report
from i2am.outputs.second import SecondRun

NODE = shutil.which("node")
by_node = pytest.mark.skipif(NODE is None, reason="no node on PATH: differences in the viewer are not compared")
VIEWER = Path(__file__).resolve().parents[2] / "web" / "viewer"
SIDES = [*((side, "generated") for side in ("R2G", "R2G-balanced", "mass", "which reference")), ("G2R", "reference")]
SCRIPT = """
import { readFileSync } from "node:fs";
import { readFile } from "VIEWER/decode.js";
import { dataOfSecond, differenceOf, onOneScale, stateOfSecond } from "VIEWER/difference.js";
import { Run } from "VIEWER/run.js";
const raw = readFileSync(process.argv[1]);
const data = await readFile(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length));
const runs = [data, dataOfSecond(data)].map((one) => new Run(one));
const answers = JSON.parse(process.argv[2]).map((asked) => {
  const state = { reference: 0, group: -1, layer: -1, head: -1, query: null, ...asked.state };
  const found = stateOfSecond(runs[0].data, runs[1].data, state);
  if (found.missing) return found;
  const pick = (shown) => (asked.on === "generated" ? shown.generated : shown.references[state.reference]);
  const maps = [runs[0].shown(state), runs[1].shown(found.state)].map(pick);
  const { unit } = runs[0].kind(maps[0].side);
  const apart = differenceOf(maps, unit, state.reference, 65535);
  const spans = onOneScale(maps, unit).map((map) => map.span);
  return { ...apart, values: Array.from(apart.values ?? []), unit, spans };
});
console.log(JSON.stringify(answers));
"""


def ask(file: Path, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    script = SCRIPT.replace("VIEWER", VIEWER.as_uri())
    command = [NODE or "", "--input-type=module", "--eval", script, str(file), json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    maps, generated, references, second = two()
    path = tmp_path_factory.mktemp("two") / "two.i2am"
    path.write_bytes(explorer_file(maps, generated, references, second=second))
    return path


@by_node
def test_its_differences_are_the_librarys(file: Path) -> None:
    maps, other = run(0), run(1)
    layer = maps.layers[1].name
    wholes: list[tuple[str, str, dict[str, int], Choice]] = []
    for reference in range(2):
        for state, chosen in (
            ({}, {}),
            ({"layer": 1}, {"layers": layer}),
            ({"group": 1}, {"steps": maps.groups[1]}),
            ({"head": 1}, {"heads": [1]}),
        ):
            choice = Choice(reference=reference, **chosen)
            wholes += [(side, picture, {**state, "reference": reference}, choice) for side, picture in SIDES]
    asked: list[dict[str, Any]] = [
        {"on": on, "state": {**state, "side": side, "referenceSide": side}} for side, on, state, _ in wholes
    ]
    expected = [difference(maps, other, side, choice) for side, _, _, choice in wholes]
    for reference in range(2):
        for cells in ([(0, 0)], [(7, 5)], [(4, 2), (4, 3), (5, 2), (5, 3)]):
            rows, columns = (1, 1) if len(cells) == 1 else (2, 2)
            row, column = cells[0]
            place = {"row": row, "column": column, "rows": rows, "columns": columns}
            for of, on, direction in (("generated", "reference", "reference"), ("reference", "generated", "generated")):
                asked.append({"on": on, "state": {"query": {"picture": of, **place}, "reference": reference}})
                expected.append(patch_difference(maps, other, cells, direction, Choice(reference=reference)))
    for question, got, wanted in zip(asked, ask(file, asked), expected, strict=True):
        values = wanted.values.flatten().numpy()
        off = 1e-4 + 2e-4 * wanted.largest  # 16 bits of each row
        np.testing.assert_allclose(got["values"], values, atol=off, err_msg=str(question))
        assert got["limit"] == pytest.approx(wanted.limit, abs=off), question
        assert got["moved"] == pytest.approx(wanted.moved, abs=off), question
        assert got["unit"] == wanted.unit
        first, second = got["spans"]
        assert first == second, "two scales"
        if wanted.side != "which reference":
            assert (first["low"], first["high"]) == pytest.approx((wanted.least, wanted.largest), abs=off)


def compared_file(path: Path, maps: AttributionMaps, other: AttributionMaps) -> Path:
    """A file of two runs with noise for pictures."""
    generated, references = pictures_of(maps, 0)
    path.write_bytes(explorer_file(maps, generated, references, second=SecondRun(other, generated)))
    return path


@by_node
def test_layers_and_times_are_meant_by_name_and_by_steps(tmp_path: Path) -> None:
    fewer = {name: layer for name, layer in LAYERS.items() if name != "mid.0"}
    maps, other = record(), record(layers=fewer)
    asked = [{"on": "generated", "state": {"side": "R2G", "referenceSide": "G2R", "layer": layer}} for layer in (0, 1, 2)]
    first, without, last = ask(compared_file(tmp_path / "layers", maps, other), asked)
    assert without == {"missing": "The second run has no layer mid.0. Choose all layers."}
    for got, name in ((first, "in.0"), (last, "out.0")):
        wanted = difference(maps, other, "R2G", Choice(layers=name))
        np.testing.assert_allclose(got["values"], wanted.values.flatten(), atol=1e-4 + 2e-4 * wanted.largest)
    slower = edit_run(SHAPES[:2], steps=4, seed=1, groups=2)
    asked = [{"on": "generated", "state": {"side": "R2G", "referenceSide": "G2R", "group": group}} for group in (0, 2)]
    for answer in ask(compared_file(tmp_path / "groups", run(0), slower), asked):
        assert set(answer) == {"missing"}
        assert answer["missing"].startswith("The second run has no part of step")
        assert answer["missing"].endswith("Choose all of the time.")


@by_node
def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    state = {"side": "R2G", "referenceSide": "G2R"}
    pointed = {**state, "query": {"picture": "generated", "row": 2, "column": 2}}
    asked = [{"on": "generated", "state": state}, {"on": "reference", "state": pointed}]
    for answer in ask(compared_file(tmp_path / "same", run(0), run(0)), asked):
        assert (answer["limit"], answer["moved"]) == (0, 0)


DRIVER = """
await new Promise((done) => {
  const look = () => document.querySelector(".i2am-viewer") && done();
  new MutationObserver(look).observe(document.getElementById("viewer"), { childList: true });
  look();
});
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
const root = document.querySelector(".i2am-viewer");
const text = (name) => [...root.querySelectorAll(name)].filter((one) => one.checkVisibility()).map((one) => one.textContent);
const canvases = () => [...root.querySelectorAll("canvas")].filter((one) => one.checkVisibility());
const seen = () => ({
  ...root.dataset, hash: location.hash, runs: text(".i2am-run > h2"), headings: text(".i2am-panel h2"),
  levels: text(".i2am-level"), notes: text("figcaption .i2am-small"), said: text(".i2am-sentence")[0],
  rows: text(".i2am-both tbody tr"), scales: text(".i2am-scale"),
  labels: canvases().map((one) => one.getAttribute("aria-label")), shown: canvases().length,
});
const pixel = (canvas, u, v) => {
  const at = [u * canvas.width, v * canvas.height].map(Math.floor);
  return [...canvas.getContext("2d").getImageData(...at, 1, 1).data.subarray(0, 3)];
};
function point(canvas, u, v, kind) {
  const box = canvas.getBoundingClientRect();
  const where = { clientX: box.left + u * box.width, clientY: box.top + v * box.height, bubbles: true };
  canvas.dispatchEvent(new PointerEvent(kind, where));
  return seen();
}
const did = { rest: seen() };
const own = canvases();
did.pointed = point(own[3], 3.5 / 12, 5.5 / 16, "pointermove"); // the second run's own picture
did.clicked = point(own[3], 3.5 / 12, 5.5 / 16, "click");
did.marked = [own[0], own[3]].map((canvas) => pixel(canvas, 3.5 / 12, 5 / 16));
const radio = (value) => root.querySelector(`input[value=${value}]`);
radio("difference").click();
did.difference = seen();
root.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
did.whole = seen();
radio("wipe").click();
const slider = root.querySelector(".i2am-wipe input");
const at = (value) => {
  slider.value = value;
  slider.dispatchEvent(new Event("input"));
  const [left, right] = [0.25, 0.75].map((u) => pixel(own[0], u, 0.4));
  return { ...seen(), value: slider.getAttribute("aria-valuetext"), left, right };
};
did.all = at(1);
did.none = at(0);
did.half = at(0.5);
did.wipe = {
  label: slider.labels[0].textContent, type: slider.type, focusable: slider.tabIndex,
  radios: text("fieldset label"), legend: text("fieldset legend")[0],
};
const result = document.createElement("script");
result.id = "result";
result.type = "application/json";
result.textContent = JSON.stringify({ did, errors }).replaceAll("<", "\\\\u003c");
document.body.append(result);
"""


@in_browser
def test_a_page_of_two_runs_is_used(tmp_path: Path) -> None:
    maps, generated, references, second = two()
    path = write_report(tmp_path / "two.html", maps, generated, references, second=second)
    page = path.read_text(encoding="utf-8").replace("</body>", f'<script type="module">{DRIVER}</script></body>')
    path.write_text(page, encoding="utf-8")
    found = Scripts(dump(path, tmp_path / "profile"))
    assert "result" in found.scripts, "the driver did not finish"
    got = json.loads(found.scripts["result"])
    assert got["errors"] == []
    did, other = got["did"], second.maps

    rest, pointed = did["rest"], did["pointed"]
    assert rest["runs"] == ["first (seed 0)", "second (seed 1)"]
    assert len(rest["headings"]) == 6
    assert pointed["query"] == "5,3"
    for key, of in (("peak", maps), ("secondPeak", other)):
        values = sram(of, (5, 3)).values[0].numpy()
        assert pointed[key] == ",".join(map(str, np.unravel_index(values.argmax(), values.shape)))
    for key, of in (("shares", maps), ("secondShares", other)):
        assert [float(x) for x in pointed[key].split(",")] == pytest.approx(share(of).values[:, 5, 3].tolist(), abs=5e-5)
    assert did["marked"] == [[255, 255, 255]] * 2, "the patch is not marked in both pictures"
    assert "first (seed 0) run" in pointed["labels"][0]
    assert "second (seed 1) run" in pointed["labels"][3]
    assert pointed["scales"][:2] == pointed["scales"][2:]  # one scale for both runs, and said
    assert sum("One scale for both runs, in multiples of each map's own mean." in note for note in pointed["notes"]) == 4
    assert re.search(r"In the second run: \d+, \d+ \(row \d+, column \d+\)", pointed["said"])
    assert any(row.startswith("share of reference 1") and row.endswith("points") for row in pointed["rows"])

    apart = [patch_difference(maps, other, (5, 3), choice=Choice(reference=i)) for i in range(2)]
    shown = did["difference"]
    assert (shown["shown"], shown["runs"]) == (3, ["second (seed 1) − first (seed 0)"])
    assert [float(x) for x in shown["limits"].split()] == pytest.approx([one.limit for one in apart], rel=2e-3)
    assert [float(x) for x in shown["moved"].split()] == pytest.approx([one.moved for one in apart], abs=2e-3)
    assert all(level.startswith("What it used (SRAM)") for level in shown["levels"][1:])
    assert "Orange: more in the second run; blue: less. In multiples of each map's own mean" in shown["notes"][1]
    assert shown["hash"] == "#query=5,3&view=difference"
    wholes = [
        difference(maps, other, "which reference"),
        *(difference(maps, other, "G2R", Choice(reference=i)) for i in range(2)),
    ]
    assert [float(x) for x in did["whole"]["limits"].split()] == pytest.approx([one.limit for one in wholes], rel=2e-3)

    first, second_ = did["all"], did["none"]
    assert first["left"] != second_["left"]
    assert (did["half"]["left"], did["half"]["right"]) == (first["left"], second_["right"])
    assert did["half"]["value"] == "50 % first (seed 0), 50 % second (seed 1)"
    assert did["half"]["runs"] == ["first (seed 0) | second (seed 1)"]
    assert did["wipe"] == {
        "label": "Wipe: first on the left, second on the right",
        "type": "range",
        "focusable": 0,
        "radios": ["Side by side", "Wipe", "Second − first"],
        "legend": "Compare",
    }


WIPED = """
await new Promise((done) => {
  const look = () => document.querySelector(".i2am-viewer") && done();
  new MutationObserver(look).observe(document.getElementById("viewer"), { childList: true });
  look();
});
const result = document.createElement("script");
result.id = "result";
result.type = "application/json";
result.textContent = JSON.stringify([...document.querySelectorAll("figcaption .i2am-small")].map((one) => one.textContent));
document.body.append(result);
"""


@in_browser
@pytest.mark.parametrize("lacks", ["first", "second"])
def test_a_wipe_says_what_one_of_the_runs_lacks(lacks: str, tmp_path: Path) -> None:
    runs = [record(None if lacks == name else "mean") for name in ("first", "second")]
    path = write_report(tmp_path / "two.html", runs[0], *PICTURES, second=SecondRun(runs[1], PICTURES[0]))
    page = path.read_text(encoding="utf-8").replace("</body>", f'<script type="module">{WIPED}</script></body>')
    path.write_text(page, encoding="utf-8")
    found = Scripts(dump(path, tmp_path / "profile", "#query=3,2&view=wipe"))
    notes = json.loads(found.scripts["result"])[1:3]
    assert all(f"In the {lacks} run: None of the chosen layers has pairwise maps" in note for note in notes)
    assert not any("One scale for both runs" in note for note in notes)
