"""The demo edit as an API-format prompt, and weights for it: random ones, so that no test depends on what was trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests.maps_case import library
from safetensors.torch import save_file

STEPS = 25
LOADS = "load_edit_model"


def random_edit_model(pack: ModuleType, seed: int = 0) -> Any:
    """The library's own edit model with random weights, sharp enough that no two patches look alike."""
    model, source = library(pack, "models.edit.model").EditModel().eval(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=source) + name.endswith("scale"))
    return model


@contextmanager
def with_random_weights(pack: ModuleType, pack_nodes: dict[str, Any], folder: Path, seed: int = 0) -> Iterator[Any]:
    """The model that the node loads meanwhile."""
    model = random_edit_model(pack, seed)
    state = {name: value.contiguous() for name, value in model.file_state().items()}
    save_file(state, folder / library(pack, "models.edit.model").FILE)
    with pytest.MonkeyPatch.context() as patch:
        load_from(pack_nodes, patch, folder)
        yield model


def load_from(pack_nodes: dict[str, Any], patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the node look for its weights in another folder."""
    known = pack_nodes["I2AM_DemoEditModel"].execute.__func__.__globals__
    load = known[LOADS]
    patch.setitem(known, LOADS, lambda: load(folder))


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def edit_graph(
    given: tuple[str, ...] = ("person", "garment"), *, recorded: bool = True, steps: int = STEPS, **changes: dict[str, Any]
) -> dict[str, Any]:
    """Node ids are words; ``given`` are the references, ``changes`` replace inputs of a node by its id."""
    pair = {"person": 0, "garment": 1}
    kept = {"detail": "pairwise", "layers": "", "branch": "cond", "budget_mb": 300, "groups": 5}
    by_hand = {"reference_tokens": "auto", "rows": 16, "columns": 16, "leading_tokens": 1, "queries": "all"}
    drawn = {"pattern": "as drawn", "colour": "as drawn", "letter": "as drawn"}
    graph: dict[str, Any] = {
        "model": node("I2AM_DemoEditModel"),
        "pair": node("I2AM_DemoEditPair", seed=5, **drawn),
    }
    link: list[Any] = ["model", 2]
    for name in given:
        graph[f"encode_{name}"] = node("VAEEncode", pixels=["pair", pair[name]], vae=["model", 1])
        graph[f"add_{name}"] = node("ReferenceLatent", conditioning=link, latent=[f"encode_{name}", 0])
        link = [f"add_{name}", 0]
    graph |= {
        "record": node("I2AM_Record", model=["model", 0], **kept, **by_hand),
        "sampler": node(
            "KSampler",
            model=["record", 0] if recorded else ["model", 0],
            seed=3,
            steps=steps,
            cfg=1.0,
            sampler_name="euler",
            scheduler="simple",
            positive=link,
            negative=["model", 3],
            latent_image=["pair", 2],
            denoise=1.0,
        ),
        "collect": node("I2AM_Collect", latent=["sampler", 0], recording=["record", 1]),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["model", 1]),
    }
    if not recorded:
        del graph["record"], graph["collect"]
    for name, inputs in changes.items():
        graph[name]["inputs"].update(inputs)
    return graph
