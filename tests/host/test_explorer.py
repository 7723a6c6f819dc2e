"""I2AM_Explorer on maps whose attention is known: its outputs are the library's, and other nodes take them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import pytest
import torch
from host_tests.maps_case import GENERATED, REFERENCE, defaults, library, picture, planted
from host_tests.viewer_header import header_of

PINS = json.dumps(
    [
        {"name": "logo", "x": 20, "y": 60},
        {"name": "sleeve", "on": "reference 1", "x": 20, "y": 60, "width": 20, "height": 20},
    ]
)
NAMES = ("marked", "heats", "pictures", "region", "reference_region", "points", "x", "y", "table", "pins")


@pytest.fixture(scope="module")
def maps(pack: ModuleType) -> Any:
    return planted(pack)


@pytest.fixture
def explored(pack_nodes: dict[str, Any], run_graph: Any, maps: Any) -> Any:
    """Runs the node alone, or with others behind it."""

    def run(
        more: dict[str, Any] | None = None,
        watch: dict[str, Any] | None = None,
        give: dict[str, Any] | None = None,
        **inputs: Any,
    ) -> Any:
        given = {"maps": maps, "image": picture(GENERATED, 2), "reference": picture(REFERENCE), **(give or {})}
        linked = {name: [f"give_{name}", 0] for name in given}
        own = {**defaults(pack_nodes["I2AM_Explorer"]), **linked, **inputs}
        behind = {
            key: {"class_type": node["class_type"], "inputs": {**defaults(pack_nodes[node["class_type"]]), **node["inputs"]}}
            for key, node in (more or {}).items()
        }
        prompt = {"explorer": {"class_type": "I2AM_Explorer", "inputs": own}, **behind}
        wanted = watch or {name: ("explorer", i) for i, name in enumerate(NAMES)}
        return run_graph(prompt, give=given, watch=wanted)

    return run


def test_every_output_is_what_the_pins_mean(explored: Any, pack: ModuleType, maps: Any) -> None:
    out = explored(pins=PINS)
    sram, choice = library(pack, "levels.patch").sram, library(pack, "levels.choice").Choice()
    expected = [sram(maps, (7, 2), "reference", choice), sram(maps, (3, 1), "generated", choice)]
    assert [torch.equal(heat.values, own.values) for heat, own in zip(out.lists["heats"], expected, strict=True)] == [True] * 2
    assert [tuple(one.shape) for one in out.lists["pictures"]] == [(1, *REFERENCE, 3), (1, *GENERATED, 3)]
    assert out["region"].nonzero()[:, 1:].amin(0).tolist() == [56, 16]
    assert int(out["region"].sum()) == 64
    assert int(out["reference_region"].sum()) == 400
    assert (json.loads(out["points"]), out["x"], out["y"]) == ([[20, 60]], 20, 60)
    assert [line.split()[0] for line in out["table"].splitlines()] == ["pin", "logo", "sleeve"]
    assert [pin["name"] for pin in json.loads(out["pins"])] == ["logo", "sleeve"]
    assert out.ui["explorer"]["images"]


def test_the_viewers_file_lies_where_the_host_shows_it(explored: Any, pack: ModuleType) -> None:
    (file,) = explored(pins=PINS).ui["explorer"]["i2am_viewer"]
    assert (file["subfolder"], file["type"]) == ("", "temp")
    raw = (Path(folder_paths.get_temp_directory()) / file["filename"]).read_bytes()
    assert header_of(raw)["version"] == 4
    assert explored(pins="").ui["explorer"]["i2am_viewer"] == [file]  # pins change nothing of it
    assert explored(batch_index=1).ui["explorer"]["i2am_viewer"] != [file]


def test_the_second_image_is_mirrored(explored: Any) -> None:
    out = explored(pins=PINS, batch_index=1)
    heat = out.lists["heats"][0]
    assert divmod(int(heat.values[0].argmax()), heat.values.shape[2]) == (3, 2)


def test_overlay_takes_each_heat_with_its_picture(explored: Any) -> None:
    overlay = {"class_type": "I2AM_Overlay", "inputs": {"heat": ["explorer", 1], "image": ["explorer", 2], "colour_bar": False}}
    out = explored({"overlay": overlay}, {"overlay": ("overlay", 0)}, pins=PINS)
    assert [tuple(one.shape) for one in out.lists["overlay"]] == [(1, *REFERENCE, 3), (1, *GENERATED, 3)]
    assert explored({"overlay": overlay}, {"overlay": ("overlay", 0)}).lists["overlay"][0].shape == (1, *GENERATED, 3)


def test_patch_map_takes_the_pins_as_they_are(explored: Any) -> None:
    inputs = {"maps": ["give_maps", 0], "direction": "SRAM (what it used)", "pins": ["explorer", 9], "batch_index": 0}
    patch = {"class_type": "I2AM_PatchMap", "inputs": inputs}
    watch = {"patch": ("patch", 0), "heats": ("explorer", 1)}
    out = explored({"patch": patch}, watch, pins=PINS)
    assert torch.equal(out["patch"].values, out.lists["heats"][0].values)
    assert out["patch"].labels[0].startswith("logo · patch ")
    assert "(row 7, column 2)" in out["patch"].labels[0]


def test_a_second_run_is_compared(explored: Any, pack: ModuleType) -> None:
    """With a run of the same planted attention, whose batch is of one image: figures of both, and no difference."""
    second = {"maps_2": planted(pack, images=1), "image_2": picture(GENERATED)}
    out, alone = explored(pins=PINS, give=second), explored(pins=PINS)
    assert out["marked"].shape[1] > 3 * alone["marked"].shape[1]
    lines = out["table"].splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["logo", name] for name in ("first", "second", "difference")]
    assert lines[3].endswith("no difference")
    assert [torch.equal(a.values, b.values) for a, b in zip(out.lists["heats"], alone.lists["heats"], strict=True)] == [
        True
    ] * 2
    folder = Path(folder_paths.get_temp_directory())
    both, one = (
        header_of((folder / run.ui["explorer"]["i2am_viewer"][0]["filename"]).read_bytes())["second"] for run in (out, alone)
    )
    assert (both["name"], one) == ("second", None)
