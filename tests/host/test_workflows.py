"""The example workflows: each file says the same as its API-format twin, and the twin runs in the host.

The twins in tests/workflows come from the real interface: screenshots.js there writes them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import numpy as np
import pytest
from host_tests.edit_graph import with_random_weights
from host_tests.maps_case import library
from PIL import Image, ImageSequence

import nodes

TESTS = Path(__file__).resolve().parents[1]
TWINS = TESTS / "workflows"
WORKFLOWS = TESTS.parent / "workflows"
EVERY = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
PROOFS = [name for name in EVERY if "19" <= name[:2] <= "20"]  # those that cut
EDITS = [
    name for name in EVERY if name[:2] in ("11", "12", "13", "17", "18", "22") or name in PROOFS
]  # those of the demo edit model
# those that need nothing but what comes with the pack
NAMES = [name for name in EVERY if name[:2] <= "05" or name[:2] == "24" or name in EDITS]
# 06 runs in test_ipadapter.py, 07 to 10 in test_tryon_models.py, 14 to 16 and 23 in test_reference_workflows.py
OURS = [name for name in EVERY if name[:2] != "06"]
STEPS = 4
SAMPLED = {False: (50, "ddim", "ddim_uniform"), True: (25, "euler", "simple")}  # by whether it is of the edit model
LARGEST = 400_000  # bytes of a screenshot
ONLY_DRAWN = {"Note", "MarkdownNote"}  # the interface keeps them to itself
CONTROLLED = {"seed": "fixed", "noise_seed": "fixed", "index": "increment"}  # what the interface keeps behind them
UPLOADS = {"LoadImage"}  # the interface keeps "image" behind the file's name, for its button
FIRST_SIGHT = (1100, 560)  # pixels of the canvas that even a small window shows beside the host's bars
READABLE = 0.6  # below 0.57 the canvas draws no text
LOADERS = {"I2AM_LoadTryOn", "CheckpointLoaderSimple", "UNETLoader", "VAELoader", "CLIPLoader", "DualCLIPLoader"}
SHOW_BOTH = ("I2AM_Look", "I2AM_Explorer")
ERROR_BAR = 100  # below a node whose file is missing, up to the next one's title
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


@pytest.fixture
def edit_model(pack: ModuleType, pack_nodes: dict[str, Any], tmp_path: Path) -> Iterator[None]:
    """Random weights for the demo edit model: graphs do not depend on what was trained."""
    with with_random_weights(pack, pack_nodes, tmp_path):
        yield


every_workflow = pytest.mark.parametrize("name", EVERY)
each_workflow = pytest.mark.parametrize("name", NAMES)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def is_link(value: Any) -> bool:
    return isinstance(value, list)


def test_none_is_missing() -> None:
    assert [name[:2] for name in EVERY] == [f"{i:02}" for i in range(1, 25)]


@every_workflow
def test_the_file_and_its_twin_are_one_graph(name: str) -> None:
    drawn, twin = read(WORKFLOWS / f"{name}.json"), read(TWINS / f"{name}.json")
    by_id = {str(node["id"]): node for node in drawn["nodes"]}
    run = {key: node["type"] for key, node in by_id.items() if node["type"] not in ONLY_DRAWN}
    assert run == {key: node["class_type"] for key, node in twin.items()}
    assert all(node["mode"] == 0 for node in by_id.values()), "a node is muted or bypassed"

    wires = {
        (str(to), by_id[str(to)]["inputs"][at]["name"], str(source), slot)
        for _, source, slot, to, at, _ in drawn["links"]  # link id, from, output, to, input, type
    }
    assert wires == {
        (key, field, source, slot)
        for key, node in twin.items()
        for field, (source, slot) in ((f, v) for f, v in node["inputs"].items() if is_link(v))
    }
    for key, node in twin.items():
        kept = by_id[key].get("widgets_values") or []
        wired = {one["name"] for one in by_id[key]["inputs"] if one.get("widget") and one["link"] is not None}
        said: list[Any] = []
        for field, value in node["inputs"].items():
            if not is_link(value):
                said += [value, CONTROLLED[field]] if field in CONTROLLED else [value]
            elif field in wired:
                said.append(kept[len(said)])  # what the widget held before it was connected
        said += ["image"] if node["class_type"] in UPLOADS else []
        assert said == kept, f"{node['class_type']} {key}"


@pytest.mark.parametrize("name", OURS)
def test_every_node_is_known_and_every_widget_is_set(name: str) -> None:
    for key, node in read(TWINS / f"{name}.json").items():
        assert node["class_type"] in nodes.NODE_CLASS_MAPPINGS
        known = nodes.NODE_CLASS_MAPPINGS[node["class_type"]].INPUT_TYPES()
        declared = {**known["required"], **known.get("optional", {})}
        widgets = {field for field, (kind, *_) in declared.items() if is_link(kind) or kind in WIDGETS}
        widgets -= {field for field, (_, *about) in declared.items() if about and about[0].get("forceInput")}
        set_here = {field for field, value in node["inputs"].items() if not is_link(value)}
        assert set_here == widgets - {field for field, value in node["inputs"].items() if is_link(value)}, key


@every_workflow
def test_it_says_what_to_look_at_and_has_a_picture(name: str) -> None:
    drawn = read(WORKFLOWS / f"{name}.json")
    (note,) = [node for node in drawn["nodes"] if node["type"] in ONLY_DRAWN]
    assert len(note["widgets_values"][0]) > 100
    assert len(drawn["groups"]) >= 3
    assert all(group["title"] for group in drawn["groups"])
    picture = WORKFLOWS / f"{name}.jpg"
    assert picture.stat().st_size <= LARGEST
    with Image.open(picture) as screenshot:
        assert screenshot.format == "JPEG"
        assert min(screenshot.size) > 800


@every_workflow
def test_it_opens_at_its_note_and_large_enough_to_be_read(name: str) -> None:
    drawn = read(WORKFLOWS / f"{name}.json")
    (note,) = [node for node in drawn["nodes"] if node["type"] in ONLY_DRAWN]
    view = drawn["extra"]["ds"]
    assert view["scale"] >= READABLE
    for i in range(2):
        begin, end = ((note["pos"][i] + at + view["offset"][i]) * view["scale"] for at in (0, note["size"][i]))
        assert 0 < begin < end < FIRST_SIGHT[i]


@every_workflow
def test_no_message_of_a_missing_file_hides_behind_a_node(name: str) -> None:
    drawn = read(WORKFLOWS / f"{name}.json")["nodes"]
    for node in drawn:
        (x, y), (width, height) = node["pos"], node["size"]
        below = [other["pos"][1] for other in drawn if x <= other["pos"][0] < x + width and other["pos"][1] > y]
        if node["type"] in LOADERS and below:
            assert min(below) - (y + height) >= ERROR_BAR, node["type"]


@each_workflow
@pytest.mark.usefixtures("edit_model")
def test_it_runs_and_shows_pictures(run_graph: Any, name: str) -> None:
    twin = read(TWINS / f"{name}.json")
    samplers = [node for node in twin.values() if node["class_type"] == "KSampler"]
    for node in samplers:
        assert tuple(node["inputs"][field] for field in ("steps", "sampler_name", "scheduler")) == SAMPLED[name in EDITS]
        node["inputs"]["steps"] = STEPS
    for node in twin.values():
        if node["class_type"] == "BasicScheduler":
            samplers.append(node)
            assert (node["inputs"]["steps"], node["inputs"]["scheduler"]) == (25, "simple")
            node["inputs"]["steps"] = STEPS
        if node["class_type"] == "I2AM_Proof":
            node["inputs"]["fractions"] = "0.5 1"
        if node["class_type"] == "I2AM_Map":
            node["inputs"]["groups"] = min(node["inputs"]["groups"], STEPS)  # at most one a step
    out = run_graph(twin)
    shows = {key for key, node in twin.items() if getattr(nodes.NODE_CLASS_MAPPINGS[node["class_type"]], "OUTPUT_NODE", False)}
    assert samplers
    assert shows
    assert shows <= set(out.executed)
    for key in sorted(shows):
        found = list(pictures(out.ui[key]))
        assert found, f"{twin[key]['class_type']} {key} shows nothing"
        for picture in found:
            assert picture.reshape(-1, 3).std(0).max() > 5, f"{twin[key]['class_type']} {key} is of one colour"


def test_the_queue_goes_through_a_data_set_and_its_table_grows(
    run_graph: Any, pack: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    library(pack, "data.demo_folder").write_demo_folder(tmp_path / "input" / "drawn", 0, 2, 0)
    twin = read(TWINS / "21_data_set.json")
    (sampler,) = (node for node in twin.values() if node["class_type"] == "KSampler")
    sampler["inputs"]["steps"] = STEPS
    by_type = {node["class_type"]: key for key, node in twin.items()}
    (data, table) = (by_type[f"I2AM_{name}"] for name in ("VitonHD", "ScoreTable"))
    for index in (0, 1):
        twin[data]["inputs"]["index"] = index  # as the interface does on increment
        out = run_graph(twin)
        assert [*pictures(out.ui[table])]
    rows = list(csv.DictReader((tmp_path / "output" / "I2AM" / "drawn.csv").open(encoding="utf-8")))
    listed = (tmp_path / "input" / "drawn" / "test_pairs.txt").read_text(encoding="utf-8").split()[::2]
    assert [row["name"] for row in rows] == [Path(name).stem for name in listed]
    assert len({row["imacs_g"] for row in rows}) == 2
    assert all(-3 <= float(row[name]) <= 1 for row in rows for name in ("imacs_g", "imacs_r"))


def pictures(shown: dict[str, Any]) -> Iterator[np.ndarray]:
    """What an output node shows: (height, width, 3) in 0-255, every frame of an animation."""
    for file in shown.get("images", []):
        folder = Path(folder_paths.get_directory_by_type(file["type"]))
        with Image.open(folder / file["subfolder"] / file["filename"]) as opened:
            for frame in ImageSequence.Iterator(opened):
                yield np.asarray(frame.convert("RGB"), dtype=np.float32)


@pytest.mark.parametrize("name", EDITS)
def test_the_references_are_the_person_then_the_garment(name: str) -> None:
    """In every conditioning that has both, and in what Look is given to show; the pair stays the same from run to run."""
    twin = read(TWINS / f"{name}.json")
    (pair,) = (key for key, node in twin.items() if node["class_type"] == "I2AM_DemoEditPair")
    both = 0
    for node in (node["inputs"] for node in twin.values() if node["class_type"] in ("KSampler", "CFGGuider")):
        given, (key, _) = [], node["positive"]
        while twin[key]["class_type"] == "ReferenceLatent":
            given.insert(0, twin[twin[key]["inputs"]["latent"][0]]["inputs"]["pixels"])
            key = twin[key]["inputs"]["conditioning"][0]
        assert twin[key]["class_type"] == "I2AM_DemoEditModel"
        assert node["negative"] == [key, 3]
        assert given in ([[pair, 0], [pair, 1]], [[pair, 0]], [[pair, 1]])
        both += len(given) == 2
    assert both
    for node in (node["inputs"] for node in twin.values() if node["class_type"] in SHOW_BOTH):
        assert [node["reference"], node["reference_2"]] == [[pair, 0], [pair, 1]]
    for node in (node["inputs"] for node in twin.values() if node["class_type"] == "I2AM_Record"):
        assert node["queries"] == "all"
