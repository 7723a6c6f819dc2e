"""The example workflows: each file says the same as its API-format twin, and the twin runs in the host.

The twins in tests/workflows come from the real interface: screenshots.js there writes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import pytest
from PIL import Image, ImageSequence

import nodes

TESTS = Path(__file__).resolve().parents[1]
TWINS = TESTS / "workflows"
WORKFLOWS = TESTS.parent / "workflows"
EVERY = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
NAMES = [name for name in EVERY if name[:2] <= "05"]  # those of the demo model, which need nothing else
OURS = [name for name in EVERY if name[:2] != "06"]  # for 06 see test_ipadapter.py, from 07 on test_tryon_models.py
STEPS = 4
LARGEST = 400_000  # bytes of a screenshot
ONLY_DRAWN = {"Note", "MarkdownNote"}  # the interface keeps them to itself
SEEDS = {"seed", "noise_seed"}  # the interface keeps "fixed" behind them
UPLOADS = {"LoadImage"}  # the interface keeps "image" behind the file's name, for its button
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}

every_workflow = pytest.mark.parametrize("name", EVERY)
each_workflow = pytest.mark.parametrize("name", NAMES)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def is_link(value: Any) -> bool:
    return isinstance(value, list)


def test_there_are_ten() -> None:
    assert [name[:2] for name in EVERY] == [f"{i:02}" for i in range(1, 11)]


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
        said = [
            part
            for field, value in node["inputs"].items()
            if not is_link(value)
            for part in ([value, "fixed"] if field in SEEDS else [value])
        ]
        said += ["image"] if node["class_type"] in UPLOADS else []
        assert said == (by_id[key].get("widgets_values") or []), f"{node['class_type']} {key}"


@pytest.mark.parametrize("name", OURS)
def test_every_node_is_known_and_every_widget_is_set(name: str) -> None:
    for key, node in read(TWINS / f"{name}.json").items():
        assert node["class_type"] in nodes.NODE_CLASS_MAPPINGS
        known = nodes.NODE_CLASS_MAPPINGS[node["class_type"]].INPUT_TYPES()
        declared = {**known["required"], **known.get("optional", {})}
        widgets = {field for field, (kind, *_) in declared.items() if is_link(kind) or kind in WIDGETS}
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


@each_workflow
def test_it_runs_and_shows_pictures(run_graph: Any, name: str) -> None:
    twin = read(TWINS / f"{name}.json")
    samplers = [node for node in twin.values() if node["class_type"] == "KSampler"]
    for node in samplers:
        assert (node["inputs"]["steps"], node["inputs"]["sampler_name"]) == (50, "ddim")
        node["inputs"]["steps"] = STEPS
    for node in twin.values():
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


def pictures(shown: dict[str, Any]) -> Iterator[np.ndarray]:
    """What an output node shows: (height, width, 3) in 0-255, every frame of an animation."""
    for file in shown.get("images", []):
        folder = Path(folder_paths.get_directory_by_type(file["type"]))
        with Image.open(folder / file["subfolder"] / file["filename"]) as opened:
            for frame in ImageSequence.Iterator(opened):
                yield np.asarray(frame.convert("RGB"), dtype=np.float32)
