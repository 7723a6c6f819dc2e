"""Workflows 14 to 16 and 23: their graphs run in the host with a tiny random model of the real class, and are recorded.

What they load and nobody can have here, the text encoders and the autoencoders, is stood in for by linear ones. All that
lies between is the host's own: how prompts and pictures become references, sizes, schedules, guiders and samplers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from host_tests import tiny_joint
from host_tests.graph import Graphs
from torch import Tensor

TESTS = Path(__file__).resolve().parents[1]
STEPS = 2
LOADERS = ("UNETLoader", "CLIPLoader", "DualCLIPLoader", "VAELoader", "LoadImage")


@dataclass(frozen=True)
class Case:
    """A workflow's family among the tiny models, and how many references it has."""

    family: str
    references: int


CASES = {
    "14_qwen_image_edit_try_on": Case("qwen-2511", 2),
    "15_flux2_klein": Case("klein", 2),
    "16_flux_kontext": Case("kontext", 1),
    "23_canvas": Case("fill", 1),
}
each_case = pytest.mark.parametrize("name", CASES)
with_latents = pytest.mark.parametrize("name", [name for name in CASES if name != "23_canvas"])


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return found


class Words:
    """In place of a text encoder: one random token for each word, as long as the family takes them."""

    def __init__(self, family: str) -> None:
        self.family = family

    def tokenize(self, text: str, images: tuple[Tensor, ...] = (), **_: Any) -> int:
        return len(text.split()) + 3 * len(images)

    def encode_from_tokens_scheduled(self, tokens: int) -> list[list[Any]]:
        return tiny_joint.conditioning(self.family, tokens=tokens, seed=tokens)


class Cells:
    """In place of an autoencoder: the mean colour of 64 x 64 pixels, in as many channels as the family has.

    A megapixel is 16 x 16 cells, where the real ones make 128 x 128 of it.
    """

    side = 64

    def __init__(self, family: tiny_joint.Family) -> None:
        self.frames = family.frames
        self.mix = torch.randn(3, family.channels, generator=torch.Generator().manual_seed(5))

    def encode(self, pixels: Tensor) -> Tensor:
        means = torch.nn.functional.avg_pool2d(pixels[..., :3].movedim(-1, 1), self.side)
        latent = torch.einsum("brhw,rc->bchw", means - 0.5, self.mix)
        return latent[:, :, None] if self.frames else latent

    def decode(self, latent: Tensor) -> Tensor:
        cells = (latent[:, :, 0] if self.frames else latent)[:, :3].movedim(1, -1).sigmoid()
        return cells.repeat_interleave(self.side, 1).repeat_interleave(self.side, 2)


def prepared(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The graph of a workflow with small pictures, few steps and tiny models, and what these are."""
    case = CASES[name]
    family = tiny_joint.FAMILIES[case.family]
    source, upright = torch.Generator().manual_seed(9), iter((256, 192))
    give: dict[str, Any] = {"UNETLoader": tiny_joint.model(case.family), "VAELoader": Cells(family)}
    give["CLIPLoader"] = give["DualCLIPLoader"] = Words(case.family)
    twin, graph = read(TESTS / "workflows", name), {}
    for key, node in twin.items():
        if node["class_type"] == "LoadImage":
            give[f"picture_{key}"] = torch.rand(1, 320, next(upright), 3, generator=source)
            give[f"mask_{key}"] = torch.zeros(1, 320, 256)
            give[f"mask_{key}"][:, 100:200, 60:200] = 1  # as painted
        if node["class_type"] in LOADERS:
            continue
        inputs = node["inputs"] = {field: _given(twin, value) for field, value in node["inputs"].items()}
        inputs.update({"steps": STEPS} if "steps" in inputs else {})
        inputs.update({"megapixels": 0.1} if "megapixels" in inputs else {})
        graph[key] = node
    used = {value[0] for node in graph.values() for value in node["inputs"].values() if isinstance(value, list)}
    return graph, {key: value for key, value in give.items() if f"give_{key}" in used}


def _given(twin: dict[str, Any], value: Any) -> Any:
    """A field's value, or what is given in place of the loader that it is linked to."""
    if not isinstance(value, list) or twin[value[0]]["class_type"] not in LOADERS:
        return value
    kind = twin[value[0]]["class_type"]
    loaded = ("picture", "mask")[value[1]]
    return [f"give_{loaded}_{value[0]}" if kind == "LoadImage" else f"give_{kind}", 0]


def the(graph: dict[str, Any], kind: str) -> str:
    (key,) = (key for key, node in graph.items() if node["class_type"] == kind)
    return key


@each_case
def test_it_runs_and_is_recorded(run_graph: Graphs, name: str) -> None:
    case, (graph, give) = CASES[name], prepared(name)
    look, record = the(graph, "I2AM_Look"), the(graph, "I2AM_Record")
    sampled = tuple(graph[look]["inputs"]["latent"])
    done = run_graph(graph, give=give, watch={"latent": sampled, "maps": (look, 1), "sheet": (look, 0)})
    assert done.ui[look]["images"]
    assert done["sheet"].reshape(-1, 3).std(0).max() > 0.02
    maps = done["maps"]
    assert [layer.name for layer in maps.layers] == list(tiny_joint.FAMILIES[case.family].layers)
    assert (maps.recorded, len(maps.references)) == (tuple(range(STEPS)), case.references)
    assert all(maps.has("pairwise", maps.layers[0].name, reference=r) for r in range(case.references))

    plain = {key: node for key, node in graph.items() if key not in (look, record)}
    for node in plain.values():
        node["inputs"] = {
            field: graph[record]["inputs"]["model"] if value == [record, 0] else value
            for field, value in node["inputs"].items()
        }
    alone = run_graph(plain, give=give, watch={"latent": sampled})
    assert torch.equal(alone["latent"]["samples"], done["latent"]["samples"])


def test_the_canvas_is_painted_on_the_left_and_refers_to_the_right(run_graph: Graphs) -> None:
    graph, give = prepared("23_canvas")
    maps = run_graph(graph, give=give, watch={"maps": (the(graph, "I2AM_Look"), 1)})["maps"]
    (reference,) = maps.references
    assert maps.generated_size == (16 * 8, 24 * 8)  # of the stand-in's cells
    assert reference.grid.picture == (16 * 8, 12 * 8)
    left, _, right, _ = maps.layers[0].grid.rect
    assert 0 < left < right <= 0.5


@with_latents
def test_its_references_are_those_of_its_pictures_in_their_order(run_graph: Graphs, name: str) -> None:
    """The first picture gives the first reference, alone, and Look's `reference` and `reference_2` are in that order."""
    graph, give = prepared(name)
    look = the(graph, "I2AM_Look")
    grids = [(r.grid.rows, r.grid.columns) for r in run_graph(graph, give=give, watch={"maps": (look, 1)})["maps"].references]
    first = next(name for name in give if name.startswith("picture_"))
    give[first] = give[first].transpose(1, 2).contiguous()  # an upright picture lies on its side
    changed = run_graph(graph, give=give, watch={"maps": (look, 1)})["maps"].references
    assert grids[0][0] != grids[0][1]
    assert [(r.grid.rows, r.grid.columns) for r in changed] == [grids[0][::-1], *grids[1:]]
    shown = [graph[look]["inputs"][field] for field in ("reference", "reference_2")[: len(grids)]]
    pictures = [f"give_{name}" for name in give if name.startswith("picture_")]
    assert [_picture_behind(graph, link) for link in shown] == pictures


def _picture_behind(graph: dict[str, Any], link: list[Any]) -> str:
    """The given picture that an output is made of."""
    while link[0] in graph:
        link = graph[link[0]]["inputs"]["image"]
    return str(link[0])


@each_case
def test_weights_are_named_where_they_are_loaded(name: str) -> None:
    """As the host's own templates do, so that the interface can offer to fetch them; the note links to each."""
    drawn = read(TESTS.parent / "workflows", name)
    (note,) = (node["widgets_values"][0] for node in drawn["nodes"] if node["type"] == "MarkdownNote")
    loaders = [node for node in drawn["nodes"] if node["type"] in LOADERS and node["type"] != "LoadImage"]
    assert len(loaders) == 3
    for node in loaders:
        files = [value for value in node["widgets_values"] if value.endswith(".safetensors")]
        models = node["properties"]["models"]
        assert [model["name"] for model in models] == files
        for model in models:
            assert model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith(f"/{model['name']}")
            assert model["directory"] in folder_paths.folder_names_and_paths
            assert f"[{model['name']}]({model['url']})" in note
    assert all(word in note for word in ("**Licence**", "**VRAM**", "random model"))
