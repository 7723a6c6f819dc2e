"""The page of several references in a headless Chromium: a click shows its map on every one of them, with its share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edit_run import PICTURE, SHAPES, edit_run
from joint_run import JointRun
from PIL import Image
from report_case import Scripts
from viewer_case import dump, in_browser

from i2am.geometry.cells import place_of
from i2am.geometry.layout import TokenGrid
from i2am.geometry.sequence import Sequence, generated, reference, text
from i2am.levels.choice import Choice
from i2am.levels.patch import sram
from i2am.levels.share import mean_shares, share, which_reference
from i2am.maps.value import AttributionMaps
from i2am.models.edit.family import LATE
from i2am.outputs.report import write_report

ROW, COLUMN = 5, 3
DRIVER = """
import { bytes, readFile } from "i2am/decode.js";
import { Maps } from "i2am/maths.js";
await new Promise((done) => {
  const look = () => document.querySelector(".i2am-viewer") && done();
  new MutationObserver(look).observe(document.getElementById("viewer"), { childList: true });
  look();
});
const root = document.querySelector(".i2am-viewer");
const canvases = [...root.querySelectorAll("canvas")];
const text = (name) => [...root.querySelectorAll(name)].map((node) => node.textContent);
const seen = () => ({
  ...root.dataset, hash: location.hash, headings: text(".i2am-panel h2"), levels: text(".i2am-level"),
  bars: text(".i2am-shares li"), legend: text(".i2am-parts li"), said: text(".i2am-sentence")[0],
});
function pointer(kind, canvas, u, v) {
  const box = canvas.getBoundingClientRect();
  const where = { clientX: box.left + u * box.width, clientY: box.top + v * box.height, bubbles: true };
  canvas.dispatchEvent(new PointerEvent(kind, where));
  return seen();
}
const colours = (canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
};
const did = { rest: seen() };
did.colours = canvases.map(colours);
did.clicked = pointer("click", canvases[0], AT_X, AT_Y);
did.clicked.colours = canvases.map(colours);
root.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
const last = canvases.slice(1)[1] ?? canvases[1];
did.hovered = pointer("pointermove", last, 0.5, 0.5);
did.left = pointer("pointerleave", last, 0, 0);
did.mirror = pointer("click", last, 0.5, 0.5);
const maps = new Maps(await readFile(bytes(document.getElementById("data").textContent)));
const answers = STATES.map((state) => {
  const whole = { reference: 0, group: -1, layer: -1, head: -1, ...state };
  const which = maps.level("which reference", whole);
  return {
    shares: maps.partsOf(whole).map(({ name, values }) => [name, Array.from(values)]),
    which: which.panels.map((panel) => Array.from(panel)),
  };
});
const result = document.createElement("script");
result.id = "result";
result.type = "application/json";
result.textContent = JSON.stringify({ did, answers }).replaceAll("<", "\\\\u003c");
document.body.append(result);
"""


def ask(maps: AttributionMaps, folder: Path, states: list[dict[str, int]]) -> dict[str, Any]:
    """What the page shows when it is used, and what its modules answer."""
    sizes = [reference.grid.picture or (8, 8) for reference in maps.references]
    pictures = [Image.new("RGB", (w, h), (90, 120 + 10 * i, 160)) for i, (h, w) in enumerate(sizes)]
    height, width = maps.generated_size
    path = write_report(folder / "report.html", maps, Image.new("RGB", (width, height), (200, 180, 40)), pictures)
    at = {"AT_X": (COLUMN + 0.5) / PICTURE[1], "AT_Y": (ROW + 0.5) / PICTURE[0], "STATES": json.dumps(states)}
    driver = DRIVER
    for name, value in at.items():
        driver = driver.replace(name, str(value))
    page = path.read_text(encoding="utf-8").replace("</body>", f'<script type="module">{driver}</script></body>')
    path.write_text(page, encoding="utf-8")
    found = Scripts(dump(path, folder / "profile"))
    assert "result" in found.scripts, "the driver did not finish"
    answer: dict[str, Any] = json.loads(found.scripts["result"])
    return answer


def choice_of(maps: AttributionMaps, state: dict[str, int]) -> Choice:
    return Choice(
        layers=maps.layers[state["layer"]].name if "layer" in state else None,
        heads=[state["head"]] if "head" in state else None,
        steps=maps.groups[state["group"]] if "group" in state else None,
    )


def peak_of(values: Any) -> str:
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return f"{row},{column}"


@in_browser
@pytest.mark.parametrize(("count", "default"), [(2, ()), (3, ()), (2, LATE)])
def test_a_click_shows_its_map_on_every_reference_with_its_share(count: int, default: tuple[str, ...], tmp_path: Path) -> None:
    maps = edit_run(SHAPES[:count], steps=3, default_layers=default)
    states: list[dict[str, int]] = [{}, {"group": 1}, {"layer": 2}, {"head": 1, "layer": 0, "group": 2}]
    got = ask(maps, tmp_path, states)
    for state, answer in zip(states, got["answers"], strict=True):
        heat, which = share(maps, choice_of(maps, state)), which_reference(maps, choice_of(maps, state))
        assert [name for name, _ in answer["shares"]] == list(heat.labels)
        for (_, values), expected in zip(answer["shares"], heat.values, strict=True):
            np.testing.assert_allclose(values, expected.flatten(), atol=3e-5)
        for values, expected in zip(answer["which"], which.values, strict=True):
            np.testing.assert_allclose(values, expected.flatten(), atol=1e-3)  # divides by few per cent

    did, whole = got["did"], share(maps)
    names = [f"reference {i + 1}" for i in range(count)]
    rest, clicked = did["rest"], did["clicked"]
    assert [float(x) for x in rest["shares"].split(",")] == pytest.approx([float(v.mean()) for v in whole.values], abs=5e-5)
    assert rest["legend"] == names
    assert [h.partition(" · ")[0] for h in rest["headings"]] == ["Generated picture", *names]
    assert min(did["colours"]) > 20

    here = whole.values[:, ROW, COLUMN]
    assert clicked["query"] == f"{ROW},{COLUMN}"
    assert (clicked["on"], clicked["pinned"], clicked["hash"]) == ("reference", "true", f"#query={ROW},{COLUMN}")
    assert [float(x) for x in clicked["shares"].split(",")] == pytest.approx(here.tolist(), abs=5e-5)
    heats = [sram(maps, (ROW, COLUMN), choice=Choice(reference=i)).values[0] for i in range(count)]
    assert clicked["peaks"].split(" ") == [peak_of(heat) for heat in heats]
    assert clicked["levels"][1:] == [f"What it used (SRAM) · all steps{'' if default else ', layers'} and heads"] * count
    assert_adding(clicked["bars"], whole.labels, here.tolist())
    for heading, bar, name in zip(clicked["headings"][1:], clicked["bars"], names, strict=False):
        assert heading == f"{name} · {bar.removeprefix(name)}"
    assert min(clicked["colours"][1:]) > 20
    assert "of reference 1." in clicked["said"]


def assert_adding(bars: list[str], names: tuple[str, ...], shares: list[float]) -> None:
    """Each is its share to a tenth of a per cent, and what is written adds up to 100."""
    assert len(bars) == len(names)
    written = [float(bar.removeprefix(name).removesuffix(" %")) for bar, name in zip(bars, names, strict=True)]
    assert sum(written) == pytest.approx(100, abs=1e-6)
    assert written == pytest.approx([100 * share for share in shares], abs=0.1 + 5e-3)


@in_browser
@pytest.mark.parametrize("count", [1, 2])
def test_patches_at_the_edge_count_by_their_tokens(count: int, tmp_path: Path) -> None:
    """Of 7 x 5 tokens of which one in each 2 x 2 was kept, the last row and column are halves; one reference has a card too."""
    sequence = Sequence.of(text(5), generated(TokenGrid(7, 5)), *[reference(TokenGrid(3, 4), f"r{i}") for i in range(count)])
    maps = JointRun({"cond": sequence}, images=1, spread=6.0).record(stride=2, cells=32)
    heat = share(maps)
    assert heat.edge == (0.5, 0.5)
    expected = list(mean_shares(heat).values())
    assert expected != pytest.approx([float(v.mean()) for v in heat.values], abs=2e-4)
    rest = ask(maps, tmp_path, [])["did"]["rest"]
    assert [float(x) for x in rest["shares"].split(",")] == pytest.approx(expected, abs=5e-5)
    assert_adding(rest["bars"], heat.labels, expected)


@in_browser
def test_a_patch_of_the_second_reference_is_looked_up_in_the_picture(tmp_path: Path) -> None:
    maps = edit_run(SHAPES[:3], steps=2)
    did = ask(maps, tmp_path, [])["did"]
    rows, columns = SHAPES[1]
    at = (rows // 2, columns // 2)
    heat = sram(maps, at, "generated", Choice(reference=1)).values[0]
    grid = maps.references[1].grid
    named = f"Patch {place_of(grid, *at, grid.picture)}"
    for name in ("hovered", "mirror"):
        assert (did[name]["query"], did[name]["on"]) == (f"{at[0]},{at[1]}", "generated")
        assert did[name]["peak"] == peak_of(heat)
        assert did[name]["levels"] == ["Where it went (mirror) · all steps, layers and heads", "", named, ""]
    assert "query" not in did["left"]
    assert did["left"]["hash"] == ""
    assert did["mirror"]["hash"] == f"#mirror={at[0]},{at[1]}&reference=1"
