"""I2AM_Proof in the real host: its runs are the host's own, it can be interrupted, and it goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import comfy.model_management
import pytest
import torch
from host_tests.edit_graph import node, with_random_weights
from host_tests.maps_case import library
from host_tests.proof_graph import BY_HAND, proof_graph

OUT = {name: ("proof", i) for i, name in enumerate(("sheet", "table", "chart", "heat", "images"))}


@pytest.fixture(scope="module")
def model(pack: ModuleType, pack_nodes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with with_random_weights(pack, pack_nodes, tmp_path_factory.mktemp("weights")) as model:
        yield model


@pytest.fixture
def made(pack: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The cuts of runs that were made and not kept from before, in order."""
    proof = library(pack, "hosts.comfy.proof").Proof
    original: Callable[..., Any] = proof._made_now
    found: list[Any] = []

    def counted(self: Any, cut: Any, *args: Any) -> Any:
        out = original(self, cut, *args)
        found.append(cut)
        return out

    monkeypatch.setattr(proof, "_made_now", counted)
    library(pack, "hosts.comfy.finished").FINISHED._runs.clear()
    return found


def test_the_uncut_run_is_the_hosts_own_and_each_cut_is_intervenes(run_graph: Any, model: Any, made: list[Any]) -> None:
    graph = proof_graph(sampler=True)
    what = {
        "cut": "reference",
        "route": "all",
        "steps": "",
        "layers": "",
        "heads": "",
        "tokens": "",
        "branch": "auto",
        **BY_HAND,
    }
    for i in (0, 1):
        graph[f"cut_{i}"] = node("I2AM_Intervene", model=["model", 0], reference=i, **what)
        graph[f"guider_{i}"] = {
            "class_type": "CFGGuider",
            "inputs": {**graph["guider"]["inputs"], "model": [f"cut_{i}", 0]},
        }
        own = {**graph["own"]["inputs"], "guider": [f"guider_{i}", 0]}
        graph[f"own_{i}"] = {"class_type": "SamplerCustomAdvanced", "inputs": own}
        graph[f"decode_{i}"] = node("VAEDecode", samples=[f"own_{i}", 0], vae=["model", 1])
    names = ("decode", "decode_0", "decode_1")
    out = run_graph(graph, watch={**OUT, **{name: (name, 0) for name in names}})
    assert len(out["images"]) == 3
    for picture, name in zip(out["images"], names, strict=True):
        assert torch.equal(picture, out[name][0]), name
    assert [cut.what for cut in made] == ["nothing", "reference", "reference"]
    expected = torch.stack([(out["images"][i] - out["images"][0]).abs().mean(-1) for i in (1, 2)])
    torch.testing.assert_close(out["heat"].values, expected)
    assert out["heat"].labels == ("without reference 1", "without reference 2")
    for line, change in zip(out["table"].splitlines()[-2:], expected, strict=True):
        assert f"{float(change.mean()):.4g}" in line
    assert out["sheet"].shape[-1] == 3
    assert out.ui["proof"]["images"]


def test_the_progress_bar_counts_the_steps_of_all_runs(run_graph: Any, model: Any, made: list[Any]) -> None:
    out = run_graph(proof_graph(steps=3))
    told = [(data["value"], data["max"]) for data in out.sent("progress") if data["node"] == "proof"]
    assert told[-1] == (9, 9)
    done = [value for value, _ in told]
    assert done == sorted(set(done))  # newer hosts send a part of them, in order
    assert len(done) > 3
    assert set(done) <= {*range(1, 10)}


def test_an_interrupted_set_goes_on_where_it_stopped(
    run_graph: Any, model: Any, made: list[Any], pack: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = library(pack, "hosts.comfy.proof").Proof
    run: Callable[..., Any] = proof.run

    def interrupting(self: Any, cut: Any, **given: Any) -> Any:
        if cut.what == "reference" and cut.reference == 1:
            inner = given["on_step"]

            def stop(done: int, total: int) -> None:
                inner(done, total)
                comfy.model_management.interrupt_current_processing()

            given["on_step"] = stop
        return run(self, cut, **given)

    with monkeypatch.context() as patch:
        patch.setattr(proof, "run", interrupting)
        error = run_graph(proof_graph(steps=4), expect_error=True).error
        assert error is not None
        assert error.kind == "interrupted"
    assert [(cut.what, cut.reference) for cut in made] == [("nothing", 0), ("reference", 0)]
    again = run_graph(proof_graph(steps=4), watch=OUT)
    assert [(cut.what, cut.reference) for cut in made] == [("nothing", 0), ("reference", 0), ("reference", 1)]
    fresh = library(pack, "hosts.comfy.finished")
    fresh.FINISHED._runs.clear()
    run_graph.fresh_cache()
    whole = run_graph(proof_graph(steps=4), watch=OUT)
    assert torch.equal(again["images"], whole["images"])
    assert again["table"] == whole["table"]


def test_another_question_takes_the_uncut_run_along_and_another_seed_does_not(
    run_graph: Any, model: Any, made: list[Any]
) -> None:
    run_graph(proof_graph())
    assert len(made) == 3
    region = torch.zeros(1, 160, 112)
    region[:, 40:80, 30:80] = 1
    asked = {"question": "does this region matter?", "region": ["give_region", 0], "random_regions": 2}
    out = run_graph(proof_graph(**asked), give={"region": region}, watch=OUT)
    assert [cut.what for cut in made[3:]] == ["reference"] * 3
    assert len(out["images"]) == 4
    assert "random region of as many tokens" in out["table"]
    other = proof_graph()
    other["noise"]["inputs"]["noise_seed"] = 4
    run_graph(other)
    assert len(made) == 9
    guided = proof_graph()
    guided["guider"]["inputs"]["cfg"] = 2.0
    run_graph(guided)
    assert len(made) == 12
    fewer = proof_graph(steps=1)
    run_graph(fewer)
    assert len(made) == 15


def test_a_picture_region_of_another_shape_is_told_before_any_cut_run(run_graph: Any, model: Any, made: list[Any]) -> None:
    wrong = torch.eye(200)[None, :80]
    error = run_graph(proof_graph(picture_region=["give_m", 0]), give={"m": wrong}, expect_error=True).error
    assert error is not None
    assert "the picture region is 200 x 80 pixels, but the picture is 96 x 128" in error.message
    assert [cut.what for cut in made] == ["nothing"]


@pytest.mark.parametrize("side", ["G2R", "mass"])
def test_a_deletion_curve(run_graph: Any, model: Any, made: list[Any], side: str) -> None:
    asked = {"question": "deletion curve", "fractions": "0.25 0.5 1", "map": side}
    out = run_graph(proof_graph(**asked), watch=OUT)
    assert len(made) == 1 + 3 * 2 + 1
    assert out["table"].startswith("Mean height of the curves: map ")
    rows = [line.split("  ")[0] for line in out["table"].splitlines()[3:]]
    assert rows == [
        *("map 25 %", "map 50 %", "random 25 %, seed 0", "random 50 %, seed 0", "reversed 25 %", "reversed 50 %", "all 100 %")
    ]
    assert out["chart"].reshape(-1, 3).std(0).max() > 0.05
    assert len(out["heat"].labels) == 7


def test_each_layer_alone_loses_sight_of_the_reference(run_graph: Any, model: Any, made: list[Any]) -> None:
    graph = proof_graph(question="which layers matter?", layers="double.1 single.*")
    out = run_graph(graph, watch={**OUT, "effects": ("proof", 5)})
    assert [(cut.what, cut.layers) for cut in made] == [
        ("nothing", None),
        ("reference", ("double.1",)),
        ("reference", ("single.*",)),
    ]
    about = json.loads(out["effects"])
    means = [float((out["images"][i] - out["images"][0]).abs().mean()) for i in (1, 2)]
    assert about["question"] == "which layers matter?"
    assert list(about["layers"].values()) == pytest.approx(means, abs=1e-6)
    assert min(means) > 0
    assert out["heat"].labels == ("reference 2 cut in double.1", "reference 2 cut in single.*")


def test_maps_that_are_given_are_taken(run_graph: Any, pack_nodes: dict[str, Any], model: Any, made: list[Any]) -> None:
    graph = proof_graph(sampler=True)
    record = {"detail": "marginals", "layers": "", "branch": "cond", "budget_mb": 300, "groups": 5, "queries": "all"}
    graph["record"] = node("I2AM_Record", model=["model", 0], **record, **BY_HAND)
    graph["recorded"] = {"class_type": "CFGGuider", "inputs": {**graph["guider"]["inputs"], "model": ["record", 0]}}
    graph["own"]["inputs"]["guider"] = ["recorded", 0]
    graph["collect"] = node("I2AM_Collect", latent=["own", 0], recording=["record", 1])
    alone = run_graph(graph, watch=OUT)["table"]
    graph["proof"]["inputs"]["maps"] = ["collect", 1]
    assert run_graph(graph, watch=OUT)["table"] == alone
    assert len(made) == 3


def test_freeing_memory_drops_the_runs(run_graph: Any, pack: ModuleType, model: Any, made: list[Any]) -> None:
    run_graph(proof_graph())
    run_graph.fresh_cache()
    run_graph(proof_graph())
    assert len(made) == 6
