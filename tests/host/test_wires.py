"""Wires that give a believable sheet: positive and negative swapped. Alarms are counted over demo runs of either order."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests.demo_graph import demo_graph
from host_tests.maps_case import defaults, library

BRANCHES, CFGS = ("cond", "uncond", "both"), (1.0, 5.0)
SWAPPED = {"positive": ["conditioning", 1], "negative": ["conditioning", 0]}
THREE = {"latent": ["sampler", 0], "recording": ["record", 1], "image": ["decode", 0]}


def looked(pack_nodes: dict[str, Any], *, branch: str = "cond", **changes: Any) -> dict[str, Any]:
    """The demo with a Look on three wires."""
    graph = demo_graph(**changes)
    graph["look"] = {"class_type": "I2AM_Look", "inputs": {**defaults(pack_nodes["I2AM_Look"]), **THREE, "branch": branch}}
    return graph


def mask_the_latent(graph: dict[str, Any], mask: list[Any]) -> None:
    """By the host's own node."""
    graph["masked"] = {"class_type": "SetLatentNoiseMask", "inputs": {"samples": ["conditioning", 2], "mask": mask}}
    graph["sampler"]["inputs"]["latent_image"] = ["masked", 0]


def alarm(answer: str) -> bool:
    return "Check the wires: positive and negative are swapped" in answer


def test_swapped_conditionings_are_named_and_right_ones_never(run_graph: Any, pack_nodes: dict[str, Any]) -> None:
    false, missed, runs = 0, 0, 0
    for swapped, kept, cfg in itertools.product((False, True), BRANCHES, CFGS):
        if cfg == 1 and kept != "cond":
            continue  # without guidance there is no other half, and recording says so
        wires = SWAPPED if swapped else {}
        changes = {"steps": 1, "cfg": cfg, "record": True, "sampler": wires}
        for shown in ("cond", "uncond") if kept == "both" else (kept,):
            graph = looked(pack_nodes, branch=shown, **changes)
            graph["record"]["inputs"]["branch"] = kept
            said = run_graph(graph, watch={"answer": ("look", 4)})["answer"]
            runs += 1
            # what was never recorded cannot be told: of uncond alone, the positive is not known
            knows = kept != "uncond"
            false += alarm(said) and not swapped
            missed += swapped and knows and not alarm(said)
            assert ("All of this is said of uncond" in said) == (shown == "uncond")
    assert (runs, false, missed) == (10, 0, 0)


def test_the_swapped_look_refuses_maps_of_the_reference_and_says_why(run_graph: Any, pack_nodes: dict[str, Any]) -> None:
    answer = run_graph(looked(pack_nodes, steps=1, sampler=SWAPPED), watch={"answer": ("look", 4)})["answer"]
    assert "G2R of branch 'cond' is refused: its keys stand for 'no reference'" in answer
    assert "positive and negative are swapped: connect them anew" in answer


def test_three_wires_are_enough_where_the_conditioning_brings_the_masks(
    run_graph: Any, pack: ModuleType, pack_nodes: dict[str, Any]
) -> None:
    masks = {"inpaint_mask": ["pair", 4], "reference_mask": ["pair", 5]}
    watch = {"answer": ("look", 4), "g": ("look", 2), "r": ("look", 3), "maps": ("look", 1), "inside": ("pair", 4)}
    carried = run_graph(looked(pack_nodes, steps=2, conditioning=masks), watch=watch)
    graph = looked(pack_nodes, steps=2)
    graph["look"]["inputs"] |= masks
    graph["record"]["inputs"]["inpaint_mask"] = masks["inpaint_mask"]
    wired = run_graph(graph, watch=watch)
    assert torch.equal(carried["maps"].inpaint_mask, carried["inside"])
    assert carried["answer"] == wired["answer"]
    assert (carried["g"], carried["r"]) == (wired["g"], wired["r"])
    graph = looked(pack_nodes, steps=2, conditioning=masks)
    own = {"maps": ["look", 1], "image": ["decode", 0], "pins": ""}
    graph["explorer"] = {"class_type": "I2AM_Explorer", "inputs": {**defaults(pack_nodes["I2AM_Explorer"]), **own}}
    assert run_graph(graph, watch={"answer": ("explorer", 10)})["answer"] == carried["answer"]
    taken = library(pack, "levels.kept").masks_taken(carried["maps"], None, None)
    assert taken.count("I²AM Try-On Conditioning") == 2


def test_a_latents_own_mask_is_taken_as_the_inpainting_mask(
    run_graph: Any, pack: ModuleType, pack_nodes: dict[str, Any]
) -> None:
    graph = looked(pack_nodes, steps=2)
    mask_the_latent(graph, ["pair", 4])
    out = run_graph(graph, watch={"maps": ("look", 1), "g": ("look", 2), "inside": ("pair", 4)})
    kept = out["maps"].inpaint_mask
    assert kept.shape == (1, 32, 24)
    whole = torch.nn.functional.interpolate(kept[None], out["inside"].shape[-2:])[0]
    assert float((whole - out["inside"]).abs().mean()) < 0.05
    assert library(pack, "levels.kept").inpaint_mask_from(out["maps"]) == "the sampler's latent"
    assert out["g"] == pytest.approx(out["g"])  # a number, and no NaN


def test_a_latents_mask_that_is_white_all_over_is_none(run_graph: Any, pack_nodes: dict[str, Any]) -> None:
    graph = looked(pack_nodes, steps=1)
    graph["masked"] = {
        "class_type": "SetLatentNoiseMask",
        "inputs": {"samples": ["conditioning", 2], "mask": ["give_white", 0]},
    }
    graph["sampler"]["inputs"]["latent_image"] = ["masked", 0]
    out = run_graph(graph, give={"white": torch.ones(1, 128, 96)}, watch={"maps": ("look", 1)})
    assert out["maps"].inpaint_mask is None
