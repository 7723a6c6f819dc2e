"""I2AM_Look, Map and Overlay with several references: the same sockets in every host, and the library's own pictures."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import pytest
import torch
from host_tests import tiny_joint
from host_tests.graph import Graphs
from host_tests.maps_case import defaults, library, picture
from host_tests.record_graph import RECORD, sampler
from host_tests.viewer_header import header_in

SIZES = ((4, 4), (5, 7))
IMAGES = 2


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def pixels(size: tuple[int, int], factor: int) -> tuple[int, int]:
    return size[0] * factor, size[1] * factor


class Graph:
    """A recorded run of two references, or those given, and a batch of two, and what is looked at."""

    def __init__(
        self, run_graph: Graphs, pack_nodes: dict[str, Any], name: str, sizes: tuple[tuple[int, int], ...] = SIZES
    ) -> None:
        self.run_graph, self.pack_nodes = run_graph, pack_nodes
        family = tiny_joint.FAMILIES[name]
        self.sizes = [pixels(size, family.factor) for size in (tiny_joint.SIZE, *sizes)]
        positive = tiny_joint.conditioning(name, *sizes)
        self.given: dict[str, Any] = {
            "model": tiny_joint.model(name),
            "positive": positive,
            "negative": positive,
            "latent": {"samples": torch.zeros(IMAGES, family.channels, *tiny_joint.SIZE)},
            "image": picture(self.sizes[0], IMAGES),
            **{name: picture(size) for name, size in zip(("first", "second"), self.sizes[1:], strict=False)},
        }

    def run(self, watch: dict[str, tuple[str, int]], *, references: bool = True, **how: Any) -> Any:
        sockets = (("reference", "first"), ("reference_2", "second"))
        given = {socket: [f"give_{name}", 0] for socket, name in sockets if references and name in self.given}
        look = {**defaults(self.pack_nodes["I2AM_Look"]), **given, **how.pop("look", {})}
        shares = {**defaults(self.pack_nodes["I2AM_Map"]), "maps": ["look", 1], "side": "which reference", "level": "TLAM"}
        drawn = {**defaults(self.pack_nodes["I2AM_Overlay"]), "image": ["give_image", 0], "heat": ["map", 0]}
        graph = {
            "record": node("I2AM_Record", model=["give_model", 0], **{**RECORD, "reference_tokens": "auto"}),
            "sampler": sampler(["record", 0], 3, steps=2, cfg=1.0, scheduler="simple"),
            "look": node("I2AM_Look", latent=["sampler", 0], recording=["record", 1], image=["give_image", 0], **look),
            "map": node("I2AM_Map", **shares),
            "overlay": node("I2AM_Overlay", **drawn),
        }
        return self.run_graph(graph, give=self.given, watch=watch, **how)


@pytest.mark.parametrize("name", [n for n in ("kontext", "qwen", "flux2") if n in tiny_joint.TAKING])
def test_the_nodes_show_what_the_library_draws(
    run_graph: Graphs, pack_nodes: dict[str, Any], pack: ModuleType, name: str
) -> None:
    graph = Graph(run_graph, pack_nodes, name)
    out = graph.run({"sheet": ("look", 0), "maps": ("look", 1), "overlay": ("overlay", 0), "heat": ("map", 0)})
    base, first_look = library(pack, "outputs.first_look"), library(pack, "outputs.first_look").first_look
    node_pictures = pack_pictures(pack)
    shown = [node_pictures.pictures(graph.given[key]) for key in ("image", "first", "second")]
    want = first_look(out["maps"], shown[0], shown[1], further=[shown[2]])
    assert torch.equal(out["sheet"], node_pictures.image(want.sheets))
    assert len(out["sheet"]) == IMAGES
    assert base.has_shares(out["maps"], library(pack, "levels.choice").Choice())
    heat = out["heat"]
    assert (heat.parts, len(heat.labels), heat.level) == (2, IMAGES * 2 * 2, "TLAM")
    torch.testing.assert_close(
        heat.values.view(IMAGES, 2, 2, *heat.values.shape[1:]).sum(2), torch.ones(IMAGES, 2, *heat.values.shape[1:])
    )
    drawn = library(pack, "pictures.overlays").overlays(shown[0], heat)
    assert torch.equal(out["overlay"], node_pictures.image(drawn))
    assert len(out["overlay"]) == IMAGES * 2


@pytest.mark.parametrize("name", [n for n in ("kontext", "qwen") if n in tiny_joint.TAKING])
def test_a_single_reference_has_its_shares_over_time(
    run_graph: Graphs, pack_nodes: dict[str, Any], pack: ModuleType, name: str
) -> None:
    graph = Graph(run_graph, pack_nodes, name, SIZES[1:])
    node_pictures, drawn = pack_pictures(pack), library(pack, "outputs.joint_look")
    out = graph.run({"sheet": ("look", 0), "maps": ("look", 1)})
    maps = out["maps"]
    assert drawn.has_shares(maps, library(pack, "levels.choice").Choice())
    shares = library(pack, "levels.share")
    over_time = shares.share(maps, groups=2)
    assert [label.partition(" · ")[0] for label in over_time.labels] == ["reference", "text", "generated"] * 2
    assert sum(shares.mean_shares(shares.share(maps)).values()) == pytest.approx(1, abs=1e-5)
    image, first = (node_pictures.pictures(graph.given[key]) for key in ("image", "first"))
    want = library(pack, "outputs.first_look").first_look(maps, image, first)
    assert torch.equal(out["sheet"], node_pictures.image(want.sheets))
    assert len(out["sheet"]) == IMAGES


def pack_pictures(pack: ModuleType) -> Any:
    """The pack's own conversions between IMAGE and pictures."""
    import importlib

    return importlib.import_module(f"{pack.__name__}.nodes.base")


def test_without_pictures_those_of_the_latents_are_shown(
    run_graph: Graphs, pack_nodes: dict[str, Any], pack: ModuleType
) -> None:
    out = Graph(run_graph, pack_nodes, "kontext").run({"sheet": ("look", 0), "maps": ("look", 1)}, references=False)
    kept = out["maps"].thumbnails
    base = pack_pictures(pack)
    given = [[base.Image.fromarray(kept[name].numpy())] for name in ("reference", "reference 2")]
    first_look = library(pack, "outputs.first_look").first_look
    image = base.pictures(picture(pixels(tiny_joint.SIZE, 8), IMAGES))
    grey = first_look(out["maps"].with_thumbnails({k: torch.full_like(v, 96) for k, v in kept.items()}), image)
    assert torch.equal(out["sheet"], base.image(first_look(out["maps"], image).sheets))
    assert not torch.equal(out["sheet"], base.image(grey.sheets))
    assert [one[0].size for one in given] == [(4, 4), (7, 5)]


def test_pictures_in_another_order_are_refused(run_graph: Graphs, pack_nodes: dict[str, Any]) -> None:
    swapped = {"reference": ["give_second", 0], "reference_2": ["give_first", 0]}
    graph = Graph(run_graph, pack_nodes, "kontext")
    graph.given["second"] = picture((30, 64))
    error = graph.run({}, look=swapped, expect_error=True).error
    assert "picture of reference 1 is 64 x 30 pixels, but the recorded reference 1 is 32 x 32" in error.message
    third = {"reference_3": ["give_second", 0]}
    error = graph.run({}, references=False, look=third, expect_error=True).error
    assert "picture of reference 3 was given, but the run had 2 reference(s)" in error.message


def test_the_page_shows_every_reference(
    run_graph: Graphs, pack_nodes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    graph = Graph(run_graph, pack_nodes, "kontext")
    maps = graph.run({"maps": ("look", 1)}, references=False)["maps"]
    given = {"maps": maps, "image": graph.given["image"], "second": graph.given["second"]}
    report = {**defaults(pack_nodes["I2AM_Report"]), "maps": ["give_maps", 0], "image": ["give_image", 0]}
    page = {"page": node("I2AM_Report", **report, reference_2=["give_second", 0])}
    path = tmp_path / run_graph(page, give=given, watch={"path": ("page", 0)})["path"]
    data = header_in(path.read_text(encoding="utf-8"))
    latent = (SIZES[0][1], SIZES[0][0])  # the first one's picture is drawn from its latent
    assert [(one["width"], one["height"]) for one in data["references"]] == [latent, graph.sizes[2][::-1]]
    assert len({one["colour"] for one in data["references"]}) == 2
    assert data["rest"] == ["text", "generated"]
    assert data["run"]["reference_pictures"].startswith("drawn from the reference latents")


@pytest.mark.parametrize(("name", "first"), [("I2AM_Look", "reference"), ("I2AM_Report", "reference_image")])
def test_sockets_that_were_there_keep_their_place(pack_nodes: dict[str, Any], name: str, first: str) -> None:
    optional = list(pack_nodes[name].INPUT_TYPES()["optional"])
    later = {"I2AM_Look": ["region_mask", "region_name", "sinks"], "I2AM_Report": ["maps_2", "image_2"]}[name]  # what came last
    assert first in optional
    assert optional[-2 - len(later) :] == ["reference_2", "reference_3", *later]
