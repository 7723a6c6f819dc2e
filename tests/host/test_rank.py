"""I2AM_RankLayers: which layers point where the same detail is found, over runs of the queue."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import numpy as np
import pytest
import torch
from host_tests.maps_case import defaults, library
from PIL import Image
from torch import Tensor

GRID, SIZE = (8, 6), (128, 96)
COUNT = GRID[0] * GRID[1]


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty output folder for one test."""
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    (tmp_path / "output").mkdir()
    return tmp_path / "output"


def plaid() -> Tensor:
    """An IMAGE of random blocks, which SIFT can tell apart."""
    blocks = np.random.default_rng(1).integers(0, 255, (SIZE[0] // 8, SIZE[1] // 8, 3), np.uint8)
    picture = Image.fromarray(blocks).resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255)[None]


def recorded(pack: ModuleType, seed: int, images: int = 1) -> Any:
    """A run of which "output.1" looks at the same place, and "input.1" elsewhere."""
    layout, facts = library(pack, "geometry.layout"), library(pack, "maps.facts")
    own = layout.Layout.of(layout.TokenGrid(*GRID, picture=SIZE))
    recorder = library(pack, "recording.recorder").Recorder(
        lambda _: own, steps=1, images=images, generated_size=SIZE, pairwise="heads", groups=1
    )
    for name, shift in (("input.1", 3 * GRID[1]), ("output.1", 0)):
        q = 9.0 * torch.eye(COUNT).roll(shift, 1).expand(images, 2, -1, -1)
        recorder.observe(name, GRID, 0, "cond", q, torch.eye(COUNT).expand(images, 2, -1, -1), None, scale=1.0)
    recorder.end_step(0)
    return recorder.finish(facts.RunInfo(steps=1, model="planted", extra={"latent_hash": f"run {seed}"}))


def prompt(pack_nodes: dict[str, Any], **given: Any) -> dict[str, Any]:
    """Ranked layers, and the map that is made of those to believe."""
    ranked = {"maps": ["give_maps", 0], "image": ["give_image", 0], "reference_image": ["give_reference", 0], **given}
    mapped = {"maps": ["give_maps", 0], "side": "G2R", "level": "LLAM", "layers": ["rank", 1]}
    return {
        "rank": {"class_type": "I2AM_RankLayers", "inputs": {**defaults(pack_nodes["I2AM_RankLayers"]), **ranked}},
        "map": {"class_type": "I2AM_Map", "inputs": {**defaults(pack_nodes["I2AM_Map"]), **mapped}},
    }


def test_runs_add_up_and_the_believed_layers_go_into_map(
    run_graph: Any, pack: ModuleType, pack_nodes: dict[str, Any], output: Path
) -> None:
    watch = {"layers": ("rank", 1), "table": ("rank", 2), "path": ("rank", 3), "labels": ("map", 2)}
    counts = []
    for seed in (1, 2, 2):
        given = {"maps": recorded(pack, seed), "image": 0.8 * plaid(), "reference": plaid()}
        out = run_graph(prompt(pack_nodes, heads=True), give=given, watch=watch)
        assert (out["layers"], out["path"]) == ("output.1", "I2AM/layers.json")
        assert out["table"].startswith("Believe output.1.")
        assert "output.1 head 1" in out["table"]
        assert [line for line in out["labels"].splitlines() if "output.1" in line]
        assert "input.1" not in out["labels"]
        assert len(out.ui["rank"]["images"]) == 1
        about = json.loads((output / "I2AM" / "layers.json").read_text())
        counts.append(len(about["runs"]))
    assert counts == [1, 2, 2]  # the third is the second again
    preset = importlib.import_module(f"{pack.__name__}.i2am.outputs.layer_preset").load_layers(output / "I2AM" / "layers.json")
    assert preset.believed == ("output.1",)
    assert {one.accuracy for one in preset.found if one.layer == "output.1"} == {1.0}


def test_what_proof_says_of_layers_goes_in(pack: ModuleType, pack_nodes: dict[str, Any], run_graph: Any, output: Path) -> None:
    effects = json.dumps({"question": "which layers matter?", "layers": {"input.1": 0.5, "output.1": 0.125}})
    given = {"maps": recorded(pack, 1), "image": 0.8 * plaid(), "reference": plaid(), "effects": effects}
    out = run_graph(
        prompt(pack_nodes, effects=["give_effects", 0], ranked_by="effect when cut"),
        give=given,
        watch={"layers": ("rank", 1), "table": ("rank", 2)},
    )
    assert out["layers"] == "output.1"
    assert [line.split()[:6:5] for line in out["table"].splitlines()[-2:]] == [["input.1", "×"], ["output.1", "×"]]
    assert "Cut alone, input.1 changes the picture most, by 0.5 on average; output.1 least, by 0.125." in out["table"]


def test_masks_of_any_size_leave_details_out(pack: ModuleType, pack_nodes: dict[str, Any], output: Path) -> None:
    node, upper = pack_nodes["I2AM_RankLayers"], torch.zeros(1, 32, 24)
    upper[:, :16] = 1
    found = []
    for name, masks in (("all", {}), ("upper", {"inpaint_mask": upper}), ("object", {"reference_mask": upper})):
        inputs = {"maps": recorded(pack, 1), "image": 0.8 * plaid(), "reference_image": plaid(), "filename": name, **masks}
        node.execute(**{**defaults(node), **inputs})
        about = json.loads((output / f"{name}.json").read_text())
        found.append(about["runs"][0]["found"][0]["matches"])
    assert found[0] > found[1] > 0
    assert found[0] > found[2] > 0


def test_every_image_of_a_batch_adds_to_the_file(pack: ModuleType, pack_nodes: dict[str, Any], output: Path) -> None:
    node, maps = pack_nodes["I2AM_RankLayers"], recorded(pack, 1, images=2)
    for image in (0, 1, 1):
        inputs = {"maps": maps, "image": 0.8 * plaid(), "reference_image": plaid(), "batch_index": image}
        node.execute(**{**defaults(node), **inputs})
    about = json.loads((output / "I2AM" / "layers.json").read_text())
    assert [run["run"] for run in about["runs"]] == ["run 1", "run 1, image 1"]
