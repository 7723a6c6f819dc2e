"""Questions to the viewer, asked in a headless Chromium, and the library's answers to them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from report_case import PICTURES, SHIRT, Scripts

from i2am.geometry.resample import bilinear
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam
from i2am.levels.mirror import mirror_of_object
from i2am.levels.patch import sram
from i2am.maps.value import AttributionMaps
from i2am.outputs.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)


in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on PATH: the viewer itself is not tested")


def dump(path: Path, profile: Path, fragment: str = "") -> str:
    """The page's document after its scripts have run in a headless Chromium."""
    assert CHROMIUM is not None
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --window-size=1200,900 --virtual-time-budget=20000 --dump-dom"
    )
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={profile}", path.as_uri() + fragment]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout


DRIVER = """
import { bytes, readFile } from "i2am/decode.js";
import { Maps } from "i2am/maths.js";
const built = new Promise((done) => {
  const look = () => document.querySelector(".i2am-viewer") && done();
  new MutationObserver(look).observe(document.getElementById("viewer"), { childList: true });
  look();
});
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
const maps = new Maps(await readFile(bytes(document.getElementById("data").textContent)));
const answers = QUESTIONS.map(({ what, at, state }) => {
  const whole = { reference: 0, group: -1, layer: -1, head: -1, ...state };
  const map = at ? maps[what](whole, ...at) : maps.level(what, whole);
  return map && { values: Array.from(map.values), unplaced: map.unplaced, layers: map.layers };
});
await built;
const root = document.querySelector(".i2am-viewer");
const canvas = (name) => root.querySelector(`.i2am-${name} canvas`);
const seen = () => ({ ...root.dataset, hash: location.hash, text: root.querySelector(".i2am-readout").textContent });
function pointer(kind, name, u, v, more = {}) {
  const box = canvas(name).getBoundingClientRect();
  const where = { clientX: box.left + u * box.width, clientY: box.top + v * box.height, bubbles: true, ...more };
  canvas(name).dispatchEvent(new PointerEvent(kind, where));
  return seen();
}
function key(target, name, shiftKey = false) {
  target.dispatchEvent(new KeyboardEvent("keydown", { key: name, shiftKey, bubbles: true, cancelable: true }));
  return seen();
}
const did = {};
did.rest = seen();
did.hover = pointer("pointermove", "generated", 0.5, 0.95);
did.leave = pointer("pointerleave", "generated", 0, 0);
did.mirror = pointer("pointermove", "reference", 0.99, 0.01);
did.pinned = pointer("click", "reference", 0.99, 0.01);
did.elsewhere = pointer("pointermove", "generated", 0.5, 0.5);
did.escaped = key(document.body, "Escape");
did.arrow = key(canvas("generated"), "ArrowDown");
did.arrows = key(canvas("generated"), "ArrowDown");
did.edge = [...Array(9)].map(() => key(canvas("generated"), "ArrowDown")).pop();
did.enter = key(canvas("generated"), "Enter");
const held = { buttons: 1, pointerType: "mouse" };
pointer("pointerdown", "reference", 0.6, 0.9, held);
did.still = pointer("pointermove", "reference", 0.61, 0.91, held);
did.dragging = pointer("pointermove", "reference", 0.1, 0.5, held);
pointer("pointerup", "reference", 0.1, 0.5, { pointerType: "mouse" });
did.dragged = pointer("click", "reference", 0.1, 0.5);
did.after = pointer("pointermove", "generated", 0.5, 0.5);
did.grown = key(canvas("reference"), "ArrowUp", true);
did.moved = [...Array(9)].map(() => key(canvas("reference"), "ArrowRight")).pop();
pointer("pointerdown", "generated", 0.5, 0.5, { buttons: 1, pointerType: "touch" });
did.touched = pointer("pointermove", "generated", 0.1, 0.1, { buttons: 1, pointerType: "touch" });
did.single = pointer("click", "reference", 0.1, 0.1);
did.gone = key(document.body, "Escape");
location.hash = "#mirror=1,1,2,3";
await new Promise((done) => addEventListener("hashchange", () => setTimeout(done)));
did.linked = seen();
key(document.body, "Escape");
location.hash = `#generated=${encodeURIComponent("33, 50 (row 6, column 4)")}`;
await new Promise((done) => addEventListener("hashchange", () => setTimeout(done)));
did.pixel = seen();
key(document.body, "Escape");
location.hash = "#on_reference=999,1";
await new Promise((done) => addEventListener("hashchange", () => setTimeout(done)));
did.nowhere = seen();
key(document.body, "Escape");
did.sides = [...(root.querySelector(".i2am-choices select")?.options ?? [])].map((option) => option.textContent);
const sliders = Object.fromEntries(
  [...root.querySelectorAll("input[type=range]")].map((input) => [input.labels[0].textContent, input]));
did.sliders = Object.fromEntries(Object.entries(sliders).map(([name, input]) => [name, Number(input.max)]));
sliders.Layer.value = 2;
sliders.Layer.dispatchEvent(new Event("input"));
did.layer = { ...seen(), caption: root.querySelector(".i2am-generated .i2am-level").textContent };
did.labels = [...root.querySelectorAll("canvas")].map((c) => c.getAttribute("aria-label"));
did.coloured = ["generated", "reference"].map((name) => {
  const { data } = canvas(name).getContext("2d").getImageData(0, 0, canvas(name).width, canvas(name).height);
  return new Set(new Uint32Array(data.buffer)).size;
});
const result = document.createElement("script");
result.id = "result";
result.type = "application/json";
result.textContent = JSON.stringify({ answers, did, errors }).replaceAll("<", "\\\\u003c");
document.body.append(result);
"""


Question = tuple[str, "tuple[int, ...] | None", "dict[str, int]"]
"""The side, "sram" or "mirror"; the patch, or a region as (row, column, rows, columns); what is chosen."""


OBJECT = torch.zeros(50, 40)


OBJECT[10:30, 10:40] = 1  # over patches of 10 x 10 pixels


def ask(maps: AttributionMaps, asked: list[Question], folder: Path, mask: torch.Tensor | None = None) -> dict[str, Any]:
    """What the page's own modules answer, and what it does when it is used."""
    path = write_report(folder / "report.html", maps, *PICTURES, reference_mask=mask)
    questions = [{"what": what, "at": at, "state": state} for what, at, state in asked]
    driver = DRIVER.replace("QUESTIONS", json.dumps(questions))
    page = path.read_text(encoding="utf-8").replace("</body>", f'<script type="module">{driver}</script></body>')
    path.write_text(page, encoding="utf-8")
    found = Scripts(dump(path, folder / "profile"))
    assert "result" in found.scripts, "the driver did not finish"
    return json.loads(found.scripts["result"])


def expected(maps: AttributionMaps, what: str, at: tuple[int, ...] | None, state: dict[str, int]) -> tuple[Any, float]:
    """The library's map for a question to the viewer, on the viewer's grid, and its unplaced share."""
    choice = Choice(
        reference=state.get("reference", 0),
        layers=maps.layers[state["layer"]].name if "layer" in state else None,
        heads=[state["head"]] if "head" in state else None,
        steps=maps.groups[state["group"]] if "group" in state else None,
    )
    if what == "object":
        heat = mirror_of_object(maps, OBJECT, choice)
    elif at is not None:
        row, column, rows, columns = (*at, 1, 1)[:4]
        cells = [(row + r, column + c) for r, c in np.ndindex(rows, columns)]
        heat = sram(maps, cells, "generated" if what == "mirror" else "reference", choice)
    else:
        heat = ulam(maps, what, choice)
    values = heat.values
    if heat.picture == "reference" and choice.reference == 0:  # the viewer stays on the largest grid
        size = values.shape[1] * values.shape[2]
        values = bilinear(values, (SHIRT.rows, SHIRT.columns)) * size / SHIRT.placed
    return values[0].flatten().numpy(), heat.unplaced[0] if heat.unplaced else 0.0


def same(maps: AttributionMaps, asked: list[Question], got: dict[str, Any]) -> None:
    """Check the page's answers against the library's."""
    assert got["errors"] == []
    for question, answer in zip(asked, got["answers"], strict=True):
        values, unplaced = expected(maps, *question)
        assert answer is not None, question
        off = 2e-5 if question[1] else 2e-5 * values.max()  # 16 bits of a row that may reach 1
        np.testing.assert_allclose(answer["values"], values, rtol=1e-4, atol=off, err_msg=str(question))
        assert answer["unplaced"] == pytest.approx(unplaced, abs=1e-4), question
