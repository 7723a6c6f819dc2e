"""Recording inside a graph: what the host keeps, runs again or drops never gives stale or mixed maps."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests import tiny
from host_tests.graph import Graphs
from host_tests.record_graph import LATENT, RECORD, WATCH, graph, sampler


@pytest.fixture
def give() -> dict[str, Any]:
    return {"model": tiny.model(), "positive": tiny.positive(), "negative": tiny.negative(), "latent": LATENT}


def test_an_unchanged_graph_runs_nothing(run_graph: Graphs, give: dict[str, Any]) -> None:
    first = run_graph(graph(), give=give, watch=WATCH)
    again = run_graph(graph(), give=give, watch=WATCH)
    assert "sampler" in first.executed
    assert "sampler" in again.cached
    assert again["maps"] is first["maps"]


def test_another_seed_fills_the_same_recording_anew(run_graph: Graphs, give: dict[str, Any]) -> None:
    first = run_graph(graph(1), give=give, watch=WATCH)["maps"]
    out = run_graph(graph(2), give=give, watch=WATCH)
    assert "record" in out.cached
    assert "sampler" in out.executed
    assert (first.run.seed, out["maps"].run.seed) == (1, 2)
    a, b = (m.pairwise(m.layers[0].name) for m in (first, out["maps"]))
    assert not torch.equal(a, b)
    back = run_graph(graph(1), give=give, watch=WATCH)["maps"]
    assert torch.equal(back.pairwise(back.layers[0].name), a)


def test_a_sampler_that_stayed_cached_keeps_its_maps(run_graph: Graphs, give: dict[str, Any]) -> None:
    """The collecting node is added after the run."""
    whole = graph()
    alone = {name: node for name, node in whole.items() if name != "collect"}
    run_graph(alone, give=give, watch={"latent": ("sampler", 0)})
    out = run_graph(whole, give=give, watch=WATCH)
    assert "sampler" in out.cached
    assert out["maps"].recorded == (0, 1, 2)


def test_maps_that_were_dropped_are_said_to_be(run_graph: Graphs, give: dict[str, Any], pack: ModuleType) -> None:
    whole = graph()
    alone = {name: node for name, node in whole.items() if name != "collect"}
    run_graph(alone, give=give, watch={"latent": ("sampler", 0)})
    importlib.import_module(f"{pack.__name__}.i2am.hosts.registry").REGISTRY._results.clear()
    error = run_graph(whole, give=give, watch=WATCH, expect_error=True).error
    assert error is not None
    assert error.node == "collect"
    assert "change the seed and run again" in error.message


def test_a_recording_with_other_options_does_not_give_out_anothers_maps(run_graph: Graphs, give: dict[str, Any]) -> None:
    """Two Records on one model give the same latent; what one kept is not what the other was asked for."""
    both = graph()
    both["other"] = {"class_type": "I2AM_Record", "inputs": {"model": ["give_model", 0], **RECORD, "detail": "marginals"}}
    both["collect"]["inputs"]["recording"] = ["other", 1]
    error = run_graph(both, give=give, watch=WATCH, expect_error=True).error
    assert error is not None
    assert "no recorded run gave this latent" in error.message
    both["other"]["inputs"]["detail"] = "pairwise"
    assert run_graph(both, give=give, watch=WATCH)["maps"].recorded == (0, 1, 2)


def test_two_samplers_share_one_recording(run_graph: Graphs, give: dict[str, Any]) -> None:
    both = graph(1)
    both["second"] = sampler(["record", 0], 2, steps=2)
    both["other"] = {"class_type": "I2AM_Collect", "inputs": {"latent": ["second", 0], "recording": ["record", 1]}}
    out = run_graph(both, give=give, watch={**WATCH, "others": ("other", 1)})
    assert (out["maps"].run.steps, out["others"].run.steps) == (3, 2)
    assert (out["maps"].run.seed, out["others"].run.seed) == (1, 2)


def test_a_refined_latent_has_the_second_samplers_maps(run_graph: Graphs, give: dict[str, Any]) -> None:
    """One sampler after the other on one recording."""
    chain = graph(1)
    chain["second"] = sampler(["record", 0], 2, denoise=0.5, latent_image=["sampler", 0])
    chain["collect"]["inputs"]["latent"] = ["second", 0]
    maps = run_graph(chain, give=give, watch=WATCH)["maps"]
    assert maps.run.seed == 2
    assert maps.run.sigmas[0] < 5


def test_an_unrecorded_samplers_latent_is_refused(run_graph: Graphs, give: dict[str, Any]) -> None:
    wrong = graph()
    wrong["plain"] = sampler(["give_model", 0], 99)
    wrong["collect"]["inputs"]["latent"] = ["plain", 0]
    error = run_graph(wrong, give=give, watch=WATCH, expect_error=True).error
    assert error is not None
    assert "no recorded run gave this latent" in error.message


def test_advanced_samplers_are_recorded_and_change_nothing(run_graph: Graphs, give: dict[str, Any]) -> None:
    def advanced(model: Any) -> dict[str, Any]:
        inputs = {
            "model": model, "add_noise": "enable", "noise_seed": 4, "steps": 6, "cfg": 5.0, "sampler_name": "ddim",
            "scheduler": "normal", "positive": ["give_positive", 0], "negative": ["give_negative", 0],
            "latent_image": ["give_latent", 0], "start_at_step": 2, "end_at_step": 5, "return_with_leftover_noise": "disable",
        }  # fmt: skip
        return {"class_type": "KSamplerAdvanced", "inputs": inputs}

    plain = run_graph({"sampler": advanced(["give_model", 0])}, give=give, watch={"latent": ("sampler", 0)})
    whole = graph()
    whole["sampler"] = advanced(["record", 0])
    out = run_graph(whole, give=give, watch=WATCH)
    assert torch.equal(out["latent"]["samples"], plain["latent"]["samples"])
    assert out["maps"].run.steps == 3
    assert out["maps"].recorded == (0, 1, 2)


def test_custom_samplers_are_recorded_by_either_output(run_graph: Graphs, give: dict[str, Any]) -> None:
    def custom(model: Any) -> dict[str, Any]:
        guide = {"model": model, "positive": ["give_positive", 0], "negative": ["give_negative", 0], "cfg": 5.0}
        wires = {"noise": ["noise", 0], "guider": ["guide", 0], "sampler": ["way", 0], "sigmas": ["sigmas", 0]}
        schedule = {"model": model, "scheduler": "karras", "steps": 4, "denoise": 1.0}
        return {
            "noise": {"class_type": "RandomNoise", "inputs": {"noise_seed": 6}},
            "guide": {"class_type": "CFGGuider", "inputs": guide},
            "way": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "dpmpp_2m"}},
            "sigmas": {"class_type": "BasicScheduler", "inputs": schedule},
            "sampler": {"class_type": "SamplerCustomAdvanced", "inputs": {**wires, "latent_image": ["give_latent", 0]}},
        }

    plain = run_graph(custom(["give_model", 0]), give=give, watch={"latent": ("sampler", 0)})
    whole = {**graph(), **custom(["record", 0])}
    whole["second"] = {"class_type": "I2AM_Collect", "inputs": {"latent": ["sampler", 1], "recording": ["record", 1]}}
    out = run_graph(whole, give=give, watch={**WATCH, "denoised": ("second", 1)})
    assert torch.equal(out["latent"]["samples"], plain["latent"]["samples"])
    assert out["maps"].recorded == out["denoised"].recorded == (0, 1, 2, 3)


def test_an_interrupt_leaves_no_maps_and_the_next_run_is_whole(
    run_graph: Graphs, give: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as management
    import latent_preview

    real = latent_preview.prepare_callback

    def stopping(*args: Any, **kwargs: Any) -> Any:
        told = real(*args, **kwargs)

        def callback(step: int, *rest: Any) -> None:
            told(step, *rest)
            if step == 1:
                management.interrupt_current_processing()

        return callback

    with monkeypatch.context() as patch:
        patch.setattr(latent_preview, "prepare_callback", stopping)
        outcome = run_graph(graph(31), give=give, watch=WATCH, expect_error=True)
    assert outcome.error is not None
    assert outcome.error.kind == "interrupted"
    assert run_graph(graph(31), give=give, watch=WATCH)["maps"].recorded == (0, 1, 2)


def test_a_run_out_of_memory_leaves_no_maps_and_the_next_run_is_whole(run_graph: Graphs, give: dict[str, Any]) -> None:
    """The host then unloads all models, and the recording's own is loaded anew."""
    import comfy.model_management as management

    calls = 0

    def crowded(apply_model: Any, given: dict[str, Any]) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise management.OOM_EXCEPTION("not enough memory for this test")
        return apply_model(given["input"], given["timestep"], **given["c"])

    give["model"].set_model_unet_function_wrapper(crowded)
    error = run_graph(graph(32), give=give, watch=WATCH, expect_error=True).error
    assert error is not None
    assert error.node == "sampler"
    assert "not enough memory" in error.message
    assert not any(management.loaded_models())  # those of models that are gone are None
    out = run_graph(graph(32), give=give, watch=WATCH)
    assert "sampler" in out.executed
    assert out["maps"].recorded == (0, 1, 2)
    usual = run_graph(graph(32), give={**give, "model": tiny.model()}, watch=WATCH)
    assert torch.equal(out["latent"]["samples"], usual["latent"]["samples"])
    for layer in out["maps"].layers:
        assert torch.equal(out["maps"].pairwise(layer.name), usual["maps"].pairwise(layer.name))
