"""The demo try-on in the real host: the picture, and the maps of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfy_api.latest import io
from host_tests.demo_graph import demo_graph
from host_tests.maps_case import defaults


def test_the_demo_try_on_runs_and_leaves_maps(run_graph: Any) -> None:
    out = run_graph(demo_graph(steps=4), watch={"latent": ("sampler", 0), "maps": ("collect", 1), "picture": ("decode", 0)})
    maps = out["maps"]
    assert out["picture"].shape == (1, 128, 96, 3)
    assert maps.run.steps == 4
    assert maps.recorded == (0, 1, 2, 3)
    assert [layer.name for layer in maps.layers] == [
        "input.1.1.0", "input.3.1.0", "middle.0.1.0", "output.0.1.0", "output.1.1.0", "output.2.1.0", "output.3.1.0",
    ]  # fmt: skip
    assert {(x.grid.rows, x.grid.columns) for x in maps.layers} == {(32, 24), (16, 12)}
    assert maps.run.cfg == 5.0
    assert maps.run.seed == 3
    assert maps.run.sampler == "ddim"  # as chosen, although the host runs Euler's function
    assert maps.run.model == "I²AM demo model"
    for layer in maps.layers:
        rows = maps.pairwise(layer.name).sum(-1)
        assert torch.allclose(rows, torch.ones_like(rows), atol=1e-5)


def test_recording_changes_no_bit_of_the_latent(run_graph: Any) -> None:
    plain = run_graph(demo_graph(record=False), watch={"latent": ("sampler", 0)})["latent"]["samples"]
    recorded = run_graph(demo_graph(), watch={"latent": ("sampler", 0)})["latent"]["samples"]
    other = run_graph(demo_graph(pair={"letter": "S", "colour": "teal"}), watch={"latent": ("sampler", 0)})["latent"]["samples"]
    assert torch.equal(plain, recorded)
    assert not torch.equal(other, recorded)


@pytest.mark.where(io.Int.Input.__init__.__annotations__["control_after_generate"] != "bool")  # an older host takes True alone
def test_the_pair_stays_after_a_run_unless_the_user_says_otherwise(pack_nodes: dict[str, Any]) -> None:
    assert pack_nodes["I2AM_DemoPair"].INPUT_TYPES()["required"]["seed"][1]["control_after_generate"] == "fixed"


def test_look_says_whether_the_letter_arrived(run_graph: Any, pack_nodes: dict[str, Any]) -> None:
    graph = demo_graph(steps=4)
    given = {"latent": ["sampler", 0], "recording": ["record", 1], "image": ["decode", 0], "reference": ["pair", 3]}
    masks = {"inpaint_mask": ["pair", 4], "reference_mask": ["pair", 5], "region_mask": ["pair", 8], "region_name": "letter"}
    graph["look"] = {"class_type": "I2AM_Look", "inputs": {**defaults(pack_nodes["I2AM_Look"]), **given, **masks}}
    out = run_graph(graph, watch={"answer": ("look", 4), "sheet": ("look", 0)})
    first = out["answer"].splitlines()[0]
    assert first.startswith(("letter: arrived", "letter: looked at in one place"))
    assert "local structure" in first
    assert "How figures became words:" in out["answer"]


def test_changing_a_patch_samples_nothing_again(run_graph: Any, pack_nodes: dict[str, Any]) -> None:
    graph = demo_graph(steps=4)
    graph["patch"] = {
        "class_type": "I2AM_PatchMap",
        "inputs": {**defaults(pack_nodes["I2AM_PatchMap"]), "maps": ["collect", 1]},
    }
    graph["overlay"] = {"class_type": "I2AM_Grid", "inputs": {**defaults(pack_nodes["I2AM_Grid"]), "heat": ["patch", 0]}}
    first = run_graph(graph)
    graph["patch"]["inputs"]["x"] += 8
    again = run_graph(graph)
    assert "sampler" in first.executed
    assert set(again.executed) == {"patch", "overlay"}
