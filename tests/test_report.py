"""The HTML report: one file that needs nothing else, holds the recorded values, and answers as the library does."""

from __future__ import annotations

import base64
import html.parser
import json
import math
import re
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from i2am.errors import I2AMError
from i2am.layout import Layout, Reference, TokenGrid
from i2am.levels import ulam
from i2am.maps import AttributionMaps, RunInfo
from i2am.patches import DIFFUSE, sram
from i2am.recorder import Recorder
from i2am.report import write_report
from i2am.resample import bicubic, bilinear
from i2am.viewer_data import viewer_data

LAYERS = {"in.0": ((8, 6), 2), "mid.0": ((4, 3), 3), "out.0": ((5, 7), 2)}
"""Grid and heads; "mid.0" sees its own, coarser first reference."""
STEPS = 7
SHIRT, SHIRT_COARSE, SHOE = TokenGrid(5, 4, leading=1), TokenGrid(3, 2, leading=1), TokenGrid(3, 6)
HOSTILE = """</script><script>alert("x")</script> & 'ünï' <!-- {{data}}"""


def layout_of(layer: str) -> Layout:
    """Two references and two more keys, as where text tokens follow."""
    shirt = SHIRT_COARSE if layer == "mid.0" else SHIRT
    shoe = Reference(SHOE, shirt.tokens, "shoe")
    return Layout((Reference(shirt, 0, "shirt"), shoe), keys=shoe.stop + 2)


def record(pairwise: str | None = "mean", *, first: int = 0, budget: int = 300_000_000, images: int = 1) -> AttributionMaps:
    """A recording of random queries and keys, sharp enough that no two patches look alike."""
    random = torch.Generator().manual_seed(3)
    recorder = Recorder(
        layout_of, steps=STEPS, groups=3, pairwise=pairwise, budget=budget, images=images, generated_size=(64, 48)
    )
    for step in range(first, STEPS):
        for layer, ((rows, columns), heads) in LAYERS.items():
            q = torch.randn(images, heads, rows * columns, 8, generator=random)
            k = torch.randn(images, heads, layout_of(layer).key_count, 8, generator=random)
            recorder.observe(layer, (rows, columns), step, "cond", q, k, None, scale=0.7, middle=layer == "mid.0")
        recorder.end_step(step)
    return recorder.finish(RunInfo(steps=STEPS, sigmas=tuple(14.0 - 2 * s for s in range(STEPS)), seed=5, model="planted"))


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


PICTURES = (picture(48, 64), [picture(40, 50, 1), picture(60, 30, 2)])


class _Scripts(html.parser.HTMLParser):
    """Script elements by id or type, and every attribute that could load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: dict[str, str] = {}
        self.loads: list[str] = []
        self._open: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loads += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]
        if tag == "script":
            self._open = given.get("id") or given.get("type") or ""

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.scripts[self._open] = self.scripts.get(self._open, "") + data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._open = None


def read(path: Path) -> _Scripts:
    return _Scripts(path.read_text(encoding="utf-8"))


def unpack(packed: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The values of a packed array, and how far each may be off."""
    whole = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), "<u1" if packed["dtype"] == "uint8" else "<u2")
    scales = np.frombuffer(base64.b64decode(packed["scales"]), "<f4").reshape(*packed["shape"][:-1], 1)
    return whole.reshape(packed["shape"]) * scales.astype(np.float64), scales * 0.51  # fp32 adds a hundredth


@pytest.fixture(scope="module")
def maps() -> AttributionMaps:
    return record()


def test_the_page_is_one_file_that_asks_for_nothing(maps: AttributionMaps, tmp_path: Path) -> None:
    path = write_report(tmp_path / "new" / "report.html", maps, *PICTURES, images={"mask": picture(9, 9)}, scores={"x": 1.0})
    page = path.read_text(encoding="utf-8")
    found = read(path)
    modules = json.loads(found.scripts["importmap"])["imports"]
    sources = {name: base64.b64decode(url.split(",", 1)[1]).decode() for name, url in modules.items()}
    assert set(sources) >= {"i2am/viewer.js", "i2am/maths.js", "i2am/page.js"}
    assert found.loads == []  # pictures are in the data, modules in the import map
    assert all(p["src"].startswith("data:image/png;base64,") for p in json.loads(found.scripts["data"])["pictures"])
    for text in (page, *sources.values()):
        assert not re.search(r"https?://|\bfetch\(|XMLHttpRequest|WebSocket|\beval\(|new Function|importScripts|@import", text)
        assert not re.search(r"""url\(\s*["']?(?!data:)""", text)
    imported = {name for text in sources.values() for name in re.findall(r'from\s+"([^"]+)"', text)}
    assert imported <= set(sources)
    assert "default-src 'none'" in page


def test_the_viewer_does_nothing_when_it_is_merely_loaded() -> None:
    folder = Path(__file__).resolve().parent.parent / "web" / "viewer"
    files = sorted(folder.glob("*.js"))
    assert files
    declares = re.compile(r"(import|export|const|let|function|async function|class|//|/\*|\*| |\}|\]|\)|$)")
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            assert declares.match(line), f"{file.name}:{number} runs when loaded: {line}"
            assert not re.match(r"(export )?(const|let) \w+ = (document|window|new (?!Map|Set))", line), f"{file.name}:{number}"


def test_embedded_maps_are_the_recorded_ones_within_the_stated_rounding(maps: AttributionMaps) -> None:
    data = viewer_data(maps, *PICTURES)
    names = [layer["name"] for layer in data["layers"]]
    groups = [(g["start"], g["stop"]) for g in data["groups"]]
    assert groups == [(0, 2), (2, 4), (4, 7)]
    kinds = {"R2G": "r2g", "R2G-balanced": "balanced", "mass": "mass", "G2R": "g2r"}
    seen = set()
    for entry in data["marginals"]:
        recorded = maps.marginal(kinds[entry["side"]], names[entry["layer"]], reference=entry["reference"])[0].double()
        expected = torch.stack([recorded[a:b].mean(0) for a, b in groups])
        values, off = unpack(entry["values"])
        assert (np.abs(values - expected.numpy()) <= off).all()
        seen.add((entry["side"], entry["reference"], entry["layer"]))
    assert seen == {(side, reference, layer) for side in kinds for reference in (0, 1) for layer in range(3)}
    assert len(data["pairwise"]) == 6
    for entry in data["pairwise"]:
        expected = maps.pairwise(names[entry["layer"]], reference=entry["reference"])[0].numpy()
        values, off = unpack(entry["values"])
        assert entry["values"]["dtype"] == "uint16"
        assert (np.abs(values - expected) <= off).all()
    assert f"{100 / 65535 / 2:.2g} %" in data["quantisation"]
    assert "16 bits for patch maps" in data["quantisation"]


def test_large_patch_maps_are_rounded_more_then_coarsened_and_the_page_says_so() -> None:
    maps = record("heads")
    fine = viewer_data(maps, *PICTURES)
    size = sum(len(e["values"]["data"]) + len(e["values"]["scales"]) for e in fine["pairwise"])
    coarse = viewer_data(maps, *PICTURES, fine=size - 1)
    assert {e["values"]["dtype"] for e in coarse["pairwise"]} == {"uint8"}
    assert "8 bits for patch maps" in coarse["quantisation"]
    assert coarse["notes"] == fine["notes"]
    for entry in coarse["pairwise"]:
        expected = maps.pairwise(coarse["layers"][entry["layer"]]["name"], reference=entry["reference"])[0].numpy()
        values, off = unpack(entry["values"])
        assert (np.abs(values - expected) <= off).all()
    mean = viewer_data(maps, *PICTURES, fine=0, most=size // 4)
    assert {e["values"]["shape"][1] for e in mean["pairwise"]} == {1}
    assert any("mean over heads" in note for note in mean["notes"])
    least = viewer_data(maps, *PICTURES, fine=0, most=2000)
    assert {e["values"]["shape"][0] for e in least["pairwise"]} == {1}
    assert 0 < len(least["pairwise"]) < 6
    assert any("patch maps of layer in.0 are left out" in note for note in least["notes"])


def test_the_page_of_a_run_of_the_demos_size_stays_small(tmp_path: Path) -> None:
    grid = TokenGrid(20, 14, leading=1)
    recorder = Recorder(Layout.of(grid), steps=5, pairwise="mean", generated_size=(128, 96))
    random = torch.Generator().manual_seed(0)
    for step in range(5):
        for i, size in enumerate([(16, 12)] * 4 + [(32, 24)]):
            q, k = (torch.randn(1, 8, n, 16, generator=random) for n in (size[0] * size[1], grid.tokens))
            recorder.observe(f"layer.{i}", size, step, "cond", q, k, None, scale=0.3)
        recorder.end_step(step)
    path = write_report(tmp_path / "report.html", recorder.finish(), picture(96, 128), [picture(112, 160)])
    assert path.stat().st_size < 10_000_000
    data = json.loads(read(path).scripts["data"])
    assert [e["values"]["shape"] for e in data["pairwise"]] == [[5, 1, 192, 281]] * 4 + [[5, 1, 768, 281]]


def test_texts_cannot_break_out_of_the_page(maps: AttributionMaps, tmp_path: Path) -> None:
    nasty = {"imacs": {HOSTILE: {"g": {"score": math.nan, "notes": [HOSTILE]}}}, "seconds": np.float32(2.5)}
    path = write_report(
        tmp_path / "r.html", maps, *PICTURES, title=HOSTILE, scores=nasty, images={HOSTILE: picture(5, 5)}
    )
    found = read(path)
    assert set(found.scripts) == {"importmap", "data", "module"}
    data = json.loads(found.scripts["data"])
    assert data["title"] == HOSTILE
    assert data["scores"]["imacs"][HOSTILE]["g"] == {"score": None, "notes": [HOSTILE]}
    assert data["scores"]["seconds"] == 2.5
    assert [p["name"] for p in data["pictures"]] == [HOSTILE]


def test_a_run_that_started_late_shows_only_its_own_steps() -> None:
    late = record(first=3)
    data = viewer_data(late, *PICTURES)
    assert [(g["start"], g["stop"], g["steps"]) for g in data["groups"]] == [(2, 4, 1), (4, 7, 3)]
    entry = next(e for e in data["marginals"] if e["side"] == "R2G" and e["layer"] == 0 and e["reference"] == 0)
    recorded = late.marginal("r2g", "in.0")[0]
    values, off = unpack(entry["values"])
    assert (np.abs(values - torch.stack([recorded[3], recorded[4:].mean(0)]).numpy()) <= off).all()


def test_what_cannot_be_shown_is_named_with_its_reason() -> None:
    none = viewer_data(record(None), *PICTURES)
    assert none["pairwise"] == []
    assert "pairwise" in none["references"][0]["unavailable"]["SRAM"]
    recorder = Recorder(Layout.of(TokenGrid(1, 1)), steps=1, generated_size=(32, 32))
    recorder.observe("a", (4, 4), 0, "cond", torch.randn(1, 2, 16, 4), torch.randn(1, 2, 1, 4), None, scale=0.5)
    recorder.end_step(0)
    single = viewer_data(recorder.finish(), picture(32, 32), [picture(16, 16)])
    assert {e["side"] for e in single["marginals"]} == {"R2G"}
    assert set(single["references"][0]["unavailable"]) == {"R2G-balanced", "mass", "G2R", "SRAM", "mirror"}
    assert any("cannot affect the picture" in note for note in single["notes"])


def test_mass_over_a_reference_that_fills_all_keys_leaves_the_unplaced_out() -> None:
    recorder = Recorder(Layout.of(SHIRT), steps=1, generated_size=(32, 32))
    recorder.observe("a", (4, 4), 0, "cond", torch.randn(1, 2, 16, 4), torch.randn(1, 2, SHIRT.tokens, 4), None, scale=1.0)
    recorder.end_step(0)
    maps = recorder.finish()
    data = viewer_data(maps, picture(32, 32), [picture(16, 16)])
    values, off = unpack(next(e["values"] for e in data["marginals"] if e["side"] == "mass"))
    assert (np.abs(values[0] - maps.marginal("mass_placed", "a")[0, 0].numpy()) <= off).all()
    assert "without a place" in data["references"][0]["remarks"]["mass"]


def test_true_places_are_averaged_over_each_patch(maps: AttributionMaps) -> None:
    truth = torch.full((2, 64, 48), torch.nan)
    truth[:, :8, :8] = torch.tensor([10.0, 25.0]).view(2, 1, 1)
    truth[:, :3, 8:16] = 1.0  # three rows of eight: too few for a patch
    places = viewer_data(maps, *PICTURES, truth=truth)["truth"]
    assert len(places) == 48
    assert places[0] == [0.25, 0.5]
    assert places[1:] == [None] * 47


def test_pictures_that_do_not_fit_are_refused(maps: AttributionMaps) -> None:
    with pytest.raises(I2AMError, match=r"2 reference\(s\), but 1 picture"):
        viewer_data(maps, PICTURES[0], PICTURES[1][:1])
    with pytest.raises(I2AMError, match=r"truth is \(2, H, W\)"):
        viewer_data(maps, *PICTURES, truth=torch.zeros(3, 64, 48))


# In a browser --------------------------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: the viewer itself is not tested")


def dump(path: Path, profile: Path, fragment: str = "") -> str:
    """The page's document after its scripts have run in a headless Chromium."""
    assert CHROMIUM is not None
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --window-size=1200,900 --virtual-time-budget=20000 --dump-dom"
    )
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={profile}", path.as_uri() + fragment]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout


def attributes(document: str) -> dict[str, str]:
    """The data attributes in which the viewer says what it shows."""
    match = re.search(r'<div class="i2am-viewer"[^>]*>', document)
    assert match, f"no viewer was built: {re.sub('<script.*?</script>', '', document, flags=re.DOTALL)[-2000:]}"
    return dict(re.findall(r'data-(\w+)="([^"]*)"', match[0]))


@in_browser
def test_a_link_to_a_patch_opens_with_its_sram(maps: AttributionMaps, tmp_path: Path) -> None:
    path = write_report(tmp_path / "report.html", maps, *PICTURES, title=HOSTILE)
    shown = attributes(dump(path, tmp_path / "profile", "#query=6,1&group=1"))
    heat = sram(maps, (6, 1), steps=maps.groups[1])
    values = heat.values[0]
    assert shown["query"] == "6,1"
    assert shown["on"] == "reference"
    assert shown["pinned"] == "true"
    assert shown["peak"] == f"{int(values.argmax()) // 4},{int(values.argmax()) % 4}"
    assert float(shown["ratio"]) == pytest.approx(float(values.max() / values.mean()), rel=1e-3)
    assert float(shown["unplaced"]) == pytest.approx(heat.unplaced[0], abs=1e-4)
    p = values / values.sum()
    assert float(shown["entropy"]) == pytest.approx(float(-(p * p.log()).sum()), abs=1e-3)


DRIVER = """
import { inflate } from "i2am/decode.js";
import { Maps } from "i2am/maths.js";
const built = new Promise((done) => {
  const look = () => document.querySelector(".i2am-viewer") && done();
  new MutationObserver(look).observe(document.getElementById("viewer"), { childList: true });
  look();
});
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
const maps = new Maps(await inflate(JSON.parse(document.getElementById("data").textContent)));
const answers = QUESTIONS.map(({ what, at, state }) => {
  const whole = { reference: 0, group: -1, layer: -1, head: -1, ...state };
  const map = at ? maps[what](whole, ...at) : maps.level(what, whole);
  return map && { values: Array.from(map.values), unplaced: map.unplaced, layers: map.layers };
});
await built;
const root = document.querySelector(".i2am-viewer");
const canvas = (name) => root.querySelector(`.i2am-${name} canvas`);
const seen = () => ({ ...root.dataset, hash: location.hash, text: root.querySelector(".i2am-readout").textContent });
function pointer(kind, name, u, v) {
  const box = canvas(name).getBoundingClientRect();
  const where = { clientX: box.left + u * box.width, clientY: box.top + v * box.height, bubbles: true };
  canvas(name).dispatchEvent(new PointerEvent(kind, where));
  return seen();
}
function key(target, name) {
  target.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
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


def ask(maps: AttributionMaps, questions: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """What the page's own modules answer, and what it does when it is used."""
    path = write_report(folder / "report.html", maps, *PICTURES)
    driver = DRIVER.replace("QUESTIONS", json.dumps(questions))
    page = path.read_text(encoding="utf-8").replace("</body>", f'<script type="module">{driver}</script></body>')
    path.write_text(page, encoding="utf-8")
    found = _Scripts(dump(path, folder / "profile"))
    assert "result" in found.scripts, "the driver did not finish"
    return json.loads(found.scripts["result"])


def expected(maps: AttributionMaps, what: str, at: tuple[int, int] | None, state: dict[str, int]) -> tuple[Any, float]:
    """The library's map for a question to the viewer, on the viewer's grid, and its unplaced share."""
    choice: dict[str, Any] = {"reference": state.get("reference", 0)}
    if "group" in state:
        choice["steps"] = maps.groups[state["group"]]
    if "layer" in state:
        choice["layers"] = maps.layers[state["layer"]].name
    if "head" in state:
        choice["heads"] = [state["head"]]
    if at is not None and what == "mirror":
        heat = sram(maps, at, "generated", **choice)
    elif at is not None:
        heat = sram(maps, at, **choice)
    else:
        heat = ulam(maps, what, **choice)
    values, resize = heat.values, bicubic if at is None else bilinear
    if heat.picture == "reference" and choice["reference"] == 0:  # the viewer stays on the largest grid
        size = values.shape[1] * values.shape[2]
        values = resize(values, (SHIRT.rows, SHIRT.columns)) * size / SHIRT.placed
    return values[0].flatten().numpy(), heat.unplaced[0] if heat.unplaced else 0.0


@in_browser
@pytest.mark.parametrize("pairwise", ["mean", "heads"])
def test_the_viewer_answers_as_the_library_does_and_can_be_used(pairwise: str, tmp_path: Path) -> None:
    maps = record(pairwise, first=1)
    states: list[dict[str, int]] = [{}, {"group": 0}, {"layer": 1}, {"reference": 1}, {"layer": 2, "group": 2, "reference": 1}]
    heads: list[dict[str, int]] = [{"head": 2}, {"head": 1, "layer": 0, "group": 1}]
    asked: list[tuple[str, tuple[int, int] | None, dict[str, int]]] = []
    for state in states + heads:
        asked += [(side, None, state) for side in ("R2G", "R2G-balanced", "mass", "G2R")]
    for state in states + (heads if pairwise == "heads" else []):
        asked += [("sram", at, state) for at in ((0, 0), (3, 5), (7, 2))]
        # a mirror is asked for on the grid that the viewer keeps, which a single layer may not have
        asked += [("mirror", at, state) for at in ((0, 0), (2, 3)) if state != {"layer": 1}]
    got = ask(maps, [{"what": w, "at": a, "state": s} for w, a, s in asked], tmp_path)
    assert got["errors"] == []
    for question, answer in zip(asked, got["answers"], strict=True):
        values, unplaced = expected(maps, *question)
        assert answer is not None, question
        np.testing.assert_allclose(answer["values"], values, rtol=2e-4, atol=2e-5 * values.max(), err_msg=str(question))
        assert answer["unplaced"] == pytest.approx(unplaced, abs=1e-4), question

    did = got["did"]
    assert "query" not in did["rest"]
    assert (did["hover"]["query"], did["hover"]["on"], did["hover"]["pinned"]) == ("7,3", "reference", "false")
    assert did["hover"]["hash"] == ""
    assert "query" not in did["leave"]
    assert (did["mirror"]["query"], did["mirror"]["on"]) == ("0,3", "generated")
    assert (did["pinned"]["pinned"], did["pinned"]["hash"]) == ("true", "#mirror=0,3")
    assert did["elsewhere"]["query"] == "0,3"
    assert "query" not in did["escaped"]
    assert did["escaped"]["hash"] == ""
    assert [did[k]["query"] for k in ("arrow", "arrows", "edge")] == ["4,3", "5,3", "7,3"]
    assert "query" not in did["enter"]
    heat = sram(maps, (5, 3)).values[0]
    assert did["arrows"]["peak"] == f"{int(heat.argmax()) // 4},{int(heat.argmax()) % 4}"
    assert ("diffuse" in did["arrows"]["text"]) == bool(heat.max() / heat.mean() < DIFFUSE)
    assert did["sliders"] == {"Time": 3, "Layer": 3, "Head": 3, "Opacity": 1}
    assert did["layer"]["hash"] == "#layer=1"
    assert did["layer"]["caption"] == "R2G-balanced · LLAM, mid.0"
    assert "8 by 6 patches" in did["labels"][0]
    assert "5 by 4 patches" in did["labels"][1]
    assert min(did["coloured"]) > 100
