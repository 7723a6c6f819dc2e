"""The harness itself: what ran, what was cached, what failed, and what a socket carried, in the host's own executor."""

from __future__ import annotations

import pytest
import torch
from host_tests import tiny
from host_tests.graph import Graphs

import nodes

SAMPLING = {
    "latent": {"class_type": "EmptyLatentImage", "inputs": {"width": 96, "height": 128, "batch_size": 1}},
    "sampler": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["give_model", 0],
            "positive": ["give_positive", 0],
            "negative": ["give_negative", 0],
            "latent_image": ["latent", 0],
            "seed": 1,
            "steps": 2,
            "cfg": 5.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
        },
    },
}
PICTURE = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 6, "batch_size": 1, "color": 0}}
PREVIEW = {"class_type": "PreviewImage", "inputs": {"images": ["picture", 0]}}


def test_sampling_in_a_graph_and_its_cache(run_graph: Graphs) -> None:
    given = {"model": tiny.model(), "positive": tiny.positive(), "negative": tiny.negative()}
    first = run_graph(SAMPLING, give=given, watch={"latent": ("sampler", 0)})
    assert first["latent"]["samples"].shape == (1, 4, 16, 12)
    assert "sampler" in first.executed
    assert first.sent("progress")[-1]["value"] == 2

    again = run_graph(SAMPLING, give=given, watch={"latent": ("sampler", 0)})
    assert again.executed == []
    assert "sampler" in again.cached
    assert torch.equal(again["latent"]["samples"], first["latent"]["samples"])

    other = run_graph(SAMPLING, give={**given, "positive": tiny.positive(seed=5)}, watch={"latent": ("sampler", 0)})
    assert other.executed == ["give_positive", "sampler", "catch_latent"]
    assert not torch.equal(other["latent"]["samples"], first["latent"]["samples"])

    run_graph.fresh_cache()
    assert "latent" in run_graph(SAMPLING, give=given, watch={"latent": ("sampler", 0)}).executed


@pytest.mark.parametrize("kind", ["CLASSIC", "LRU", "RAM_PRESSURE"])
def test_every_kind_of_cache_keeps(run_graph: Graphs, kind: str) -> None:
    run_graph.fresh_cache(kind, lru=10)
    shown = run_graph({"picture": PICTURE, "preview": PREVIEW}).ui["preview"]["images"]
    again = run_graph({"picture": PICTURE, "preview": PREVIEW})
    assert again.executed == []
    assert again.ui["preview"]["images"] == shown


def test_an_error_names_its_node(run_graph: Graphs) -> None:
    broken = {"model": None, "positive": [], "negative": []}
    failed = run_graph(SAMPLING, give=broken, watch={"latent": ("sampler", 0)}, expect_error=True)
    assert failed.error is not None
    assert (failed.error.kind, failed.error.node, failed.error.node_type) == ("execution", "sampler", "KSampler")
    assert "NoneType" in failed.error.message
    with pytest.raises(AssertionError, match="node sampler"):
        run_graph(SAMPLING, give=broken, watch={"latent": ("sampler", 0)})


def test_a_refused_input_names_its_node(run_graph: Graphs) -> None:
    wide = {**PICTURE, "inputs": {**PICTURE["inputs"], "width": "wide"}}
    refused = run_graph({"picture": wide, "preview": PREVIEW}, expect_error=True)
    assert refused.error is not None
    assert (refused.error.kind, refused.error.node, refused.error.type) == ("validation", "picture", "invalid_input_type")
    unknown = run_graph({"1": {"class_type": "NoSuchNode", "inputs": {}}}, expect_error=True)
    assert "NoSuchNode" in str(unknown.error)


def test_an_interrupt_ends_the_run_between_steps(run_graph: Graphs) -> None:
    model = tiny.model()
    calls = []

    def interrupt(call, arguments):
        calls.append(arguments)
        nodes.interrupt_processing()
        return call(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(interrupt)
    given = {"model": model, "positive": tiny.positive(), "negative": tiny.negative()}
    stopped = run_graph(SAMPLING, give=given, watch={"latent": ("sampler", 0)}, expect_error=True)
    assert stopped.error is not None
    assert (stopped.error.kind, stopped.error.node) == ("interrupted", "sampler")
    assert calls
    model.model_options.pop("model_function_wrapper")
    given["model"] = model.clone()
    assert run_graph(SAMPLING, give=given, watch={"latent": ("sampler", 0)})["latent"]["samples"].isfinite().all()
