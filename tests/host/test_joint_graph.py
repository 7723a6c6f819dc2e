"""Joint-attention models in graphs: KSampler, SamplerCustomAdvanced, inside a subgraph, and each latent's own maps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from host_tests import tiny_joint
from host_tests.graph import Graphs
from host_tests.record_graph import RECORD, sampler

SIZES = ((4, 4), (5, 7))


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def guided(model: Any, seed: int) -> dict[str, Any]:
    """The nodes of SamplerCustomAdvanced, as the templates of FLUX have them."""
    return {
        "noise": node("RandomNoise", noise_seed=seed),
        "guider": node("BasicGuider", model=model, conditioning=["give_positive", 0]),
        "select": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("BasicScheduler", model=model, scheduler="simple", steps=2, denoise=1.0),
        "sampler": node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["select", 0],
            sigmas=["sigmas", 0],
            latent_image=["give_latent", 0],
        ),
    }


def plain_sampler(model: Any, seed: int) -> dict[str, Any]:
    return {"sampler": sampler(model, seed, steps=2, cfg=1.0, scheduler="simple")}


def inside(graph: dict[str, Any], subgraph: str) -> dict[str, Any]:
    """The graph as the interface sends it where its nodes lie in a subgraph."""
    names = {name: f"{subgraph}:{name}" for name in graph}

    def moved(value: Any) -> Any:
        return [names.get(value[0], value[0]), value[1]] if isinstance(value, list) else value

    return {names[name]: {**n, "inputs": {k: moved(v) for k, v in n["inputs"].items()}} for name, n in graph.items()}


@pytest.mark.parametrize("how", [plain_sampler, guided])
@pytest.mark.parametrize("name", ["kontext", "qwen"])
def test_a_graph_is_recorded(run_graph: Graphs, how: Any, name: str) -> None:
    """Reference latents come from the host's own node; the nodes lie in a subgraph."""
    prompt = tiny_joint.conditioning(name)
    latents = [{"samples": tiny_joint.latent(name, size, 40 + i)} for i, size in enumerate(SIZES)]
    given = {
        "model": tiny_joint.model(name),
        "prompt": prompt,
        "first": latents[0],
        "second": latents[1],
        "latent": {"samples": torch.zeros(1, 16, *tiny_joint.SIZE)},
    }

    def graph(recorded: bool, seed: int) -> dict[str, Any]:
        model = ["record", 0] if recorded else ["give_model", 0]
        made = {
            "one": node("ReferenceLatent", conditioning=["give_prompt", 0], latent=["give_first", 0]),
            "two": node("ReferenceLatent", conditioning=["one", 0], latent=["give_second", 0]),
            "record": node("I2AM_Record", model=["give_model", 0], **{**RECORD, "reference_tokens": "auto"}),
            **how(model, seed),
            "collect": node("I2AM_Collect", latent=["sampler", 0], recording=["record", 1]),
        }
        for each in made.values():
            each["inputs"] = {
                k: ["two", 0] if v in (["give_positive", 0], ["give_negative", 0]) else v for k, v in each["inputs"].items()
            }
        if not recorded:
            del made["collect"], made["record"]
        return inside(made, "7")

    plain = run_graph(graph(False, 3), give=given, watch={"latent": ("7:sampler", 0)})["latent"]["samples"]
    done = run_graph(graph(True, 3), give=given, watch={"latent": ("7:collect", 0), "maps": ("7:collect", 1)})
    assert torch.equal(done["latent"]["samples"], plain)
    maps = done["maps"]
    assert (maps.recorded, maps.run.seed, len(maps.references)) == ((0, 1), 3, 2)
    again = run_graph(graph(True, 4), give=given, watch={"maps": ("7:collect", 1)})
    assert "7:record" in again.cached
    assert again["maps"].run.seed == 4
    layer = maps.layers[1].name
    assert not torch.equal(again["maps"].marginal("g2r", layer), maps.marginal("g2r", layer))
