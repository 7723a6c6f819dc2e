"""The whole way in one graph: the demo try-on, its maps, and every node that shows, scores or keeps them."""

from __future__ import annotations

import math
from typing import Any

import torch
from host_tests.demo_graph import demo_graph
from host_tests.maps_case import defaults

STEPS = 4


def node(pack_nodes: dict[str, Any], name: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": name, "inputs": {**defaults(pack_nodes[name]), **inputs}}


def whole(pack_nodes: dict[str, Any]) -> dict[str, Any]:
    """The demo graph at 4 steps with our nodes behind it."""
    maps, generated, reference = ["collect", 1], ["decode", 0], ["pair", 3]
    masks = {"inpaint_mask": ["pair", 4], "reference_mask": ["pair", 5]}
    ours = {
        "r2g": ("I2AM_Map", {"maps": maps, "side": "R2G-balanced"}),
        "g2r": ("I2AM_Map", {"maps": maps, "side": "G2R"}),
        "tlam": ("I2AM_Map", {"maps": maps, "side": "G2R", "level": "TLAM", "groups": STEPS}),
        "llam": ("I2AM_Map", {"maps": maps, "side": "R2G", "level": "LLAM"}),
        "cut": ("I2AM_Threshold", {"heat": ["g2r", 0], "threshold": 0.4}),
        "over_r2g": ("I2AM_Overlay", {"image": generated, "heat": ["r2g", 0]}),
        "over_cut": ("I2AM_Overlay", {"image": reference, "heat": ["cut", 0]}),
        "grid": ("I2AM_Grid", {"image": generated, "heat": ["llam", 0]}),
        "film": ("I2AM_Animate", {"image": reference, "heat": ["tlam", 0]}),
        "patch": ("I2AM_PatchMap", {"maps": maps, "image": generated, "x": 48, "y": 64}),
        "over_patch": ("I2AM_Overlay", {"image": reference, "heat": ["patch", 0]}),
        "score": ("I2AM_IMACS", {"maps": maps, "image": generated, "reference_image": reference, **masks}),
        "save": ("I2AM_SaveMaps", {"maps": maps}),
        "report": ("I2AM_Report", {"maps": maps, "image": generated, "reference_image": reference, **masks}),
    }
    return demo_graph(steps=STEPS) | {key: node(pack_nodes, name, **inputs) for key, (name, inputs) in ours.items()}


def test_from_the_sampler_to_the_report(run_graph: Any, pack_nodes: dict[str, Any]) -> None:
    pictures = {"over_r2g": 0, "over_cut": 0, "grid": 0, "film": 0, "over_patch": 0, "marked": 2, "card": 3}
    places = {"marked": "patch", "card": "score"}
    watch = {name: (places.get(name, name), index) for name, index in pictures.items()}
    numbers = {"g": ("score", 0), "r": ("score", 1), "mask": ("cut", 1), "page": ("report", 0)}
    out = run_graph(whole(pack_nodes), watch={**watch, **numbers})
    for name in pictures:
        assert out[name].ndim == 4, name
        assert float(out[name].std()) > 0.02, name
    assert len(out["film"]) == STEPS
    assert math.isfinite(out["g"])
    assert math.isfinite(out["r"])
    assert out["mask"].shape == (1, 160, 112)
    assert set(torch.unique(out["mask"] > 0).tolist()) == {False, True}
    assert out["page"].startswith("I2AM/report_")
    assert {name for name, shown in out.ui.items() if shown} >= {"grid", "score", "save", "report"}


def test_another_threshold_runs_nothing_before_it(run_graph: Any, pack_nodes: dict[str, Any]) -> None:
    graph = whole(pack_nodes)
    run_graph(graph, watch={"mask": ("cut", 1)})
    graph["cut"]["inputs"]["threshold"] = 0.6
    again = run_graph(graph, watch={"mask": ("cut", 1)})
    assert set(again.executed) <= {"cut", "over_cut", "catch_mask"}
    assert "sampler" in again.cached
