"""I2AM_Map, I2AM_PatchMap and I2AM_Threshold on maps whose attention is known."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests.maps_case import GENERATED, REFERENCE, box, defaults, picture, planted

SRAM, MIRROR = "SRAM (what it used)", "mirror (where it went)"


@pytest.fixture(scope="module")
def maps(pack: ModuleType) -> Any:
    return planted(pack)


@pytest.fixture
def ask(pack_nodes: dict[str, Any], run_graph: Any) -> Any:
    """Runs one node by its id in a graph of its own; what is not said stays at its default."""

    def asked(name: str, outputs: int, expect_error: bool = False, **inputs: Any) -> Any:
        objects = {key: value for key, value in inputs.items() if not isinstance(value, str | int | float)}
        plain = {key: value for key, value in inputs.items() if key not in objects}
        linked = {key: [f"give_{key}", 0] for key in objects}
        prompt = {"node": {"class_type": name, "inputs": {**defaults(pack_nodes[name]), **plain, **linked}}}
        out = run_graph(prompt, give=objects, watch={str(i): ("node", i) for i in range(outputs)}, expect_error=expect_error)
        return out.error if expect_error else [out[str(i)] for i in range(outputs)]

    return asked


def peak(panel: torch.Tensor) -> tuple[int, int]:
    return divmod(int(panel.argmax()), panel.shape[1])


def test_a_map_of_all_images_has_a_panel_and_a_mask_each(ask: Any, maps: Any) -> None:
    heat, mask, labels = ask("I2AM_Map", 3, maps=maps, side="R2G-balanced")
    assert heat.images == (0, 1)
    assert heat.level == "ULAM"
    assert heat.side == "R2G-balanced"
    assert mask.shape == (2, *GENERATED)
    assert mask.dtype == torch.float32
    assert float(mask.min()) >= 0
    assert float(mask.max()) <= 1
    assert labels.splitlines() == ["image 0 · steps 0–3", "image 1 · steps 0–3"]


@pytest.mark.parametrize(
    ("level", "choice", "labels"),
    [
        ("TLAM", {"groups": 2}, ["steps 0–1", "steps 2–3"]),
        ("TLAM", {"groups": 2, "steps": "1:3"}, ["step 1", "step 2"]),
        ("HLAM", {}, ["head 0", "head 1"]),
        ("HLAM", {"heads": "1"}, ["head 1"]),
        ("LLAM", {}, ["input.1 · 10×8", "output.1 · 5×4"]),
        ("LLAM", {"layers": "output.*"}, ["output.1 · 5×4"]),
    ],
)
def test_levels_and_filters(ask: Any, maps: Any, level: str, choice: dict[str, Any], labels: list[str]) -> None:
    heat, mask, said = ask("I2AM_Map", 3, maps=maps, side="G2R", level=level, batch_index=0, **choice)
    assert list(heat.labels) == said.splitlines() == labels
    assert mask.shape == (len(labels), *REFERENCE)


def test_an_image_of_the_batch_is_the_panel_of_all_of_them(ask: Any, maps: Any) -> None:
    whole, _, _ = ask("I2AM_Map", 3, maps=maps, side="mass")
    one, _, labels = ask("I2AM_Map", 3, maps=maps, side="mass", batch_index=1)
    assert torch.equal(one.values[0], whole.values[1])
    assert one.images == (1,)
    assert labels == "steps 0–3"


def test_a_point_finds_the_planted_patch_in_both_images(ask: Any, maps: Any) -> None:
    # generated cell (7, 2) of 10 x 8 is at x 16-24, y 56-64 and looks at reference cell (3, 1), mirrored at (3, 2)
    heat, mask, marked = ask("I2AM_PatchMap", 3, maps=maps, direction=SRAM, x=20, y=60)
    assert [peak(panel) for panel in heat.values] == [(3, 1), (3, 2)]
    assert heat.queries == ((7, 2),)
    assert mask.shape == (2, *REFERENCE)
    assert marked.shape[0] == 2
    assert marked.shape[1] >= 384 * GENERATED[0] // GENERATED[1] // 2


def test_the_mirror_goes_back(ask: Any, maps: Any) -> None:
    heat, mask, _ = ask("I2AM_PatchMap", 3, maps=maps, direction=MIRROR, x=30, y=70, batch_index=0)  # reference cell (3, 1)
    assert mask.shape == (1, *GENERATED)
    row, column = peak(heat.values[0])
    assert (row // 2, column // 2) == (3, 1)


def test_pixels_count_in_the_connected_picture(ask: Any, maps: Any) -> None:
    double = picture((2 * GENERATED[0], 2 * GENERATED[1]))
    heat, _, marked = ask("I2AM_PatchMap", 3, maps=maps, direction=SRAM, x=40, y=120, image=double, batch_index=0)
    assert heat.queries == ((7, 2),)
    where = (marked[0] - torch.nn.functional.interpolate(double.movedim(-1, 1), marked.shape[1:3]).movedim(1, -1)[0]).abs()
    rows, columns = torch.where(where.amax(-1) > 0.5)
    scale = marked.shape[2] / GENERATED[1]
    left, below = columns < 16 * scale, rows > 64 * scale  # of the cell; its name stands to the right and above
    assert abs(float(rows[left].float().mean()) - 60 * scale) < 2 * scale
    assert abs(float(columns[below].float().mean()) - 20 * scale) < 2 * scale
    assert heat.labels[0].startswith("patch 40, 120 (row 7, column 2)")  # in pixels of the connected picture


def test_several_points_get_a_panel_each(ask: Any, maps: Any) -> None:
    points = '[[20, 60], [4, 4], {"x": 60, "y": 76}]'
    heat, _, _ = ask("I2AM_PatchMap", 3, maps=maps, direction=SRAM, points=points, batch_index=0)
    assert heat.queries == ((7, 2), (0, 0), (9, 7))
    assert [peak(panel) for panel in heat.values] == [(3, 1), (0, 0), (4, 3)]


def test_a_region_gives_the_mean_of_its_patches(ask: Any, maps: Any) -> None:
    region = box(GENERATED, 0.4, 0.25, 0.6, 0.5)  # cells (4..5, 2..3): all look at reference cell (2, 1)
    heat, _, _ = ask("I2AM_PatchMap", 3, maps=maps, direction=SRAM, region=region, batch_index=0)
    assert sorted(heat.queries) == [(4, 2), (4, 3), (5, 2), (5, 3)]
    assert len(heat.values) == 1
    assert peak(heat.values[0]) == (2, 1)


def test_threshold_keeps_raw_values_and_shows_what_is_above(ask: Any, maps: Any) -> None:
    heat, mask, _ = ask("I2AM_Map", 3, maps=maps, side="mass", level="TLAM", groups=2)
    for scale in ("each", "shared"):
        kept, cut = ask("I2AM_Threshold", 2, heat=heat, threshold=0.5, scale=scale)
        assert torch.equal(kept.values, heat.values)
        assert (kept.threshold, kept.scale, heat.threshold) == (0.5, scale, None)
        assert bool(((cut == 0) | (cut > 0.5)).all())
        assert bool((cut > 0.5).any())
        if scale == "each":
            assert torch.equal(cut, torch.where(mask > 0.5, mask, torch.zeros_like(mask)))


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("I2AM_Map", {"layers": "outptu.*"}, ["'outptu.*'", "input.1, output.1"]),
        ("I2AM_Map", {"heads": "two"}, ["0,2,5", "'two'"]),
        ("I2AM_Map", {"heads": "7"}, ["[7]", "0 to 1"]),
        ("I2AM_Map", {"steps": "3:9"}, ["3 to 9", "0 to 4"]),
        ("I2AM_Map", {"steps": "a-b"}, ["0:10", "'a-b'"]),
        ("I2AM_Map", {"branch": "uncond"}, ["'uncond'", "cond"]),
        ("I2AM_Map", {"reference": 1}, ["reference 1", "had 1"]),
        ("I2AM_Map", {"batch_index": 2}, ["image 2", "had 2"]),
        ("I2AM_PatchMap", {"x": 64}, ["(64, 64)", "64 x 80"]),
        ("I2AM_PatchMap", {"points": "[1, 2, 3]"}, ["[[120, 80], [64, 200]]", "[1, 2, 3]"]),
        ("I2AM_PatchMap", {"points": "[[1, 2]"}, ["[[1, 2]", "or 120, 80 as reports"]),
        ("I2AM_PatchMap", {"points": "[[1000, 2]]"}, ["(1000, 2)", "64 x 80"]),
        ("I2AM_PatchMap", {"region": torch.zeros(1, *GENERATED)}, ["region is empty"]),
        ("I2AM_PatchMap", {"region": torch.ones(3, *GENERATED)}, ["3 masks", "2 image(s)"]),
        ("I2AM_PatchMap", {"image": torch.zeros(1, 60, 90, 3)}, ["90 x 60", "64 x 80"]),
        ("I2AM_PatchMap", {"image": torch.zeros(3, 80, 64, 3)}, ["3 pictures", "2 image(s)"]),
    ],
)
def test_what_cannot_be_meant_is_said(ask: Any, maps: Any, name: str, inputs: dict[str, Any], words: list[str]) -> None:
    error = ask(name, 1, expect_error=True, maps=maps, **inputs)
    assert error.kind == "execution"
    assert [word for word in words if word not in error.message] == []


def test_without_pairwise_maps_the_error_says_how_to_get_them(ask: Any, pack: ModuleType) -> None:
    error = ask("I2AM_PatchMap", 1, expect_error=True, maps=planted(pack, pairwise=None))
    assert "set detail to pairwise on I²AM Record" in error.message
