"""The viewer in a headless Chromium: it answers as the library does, and can be used by pointer and keyboard."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from report_case import PICTURES, SHIRT, SHOE, UNEVEN, record
from viewer_case import OBJECT, Question, ask, dump, in_browser, same

from i2am.geometry.cells import pixel_of, place_of
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam
from i2am.levels.patch import DIFFUSE, sram
from i2am.outputs.report import write_report
from i2am.recording.recorder import Recorder
from i2am.scores.imacs import imacs


def attributes(document: str) -> dict[str, str]:
    """The data attributes in which the viewer says what it shows."""
    match = re.search(r'<div class="i2am-viewer"[^>]*>', document)
    assert match, f"no viewer was built: {re.sub('<script.*?</script>', '', document, flags=re.DOTALL)[-2000:]}"
    return dict(re.findall(r'data-(\w+)="([^"]*)"', match[0]))


@in_browser
def test_a_link_to_a_patch_opens_with_its_sram(tmp_path: Path) -> None:
    maps = record()
    path = write_report(tmp_path / "report.html", maps, *PICTURES, title="</title><b>not a tag")
    shown = attributes(dump(path, tmp_path / "profile", "#query=6,1&group=1"))
    heat = sram(maps, (6, 1), choice=Choice(steps=maps.groups[1]))
    values = heat.values[0]
    assert shown["query"] == "6,1"
    assert shown["on"] == "reference"
    assert shown["pinned"] == "true"
    assert shown["peak"] == f"{int(values.argmax()) // 4},{int(values.argmax()) % 4}"
    assert float(shown["ratio"]) == pytest.approx(float(values.max() / values.mean()), rel=1e-3)
    assert float(shown["unplaced"]) == pytest.approx(heat.unplaced[0], abs=1e-4)
    p = values / values.sum()
    assert float(shown["entropy"]) == pytest.approx(float(-(p * p.log()).sum()), abs=1e-3)


@in_browser
def test_the_viewer_resizes_between_uneven_grids_as_the_library_does(tmp_path: Path) -> None:
    maps = record(layers=UNEVEN)
    patches = list(np.ndindex(9, 13))
    states: list[dict[str, int]] = [{}, {"layer": 1}, {"layer": 2, "group": 1}, {"reference": 1}]
    asked: list[Question] = [(side, None, state) for side in ("G2R", "R2G", "R2G-balanced", "mass") for state in states]
    asked += [("sram", at, {}) for at in patches]
    asked += [("sram", at, state) for state in states[1:] for at in patches[::11]]
    asked += [("mirror", at, {}) for at in np.ndindex(SHIRT.rows, SHIRT.columns)]
    asked += [("mirror", at, {"reference": 1}) for at in np.ndindex(3, 6)]
    got = ask(maps, asked, tmp_path)
    same(maps, asked, got)
    answers = [np.asarray(answer["values"]) for answer in got["answers"]]
    mean = np.mean([a for (what, _, state), a in zip(asked, answers, strict=True) if what == "sram" and not state], 0)
    np.testing.assert_allclose(mean, answers[0], rtol=1e-4)


@in_browser
def test_layers_count_by_their_heads_also_where_only_the_mean_was_kept(tmp_path: Path) -> None:
    short, full = record(None, layers=UNEVEN, budget=100_000), record(None, layers=UNEVEN)
    assert any("mean over heads" in note for note in short.notes)
    for name, maps, states in (("short", short, [{}, {"reference": 1}]), ("full", full, [{"head": 0}, {"head": 2}])):
        (tmp_path / name).mkdir()
        asked: list[Question] = [(side, None, state) for side in ("G2R", "R2G", "mass") for state in states]
        same(maps, asked, ask(maps, asked, tmp_path / name))


@in_browser
def test_a_reference_that_was_not_attended_to_in_a_group_has_no_maps_there(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(1)
    recorder = Recorder(
        Layout((Reference(SHIRT, 0, "one", 1), Reference(SHOE, 0, "two", 2))), steps=4, groups=2, generated_size=(64, 48)
    )
    for step in range(4):
        for softmax, keys in ((1, SHIRT.tokens), (2, SHOE.tokens)):
            if softmax == 1 or step < 2:
                for layer, (rows, columns) in {"in.0": (8, 6), "mid.0": (4, 3), "out.0": (5, 7)}.items():
                    q = torch.randn(1, 2, rows * columns, 8, generator=random)
                    k = torch.randn(1, 2, keys, 8, generator=random)
                    recorder.observe(layer, (rows, columns), step, "cond", q, k, None, scale=0.7, softmax=softmax)
        recorder.end_step(step)
    maps = recorder.finish()
    sides = [("sram", (2, 3)), ("mirror", (1, 1)), ("G2R", None), ("R2G", None)]
    never: list[Question] = [(what, at, {"reference": 1, "group": 1}) for what, at in sides]
    once: list[Question] = [(what, at, {"reference": 1, "group": 0}) for what, at in sides]
    got = ask(maps, [*never, *once], tmp_path)
    assert got["answers"][: len(never)] == [None] * len(never)
    same(maps, once, {**got, "answers": got["answers"][len(never) :]})


@in_browser
@pytest.mark.parametrize("pairwise", ["mean", "heads"])
def test_the_viewer_answers_as_the_library_does_and_can_be_used(pairwise: str, tmp_path: Path) -> None:
    maps = record(pairwise, first=1)
    states: list[dict[str, int]] = [{}, {"group": 0}, {"layer": 1}, {"reference": 1}, {"layer": 2, "group": 2, "reference": 1}]
    heads: list[dict[str, int]] = [{"head": 2}, {"head": 1, "layer": 0, "group": 1}]
    asked: list[Question] = []
    for state in states + heads:
        asked += [(side, None, state) for side in ("R2G", "R2G-balanced", "mass", "G2R")]
    for state in states + (heads if pairwise == "heads" else []):
        asked += [("sram", at, state) for at in ((0, 0), (3, 5), (7, 2))]
        # the viewer keeps the largest reference grid; the library asks for a patch of the chosen layers' own grid
        asked += [("mirror", at, state) for at in ((0, 0), (2, 3)) if state not in ({"layer": 1}, {"head": 2})]
    for state in states[:2]:
        asked += [("sram", (2, 1, 4, 3), state), ("mirror", (1, 2, 2, 2), state), ("object", None, state)]
    got = ask(maps, asked, tmp_path, OBJECT)
    same(maps, asked, got)

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
    assert (did["still"]["query"], did["still"]["pinned"]) == ("4,2", "false")  # within one patch: no drag yet
    assert (did["dragging"]["query"], did["dragging"]["on"], did["dragging"]["pinned"]) == ("2,0,3,3", "generated", "true")
    assert did["dragged"] == did["after"] == did["dragging"]
    assert did["dragged"]["hash"] == "#mirror=2,0,3,3"
    shirt = PICTURES[1][0]
    first, last = (", ".join(map(str, pixel_of(SHIRT, *at, (shirt.height, shirt.width)))) for at in ((2, 0), (4, 2)))
    named = f"Reference patches {first} to {last} (rows 2–4, columns 0–2) are looked at most by generated patch "
    assert named in did["dragged"]["text"]
    assert (did["pixel"]["query"], did["pixel"]["pinned"]) == ("6,4", "true")
    assert "Generated patch 36, 52 (row 6, column 4) looks most at" in did["pixel"]["text"]
    assert "query" not in did["nowhere"]
    region = sram(maps, [(2 + r, c) for r, c in np.ndindex(3, 3)], "generated").values[0]
    assert place_of(TokenGrid(8, 6), *divmod(int(region.argmax()), 6), (64, 48)) in did["dragged"]["text"]
    assert did["dragged"]["peak"] == f"{int(region.argmax()) // 6},{int(region.argmax()) % 6}"
    assert [did[k]["query"] for k in ("grown", "moved", "touched", "single")] == ["2,0,2,3", "2,1,2,3", "2,1,2,3", "0,0"]
    assert "query" not in did["gone"]
    assert (did["linked"]["query"], did["linked"]["on"], did["linked"]["pinned"]) == ("1,1,2,3", "generated", "true")
    assert did["sides"] == [
        "Where the object went (mirror of its mask)",
        "Where it went (R2G)",
        "Where it went, by votes (R2G-balanced)",
        "How much was taken (mass)",
    ]
    heat = sram(maps, (5, 3)).values[0]
    assert did["arrows"]["peak"] == f"{int(heat.argmax()) // 4},{int(heat.argmax()) % 4}"
    assert ("diffuse" in did["arrows"]["text"]) == bool(heat.max() / heat.mean() < DIFFUSE)
    assert did["sliders"] == {"Time": 3, "Layer": 3, "Head": 3, "Opacity": 1}
    assert did["layer"]["hash"] == "#layer=1"
    assert did["layer"]["caption"] == "Where the object went (mirror of its mask) · mid.0"
    assert "8 by 6 patches" in did["labels"][0]
    assert "5 by 4 patches" in did["labels"][1]
    assert min(did["coloured"]) > 100


@in_browser
def test_the_scores_stand_in_tables(tmp_path: Path) -> None:
    score = imacs(ulam(record(), "R2G-balanced"), torch.eye(64, 48)).as_dict()
    scores = {
        "imacs": {"mirror": {"g": score, "r": {"score": None, "notes": ["a flat map"]}}},
        "correspondence": {"within_1": 0.875, "same_place": 0.25},
    }
    document = dump(write_report(tmp_path / "report.html", record(), *PICTURES, scores=scores), tmp_path / "profile")
    cells = [re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", row) for row in re.findall(r"<tr.*?</tr>", document, flags=re.DOTALL)]
    mirror = next(row for row in cells if row[:2] == ["mirror", "IMACS_g"])
    parts = ("score", "inside", "outside", "lambda", "auc", "mass_ratio")
    values = [*(score[k] for k in parts), *score["baselines"].values()]
    assert [float(cell.replace("−", "-")) for cell in mirror[2:]] == pytest.approx(values, abs=6e-4)
    assert ["mirror", "IMACS_r", "–"] in [row[:3] for row in cells]
    facts = dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", document))
    assert facts["SRAM within 1 patch of the true place"] == "0.875"
    assert facts["by looking at the same place"] == "0.250"
