"""I2AM_Effect in the real host: both demo models with a reference cut, and the library's own figures."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests.edit_graph import edit_graph, node
from host_tests.maps_case import GENERATED, box, defaults, library, picture, planted
from host_tests.proof_graph import proof_graph

LEFT = box(GENERATED, 0, 0, 1, 0.5)


@pytest.fixture
def effect(pack_nodes: dict[str, Any]) -> Any:
    kind = pack_nodes["I2AM_Effect"]

    def asked(**inputs: Any) -> Any:
        return kind.execute(**{**defaults(kind), **inputs}).args

    return asked


def test_the_figures_are_the_librarys(pack: ModuleType, effect: Any) -> None:
    scores, choice = library(pack, "scores.effect"), library(pack, "levels.choice").Choice
    maps, before, after = planted(pack), picture(GENERATED, 2), picture(GENERATED, 3)[1:]
    heat, mask, said, sheet, inside, roc, rank = effect(before=before, after=after, maps=maps, region=LEFT)
    changes = scores.change_of(before.movedim(-1, 1), after.movedim(-1, 1))
    torch.testing.assert_close(heat.values, changes)
    found = [scores.effect(c, LEFT[0], scores.maps_to_tell(maps, choice(image=i))) for i, c in enumerate(changes)]
    assert inside == pytest.approx(sum(one.share_inside for one in found) / 2)
    assert roc == pytest.approx(sum(one.roc for one in found) / 2)
    assert rank == pytest.approx(sum(one.told["mass"] for one in found) / 2)
    assert (heat.side, heat.images, mask.shape) == ("change", (0, 1), (2, *GENERATED))
    assert (float(mask.min()), float(mask.max())) == (0.0, 1.0)
    assert said.splitlines()[1].startswith(f"image 1: {found[1].sentences()[0]}")
    assert len(sheet) == 2


def test_without_region_and_maps_the_numbers_are_none(effect: Any) -> None:
    _, _, said, _, inside, roc, rank = effect(before=picture(GENERATED), after=1 - picture(GENERATED))
    assert all(math.isnan(value) for value in (inside, roc, rank))
    assert said.startswith("The picture changed by")
    assert "region" not in said


def test_latents_are_measured_where_they_are_given(effect: Any) -> None:
    latents = torch.zeros(1, 4, 10, 8), torch.zeros(1, 4, 10, 8)
    latents[1][0, 2, 3, 4] = -2
    given = {f"latent_{name}": {"samples": t} for name, t in zip(("before", "after"), latents, strict=True)}
    for pictures in ({}, {"before": picture(GENERATED), "after": 1 - picture(GENERATED)}):
        heat, mask, _, sheet, *_ = effect(**given, **pictures)
        assert heat.values.count_nonzero() == 1
        assert heat.values[0, 3, 4] == 0.5
        assert tuple(mask.shape[1:]) == (GENERATED if pictures else (10, 8))
        assert sheet.shape[-1] == 3


def edit_effect(steps: int, **cut: Any) -> dict[str, Any]:
    """The demo edit with and without a cut, and what that changed."""
    graph = edit_graph(steps=steps)
    taken = {"reference_tokens": "auto", "rows": 16, "columns": 16, "leading_tokens": 1}
    what = {"cut": "reference", "reference": 1, "route": "all", "steps": "", "layers": "", "heads": "", "tokens": ""}
    graph["cut"] = node("I2AM_Intervene", model=["model", 0], branch="auto", **taken, **{**what, **cut})
    graph["cut_sampler"] = {"class_type": "KSampler", "inputs": {**graph["sampler"]["inputs"], "model": ["cut", 0]}}
    graph["cut_decode"] = node("VAEDecode", samples=["cut_sampler", 0], vae=["model", 1])
    pair = {"before": ["decode", 0], "after": ["cut_decode", 0]}
    beside = {"maps": ["collect", 1], "region": ["pair", 6], "reference": 1, "side": "mass"}
    graph["effect"] = node("I2AM_Effect", **pair, **beside, branch="cond", layers="")
    return graph


def test_the_garment_cut_in_the_trained_edit_model_changes_the_garment(run_graph: Any) -> None:
    watch = {name: ("effect", i) for i, name in enumerate(("heat", "mask", "said", "sheet", "inside", "roc", "rank"))}
    out = run_graph(edit_effect(25), watch={**watch, "region": ("pair", 6)})
    assert out["roc"] >= 0.9
    assert out["inside"] > 2 * float(out["region"].mean())
    assert out["rank"] > 0.4
    assert "mass" in out["said"]
    assert out.ui["effect"]["images"]


def test_nothing_cut_is_said(run_graph: Any) -> None:
    error = run_graph(edit_effect(2, cut="nothing"), expect_error=True).error
    assert error is not None
    assert error.node_type == "I2AM_Effect"
    assert "identical to the last bit" in error.message


def test_proof_says_the_same(run_graph: Any) -> None:
    graph = proof_graph(steps=25, picture_region=["pair", 6])
    out = run_graph(graph, watch={"table": ("proof", 1), "region": ("pair", 6)})
    garment = out["table"].splitlines()[-1].split()
    assert garment[:3] == ["without", "reference", "2"]
    share, area, roc = (float(value.rstrip("%")) for value in garment[5:8])
    assert area == pytest.approx(100 * float(out["region"].mean()), abs=0.1)
    assert share > 2 * area
    assert roc >= 0.9
