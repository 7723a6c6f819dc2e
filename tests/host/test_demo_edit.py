"""The demo edit model in the real host: its sampler is our own loop, and its maps come from its late blocks by themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import pytest
import torch
from comfy_api.latest import io
from host_tests.edit_graph import STEPS, edit_graph, node, with_random_weights
from host_tests.maps_case import defaults, library
from host_tests.viewer_header import header_in

import nodes

EARLY = {"double.0", "double.1", "single.0"}


@pytest.fixture(scope="module")
def model(pack: ModuleType, pack_nodes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with with_random_weights(pack, pack_nodes, tmp_path_factory.mktemp("weights")) as model:
        yield model


@pytest.fixture(scope="module")
def family(pack: ModuleType) -> Any:
    return library(pack, "models.edit.family")


@torch.no_grad()
@pytest.mark.parametrize(
    ("given", "cfg"),
    [(("person", "garment"), 1.0), (("person",), 1.0), (("garment",), 1.0), ((), 1.0), (("person", "garment"), 3.0)],
    ids=["both", "person", "garment", "none", "guided"],
)
def test_the_hosts_sampler_is_our_own_loop(
    run_graph: Any, pack: ModuleType, model: Any, given: tuple[str, ...], cfg: float
) -> None:
    sampling = library(pack, "models.edit.sampling")
    graph = edit_graph(given, recorded=False, sampler={"cfg": cfg})
    watch = {"latent": ("sampler", 0), **{name: (f"encode_{name}", 0) for name in given}}
    began = time.process_time()
    out = run_graph(graph, watch=watch)
    assert time.process_time() - began < 60
    references = [out[name]["samples"] for name in given]
    want = sampling.sample(model.network, model.context.detach(), references, sampling.edit_noise([3]), STEPS, cfg)
    assert float(want.std()) > 0.3
    torch.testing.assert_close(out["latent"]["samples"], want, atol=1e-5 * cfg * float(want.abs().max()), rtol=0)


def test_its_vae_is_the_demo_models(run_graph: Any, model: Any) -> None:
    graph = {
        "pair": edit_graph()["pair"],
        "edit": node("I2AM_DemoEditModel"),
        "demo": node("I2AM_DemoModel"),
        **{name: node("VAEEncode", pixels=["pair", 1], vae=[name[5:], 1]) for name in ("with_edit", "with_demo")},
    }
    out = run_graph(graph, watch={name: (name, 0) for name in ("with_edit", "with_demo")})
    assert out["with_edit"]["samples"].shape == (1, 4, 40, 28)
    assert torch.equal(out["with_edit"]["samples"], out["with_demo"]["samples"])


def test_its_conditioning_is_the_learned_text_without_references(run_graph: Any, model: Any) -> None:
    out = run_graph({"model": node("I2AM_DemoEditModel")}, watch={"positive": ("model", 2), "negative": ("model", 3)})
    for name in ("positive", "negative"):
        ((tokens, options),) = out[name]
        torch.testing.assert_close(tokens, model.context.detach()[None], atol=0, rtol=0)
        assert "reference_latents" not in options
    assert out["positive"][0][1] is not out["negative"][0][1]


def test_references_are_placed_by_index_without_a_node_that_says_so(run_graph: Any, model: Any) -> None:
    def sampled(method: str) -> torch.Tensor:
        graph = edit_graph(recorded=False, steps=2)
        if method:
            add = node(
                "FluxKontextMultiReferenceLatentMethod", conditioning=["add_garment", 0], reference_latents_method=method
            )
            graph["method"], graph["sampler"]["inputs"]["positive"] = add, ["method", 0]
        found: torch.Tensor = run_graph(graph, watch={"latent": ("sampler", 0)})["latent"]["samples"]
        return found

    plain = sampled("")
    assert torch.equal(plain, sampled("index"))
    assert not torch.equal(plain, sampled("offset"))


def test_recording_changes_no_bit_and_its_late_blocks_are_the_default(run_graph: Any, model: Any, family: Any) -> None:
    plain = run_graph(edit_graph(recorded=False, steps=4), watch={"latent": ("sampler", 0)})["latent"]["samples"]
    out = run_graph(edit_graph(steps=4), watch={"latent": ("collect", 0), "maps": ("collect", 1), "picture": ("decode", 0)})
    assert torch.equal(out["latent"]["samples"], plain)
    assert out["picture"].shape == (1, 128, 96, 3)
    maps = out["maps"]
    assert tuple(x.name for x in maps.layers) == family.BLOCKS
    assert tuple(x.name for x in maps.default_layers) == family.LATE
    assert [(r.grid.rows, r.grid.columns, r.grid.picture) for r in maps.references] == [
        (*family.GRID, (128, 96)),
        (*family.GARMENT_GRID, (160, 112)),
    ]
    (said,) = [note for note in maps.notes if "no layers are chosen" in note]
    assert said == (
        "where no layers are chosen, maps are the mean over single.1, single.2, single.3 alone, of 6 layers: the earlier ones "
        "only find places, so where the garment goes they look at the person; LLAM shows all of them"
    )
    for layer in maps.layers:
        total = sum(maps.marginal("mass", layer.name, reference=i) for i in (0, 1))
        total = total + maps.marginal("rest", layer.name).sum(3)
        torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)


def test_nodes_take_the_late_blocks_unless_others_are_named(run_graph: Any, pack_nodes: dict[str, Any], model: Any) -> None:
    graph = edit_graph(steps=4)

    def add(name: str, kind: str, **inputs: Any) -> None:
        graph[name] = {"class_type": kind, "inputs": {**defaults(pack_nodes[kind]), "maps": ["collect", 1], **inputs}}

    for name, layers in (("own", ""), ("late", "single.1 single.2 single.3"), ("all", "*")):
        add(f"which_{name}", "I2AM_Map", side="which reference", layers=layers)
        add(f"g2r_{name}", "I2AM_Map", side="G2R", reference=1, layers=layers)
        add(f"patch_{name}", "I2AM_PatchMap", x=50, y=70, reference=1, layers=layers)
    add("blocks", "I2AM_Map", side="which reference", level="LLAM")
    names = [name for name in graph if name.partition("_")[0] in ("which", "g2r", "patch", "blocks")]
    out = run_graph(graph, watch={name: (name, 0) for name in names})
    for kind in ("which", "g2r", "patch"):
        own, late, every = (out[f"{kind}_{name}"].values for name in ("own", "late", "all"))
        assert torch.equal(own, late), kind
        assert not torch.equal(own, every), kind
        assert any("no layers are chosen" in note for note in out[f"{kind}_own"].notes)
    assert len(out["blocks"].labels) == 12


def test_record_of_early_blocks_alone_shows_them(run_graph: Any, model: Any) -> None:
    maps = run_graph(edit_graph(steps=2, record={"layers": "double.* single.0"}), watch={"maps": ("collect", 1)})["maps"]
    assert {x.name for x in maps.default_layers} == {x.name for x in maps.layers} == EARLY
    assert not any("no layers are chosen" in note for note in maps.notes)


def test_look_and_report_work_as_they_are(
    run_graph: Any, pack_nodes: dict[str, Any], model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    graph = edit_graph(steps=4)
    shown = {"image": ["decode", 0]}
    graph["look"] = node(
        "I2AM_Look",
        **{
            **defaults(pack_nodes["I2AM_Look"]),
            **{"latent": ["sampler", 0], "recording": ["record", 1], **shown},
            **{"reference": ["pair", 0], "reference_2": ["pair", 1], "inpaint_mask": ["pair", 6]},
            **{"reference_mask": ["pair", 7], "reference_index": 1},
        },
    )
    del graph["collect"]
    given = {"maps": ["look", 1], "reference_image": ["pair", 0], "reference_2": ["pair", 1], **shown}
    graph["report"] = node("I2AM_Report", **{**defaults(pack_nodes["I2AM_Report"]), **given})
    out = run_graph(graph, watch={"sheet": ("look", 0), "imacs_g": ("look", 2), "imacs_r": ("look", 3), "page": ("report", 0)})
    assert out["sheet"].reshape(-1, 3).std(0).max() > 0.02
    assert all(-3 <= out[name] <= 1 for name in ("imacs_g", "imacs_r"))
    page = (tmp_path / out["page"]).read_text(encoding="utf-8")
    assert "where no layers are chosen" in json.dumps(header_in(page), ensure_ascii=False).lower()


# ---------------------------------------------------------------------- the pair


PAIR = ("person", "garment", "latent", "answer", "which", "places", "region", "mask")


def test_the_pair_is_the_drawn_one_and_comes_from_no_training(run_graph: Any, pack: ModuleType) -> None:
    drawn = {"pattern": "checks", "colour": "teal", "letter": "S"}
    graph = {"pair": node("I2AM_DemoEditPair", seed=11, **drawn)}
    out = run_graph(graph, watch={name: ("pair", i) for i, name in enumerate(PAIR)})
    case = library(pack, "drawn.edit_case").EditCase.draw(11, **drawn)
    for name, want in (("person", case.edits.person), ("garment", case.edits.garment), ("answer", case.edits.worn)):
        assert torch.equal(out[name], want.movedim(1, -1)), name
    assert out["latent"]["samples"].shape == (1, 4, 32, 24)
    assert not out["latent"]["samples"].any()
    assert torch.equal(out["region"], case.edits.from_garment[:, 0])
    assert torch.equal(out["mask"], case.worn.reference_mask[:, 0])
    assert (out["garment"].shape, out["mask"].shape) == ((1, 160, 112, 3), (1, 160, 112))
    assert (out["which"].shape, out["places"].shape) == ((1, 128, 96, 3), (1, 160, 208, 3))
    red, _, blue = out["which"][0].unbind(-1)
    assert torch.equal(blue > red + 0.1, case.edits.from_garment[0, 0] == 1)
    assert torch.equal(red > blue + 0.1, case.edits.from_person[0, 0] == 1)


def test_old_nodes_are_as_they_were(pack_nodes: dict[str, Any]) -> None:
    assert pack_nodes["I2AM_DemoModel"].RETURN_TYPES == ["MODEL", "VAE", "I2AM_REFERENCE_ENCODER"]
    assert list(pack_nodes["I2AM_DemoPair"].INPUT_TYPES()["required"]) == ["seed", "garment", "pattern", "colour", "letter"]


def test_sockets_and_widgets(pack_nodes: dict[str, Any]) -> None:
    """Saved workflows depend on these and on their order."""
    model, pair = pack_nodes["I2AM_DemoEditModel"], pack_nodes["I2AM_DemoEditPair"]
    assert model.INPUT_TYPES().get("required", {}) == {}
    assert list(model.RETURN_TYPES) == ["MODEL", "VAE", "CONDITIONING", "CONDITIONING"]
    assert list(pair.INPUT_TYPES()["required"]) == ["seed", "pattern", "colour", "letter"]
    assert list(pair.RETURN_TYPES) == ["IMAGE", "IMAGE", "LATENT", *["IMAGE"] * 3, "MASK", "MASK"]
    assert list(pair.RETURN_NAMES) == [
        *("person", "garment", "LATENT", "answer", "which_reference", "correspondence", "garment_region", "garment_mask")
    ]
    assert nodes.NODE_DISPLAY_NAME_MAPPINGS["I2AM_DemoEditPair"] == "I²AM Demo Edit Pair"


@pytest.mark.where(hasattr(io, "ControlAfterGenerate"))
def test_the_seed_stays_unless_it_is_told_otherwise(pack_nodes: dict[str, Any]) -> None:
    """An older host's interface has no such default; there the workflows say it."""
    assert pack_nodes["I2AM_DemoEditPair"].INPUT_TYPES()["required"]["seed"][1]["control_after_generate"] == "fixed"


def test_the_seed_has_a_control_on_every_host(pack_nodes: dict[str, Any]) -> None:
    assert pack_nodes["I2AM_DemoEditPair"].INPUT_TYPES()["required"]["seed"][1]["control_after_generate"]
