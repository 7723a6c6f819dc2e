"""I2AM_VitonHD: pairs of a data set as lists and batches, the queue's way through it, and what is missing or broken."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import pytest
import torch
from host_tests.demo_graph import demo_graph
from host_tests.graph import Graphs
from host_tests.maps_case import defaults, library
from PIL import Image

SOCKETS = (
    *("person", "agnostic", "inpaint_mask", "densepose", "reference", "reference_mask", "hands_mask", "warped"),
    *("name", "total", "findings"),
)
NAMES = [f"{10_000_000 + i}_00" for i in range(3)]


@pytest.fixture(scope="module")
def drawn(pack: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(pack, "data.demo_folder").write_demo_folder(tmp_path_factory.mktemp("drawn"), 0, 3)


@pytest.fixture
def folder(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in an input folder of its own."""
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path))
    return Path(shutil.copytree(drawn, tmp_path / "drawn"))


@pytest.fixture
def load(run_graph: Graphs, pack_nodes: dict[str, Any]) -> Any:
    def load(folder: Path | str, *watched: str, error: bool = False, **given: Any) -> Any:
        inputs = {**defaults(pack_nodes["I2AM_VitonHD"]), "folder": str(folder), **given}
        prompt = {"data": {"class_type": "I2AM_VitonHD", "inputs": inputs}}
        watch = {name: ("data", SOCKETS.index(name)) for name in watched or ("person", "name", "total", "findings")}
        return run_graph(prompt, watch=watch, expect_error=error)

    return load


def test_one_pair_comes_with_its_pictures_and_masks(load: Any, folder: Path) -> None:
    out = load(
        folder, "person", "agnostic", "inpaint_mask", "densepose", "reference", "reference_mask", "name", "total", index=1
    )
    assert (out["name"], out["total"]) == (NAMES[1], 3)
    for name, place, channels in (
        ("person", f"image/{NAMES[1]}.jpg", 3),
        ("agnostic", f"agnostic-v3.2/{NAMES[1]}.jpg", 3),
        ("inpaint_mask", f"agnostic-mask/{NAMES[1]}_mask.png", 1),
        ("densepose", f"image-densepose/{NAMES[1]}.jpg", 3),
        ("reference", f"cloth/{NAMES[1]}.jpg", 3),
        ("reference_mask", f"cloth-mask/{NAMES[1]}.jpg", 1),
    ):
        picture = Image.open(folder / "test" / place).convert("RGB" if channels == 3 else "L")
        values = torch.tensor(list(picture.tobytes())).view(1, picture.height, picture.width, channels) / 255
        assert torch.allclose(out[name], values if channels == 3 else values[..., 0], atol=1e-6), name


def test_a_range_is_a_list_or_a_batch(load: Any, folder: Path) -> None:
    listed = load(folder, "reference", "inpaint_mask", "name", index=1, count=5)
    assert listed.lists["name"] == NAMES[1:]
    assert [tuple(picture.shape) for picture in listed.lists["reference"]] == [(1, 160, 112, 3)] * 2
    batch = load(folder, "reference", "inpaint_mask", "name", index=1, count=5, layout="batch")
    assert batch.lists["name"] == NAMES[1:]
    assert torch.equal(batch["reference"], torch.cat(listed.lists["reference"]))
    assert torch.equal(batch["inpaint_mask"], torch.cat(listed.lists["inpaint_mask"]))


def test_unpaired_pairs_and_a_list_of_its_own(load: Any, folder: Path) -> None:
    other = load(folder, "reference", "name", pairs="unpaired")
    assert other["name"] == f"{NAMES[0]}+{NAMES[1]}"
    assert torch.equal(other["reference"], load(folder, "reference", index=1)["reference"])
    (folder / "mine.txt").write_text(f"{NAMES[2]} {NAMES[0]}\n")
    mine = load("drawn", "name", "total", pair_list="mine.txt")  # by its name in the input folder
    assert (mine["name"], mine["total"]) == (f"{NAMES[2]}+{NAMES[0]}", 1)


def test_the_nodes_behind_run_once_for_each_pair(run_graph: Graphs, pack_nodes: dict[str, Any], folder: Path) -> None:
    graph = demo_graph(steps=1)
    inputs = {**defaults(pack_nodes["I2AM_VitonHD"]), "folder": str(folder), "count": 2}
    graph["pair"] = {"class_type": "I2AM_VitonHD", "inputs": inputs}
    graph["conditioning"]["inputs"].update(reference=["pair", 4], agnostic=["pair", 1], densepose=["pair", 3])
    out = run_graph(graph, watch={"maps": ("collect", 0), "image": ("decode", 0)})
    assert [tuple(image.shape) for image in out.lists["image"]] == [(1, 128, 96, 3)] * 2
    assert not torch.equal(*out.lists["image"])
    assert len(out.lists["maps"]) == 2


def test_what_a_pair_lacks_is_told_where_it_is_wanted(run_graph: Graphs, pack_nodes: dict[str, Any], folder: Path) -> None:
    node = {"class_type": "I2AM_VitonHD", "inputs": {**defaults(pack_nodes["I2AM_VitonHD"]), "folder": str(folder), "count": 2}}
    wants = {"class_type": "PreviewImage", "inputs": {"images": ["data", 7]}}
    told = run_graph({"data": node, "show": wants}, expect_error=True).error
    assert told.node_type == "PreviewImage"
    assert f"{NAMES[0]} has no warped: there is no {folder / 'test' / 'cloth-warp'}" in told.message
    fine = {"class_type": "PreviewImage", "inputs": {"images": ["data", 0]}}
    assert len(run_graph({"data": node, "show": fine}).ui["show"]["images"]) == 2


def test_a_file_that_changes_is_read_again(load: Any, folder: Path) -> None:
    before = load(folder, "inpaint_mask")
    assert "data" in load(folder, "inpaint_mask").cached
    path = folder / "test" / "agnostic-mask" / f"{NAMES[0]}_mask.png"
    grown = Image.open(path).convert("L")
    grown.paste(255, (0, 0, 96, 8))
    grown.save(path)
    after = load(folder, "inpaint_mask")
    assert "data" in after.executed
    assert not torch.equal(after["inpaint_mask"], before["inpaint_mask"])


def test_broken_pairs_stop_are_left_out_or_kept(load: Any, folder: Path) -> None:
    (folder / "test" / "cloth" / f"{NAMES[1]}.jpg").write_bytes(b"no picture")
    error = load(folder, count=3, error=True).error
    assert f"1 of 3 pairs cannot be used: unreadable (reference): 1 of 3; first {NAMES[1]}: " in error.message
    out = load(folder, count=3, broken="leave out")
    assert out.lists["name"] == [NAMES[0], NAMES[2]]
    assert out["findings"].startswith("unreadable (reference): 1 of 3")
    assert "2 of 3 pairs, from 0 on" in out.ui["data"]["text"][0]
    kept = load(folder, "name", "person", count=3, broken="keep")
    assert kept.lists["name"] == NAMES
    assert len(kept.lists["person"]) == 3
    alone = load(folder, index=1, broken="leave out", error=True).error
    assert "no pair can be used" in alone.message


def test_pictures_of_several_sizes_are_no_batch(load: Any, folder: Path) -> None:
    path = folder / "test" / "cloth" / f"{NAMES[1]}.jpg"
    Image.open(path).resize((56, 80)).save(path)
    error = load(folder, count=2, layout="batch", error=True).error
    assert f"the reference of {NAMES[0]} is 112 x 160 pixels, that of {NAMES[1]} 56 x 80 pixels" in error.message
    assert "take them as a list" in error.message
    assert len(load(folder, count=2).lists["person"]) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"index": 3}, "index 3 was asked for, but there are 3 pairs, counted from 0"),
        ({"split": "train"}, "there is no train_pairs.txt in"),
        ({"pair_list": "../secret.txt"}, "'../secret.txt' leads out of its folder"),
        ({"pair_list": "no.txt"}, "there is no list of pairs"),
        ({"kind": "dress-code"}, "there is none of upper_body, lower_body, dresses"),
        ({"folder": ""}, "no folder is set; give a data set's folder"),
        ({"folder": "../elsewhere"}, "'../elsewhere' leads out of its folder"),
        ({"folder": "nowhere"}, "there is no folder"),
        ({"folder": "/"}, "is no data set of a kind that is known"),
    ],
)
def test_wrong_inputs_are_told(load: Any, folder: Path, given: dict[str, Any], said: str) -> None:
    assert said in load(given.pop("folder", folder), error=True, **given).error.message
