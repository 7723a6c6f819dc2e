"""Wan 2.1 image-to-video in graphs as users build them: each latent frame's maps lie on the frames that it decodes to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests.graph_bench import Bench, bench
from host_tests.wan_graph import HEIGHT, LENGTH, WIDTH, proof_graph, vae, wan_graph

LATENT = 3
"""Frames of the latent."""
LAST = [0, 4, 8]
"""The last decoded frame of each."""


@pytest.fixture
def b(pack: ModuleType, pack_nodes: dict[str, Any], tmp_path: Path) -> Iterator[Bench]:
    with bench(pack, pack_nodes, tmp_path) as made:
        yield made


def test_a_latent_frame_decodes_to_the_frames_that_are_said() -> None:
    """In the host's own VAE, which looks back in time and never ahead."""
    latent = torch.randn(1, 16, LATENT, 4, 6, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        plain = vae().decode(latent)[0]
        assert plain.shape == (LENGTH, HEIGHT, WIDTH, 3)
        for frame, first in enumerate((0, 1, 5)):
            other = latent.clone()
            other[:, :, frame] += 1
            moved = (vae().decode(other)[0] - plain).abs().amax((1, 2, 3)) > 1e-6
            assert moved.nonzero()[0, 0] == first, frame


@pytest.mark.parametrize(
    ("question", "side"),
    [("does each reference matter?", "G2R"), ("deletion curve", "G2R"), ("deletion curve", "R2G-balanced")],
)
def test_proof_compares_whole_videos(b: Bench, run_graph: Any, question: str, side: str) -> None:
    graph = proof_graph(b, 2, question=question, map=side, fractions="0.5")
    watch = {name: ("proof", i) for i, name in enumerate(("sheet", "table", "chart", "heat", "images"))}
    out = run_graph(graph, give=b.give, watch={**watch, "film": ("decode", 0)})
    runs = 2 if question.startswith("does") else 3
    frame = int(out["table"].split("the pictures are of frame ")[1].split(",")[0])
    assert out["images"].shape == (1 + runs, HEIGHT, WIDTH, 3)
    assert torch.equal(out["images"][0], out["film"][frame])
    assert f"means over the {LENGTH} frames of the video" in out["table"]
    assert out["heat"].values.shape == (runs, HEIGHT, WIDTH)
    assert bool((out["heat"].values > 0).any())


def test_proof_is_what_intervene_and_the_host_give(b: Bench, run_graph: Any) -> None:
    graph = proof_graph(b)
    cut = {"cut": "reference", "reference": 0, "reference_tokens": "auto"}
    graph["cut"] = b.node("I2AM_Intervene", model=graph["guider"]["inputs"]["model"], **cut)
    inputs = {**graph["guider"]["inputs"], "model": ["cut", 0]}
    graph["guider_cut"] = {"class_type": "BasicGuider", "inputs": inputs}
    graph["without"] = {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {**graph["own"]["inputs"], "guider": ["guider_cut", 0]},
    }
    graph["decode_cut"] = {"class_type": "VAEDecode", "inputs": {**graph["decode"]["inputs"], "samples": ["without", 0]}}
    watch = {"before": ("decode", 0), "after": ("decode_cut", 0), "heat": ("proof", 3)}
    out = run_graph(graph, give=b.give, watch=watch)
    expected = (out["after"] - out["before"]).abs().mean(-1).mean(0)
    torch.testing.assert_close(out["heat"].values[0], expected)


def look(b: Bench, graph: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    sockets = {"latent": ["sampler", 0], "recording": ["record", 1], "image": ["decode", 0]}
    return {**graph, "look": b.node("I2AM_Look", **{**sockets, **inputs})}


def test_each_latent_frame_meets_the_frames_that_it_decodes_to(b: Bench, run_graph: Any) -> None:
    graph = look(b, wan_graph(b))
    graph["map"] = b.node("I2AM_Map", maps=["collect", 1], side="R2G")
    graph["one"] = b.node("I2AM_Map", maps=["collect", 1], side="R2G", batch_index=1)
    graph["used"] = b.node("I2AM_Map", maps=["collect", 1], side="G2R")
    drawn = {"image": ["decode", 0], "colour_bar": False, "opacity": 0.5, "contour": 0.0}
    graph["overlay"] = b.node("I2AM_Overlay", heat=["map", 0], **drawn)
    graph["overlay_one"] = b.node("I2AM_Overlay", heat=["one", 0], **drawn)
    for frame in (1, 4):
        of_batch = {"image": ["decode", 0], "batch_index": frame, "length": 1}
        graph[f"frame_{frame}"] = {"class_type": "ImageFromBatch", "inputs": of_batch}
        graph[f"overlay_{frame}"] = b.node("I2AM_Overlay", heat=["one", 0], **{**drawn, "image": [f"frame_{frame}", 0]})
    graph["overlay_used"] = b.node("I2AM_Overlay", heat=["used", 0], **{**drawn, "image": torch.rand(1, 30, 90, 3)})
    graph["grid"] = b.node("I2AM_Grid", heat=["map", 0], image=["decode", 0])
    graph["film"] = b.node("I2AM_Animate", heat=["map", 0], image=["decode", 0])
    graph["explorer"] = b.node("I2AM_Explorer", maps=["collect", 1], image=["decode", 0], batch_index=2)
    patch = {"maps": ["collect", 1], "direction": "SRAM (what it used)", "image": ["decode", 0], "x": 40, "y": 20}
    graph["patch"] = b.node("I2AM_PatchMap", **patch)
    names = ("overlay", "overlay_one", "overlay_1", "overlay_4", "overlay_used", "grid", "film", "explorer")
    watch = {name: (name, 0) for name in names}
    watch |= {"sheet": ("look", 0), "answer": ("look", 4), "frames": ("decode", 0), "maps": ("collect", 1)}
    watch |= {"heat": ("map", 0), "marked": ("patch", 2), "patch": ("patch", 0)}
    out = run_graph(graph, give=b.give, watch=watch)
    assert out["frames"].shape == (LENGTH, HEIGHT, WIDTH, 3)
    assert (out["maps"].images, out["maps"].frames) == (LATENT, LATENT)
    assert [label.split(" · ")[0] for label in out["heat"].labels] == [f"latent frame {i}" for i in range(LATENT)]
    assert len(out["sheet"]) == LATENT
    assert [line for line in out["answer"].splitlines() if line.startswith("Latent")] == [f"Latent frame {i}" for i in range(3)]
    assert len(out["overlay"]) == LENGTH
    assert len(out["film"]) == LENGTH
    assert len(out["overlay_one"]) == 4, "those of the second latent frame"
    assert out["overlay_used"].shape == (LATENT, 30, 90, 3), "on the whole picture, whatever its shape"
    assert len(out["grid"]) == 1
    assert len(out["marked"]) == len(out["patch"].labels) == LATENT
    assert torch.equal(out["overlay_1"][0], out["overlay_one"][0])
    assert torch.equal(out["overlay_4"][0], out["overlay_one"][3])
    assert not torch.equal(out["overlay_1"], out["overlay_4"])


def test_several_videos(b: Bench, run_graph: Any) -> None:
    graph = look(b, wan_graph(b, videos=2))
    graph["map"] = b.node("I2AM_Map", maps=["collect", 1], side="R2G")
    graph["film"] = b.node("I2AM_Animate", heat=["map", 0], image=["decode", 0])
    watch = {"film": ("film", 0), "heat": ("map", 0), "sheet": ("look", 0), "frames": ("decode", 0)}
    out = run_graph(graph, give=b.give, watch=watch)
    assert len(out["frames"]) == 2 * LENGTH
    assert len(out["sheet"]) == 2 * LATENT
    assert out["heat"].labels[4].startswith("video 1, latent frame 1 · ")
    assert len(out["film"]) == LENGTH, "side by side"


def test_effect_compares_frame_by_frame(b: Bench, run_graph: Any) -> None:
    graph = wan_graph(b)
    given = graph["record"]["inputs"]["model"]
    graph["cut"] = b.node("I2AM_Intervene", model=given, cut="reference", reference_tokens="auto")
    graph["sampler_cut"] = {"class_type": "KSampler", "inputs": {**graph["sampler"]["inputs"], "model": ["cut", 0]}}
    graph["decode_cut"] = {"class_type": "VAEDecode", "inputs": {**graph["decode"]["inputs"], "samples": ["sampler_cut", 0]}}
    shown = {"before": ["decode", 0], "after": ["decode_cut", 0], "maps": ["collect", 1], "side": "R2G"}
    latents = {"latent_before": ["sampler", 0], "latent_after": ["sampler_cut", 0]}
    graph["pictures"] = b.node("I2AM_Effect", **shown)
    graph["latents"] = b.node("I2AM_Effect", **shown, **latents)
    graph["alone"] = b.node("I2AM_Effect", **latents)
    watch = {name: (name, 0) for name in ("pictures", "latents", "alone", "decode", "decode_cut", "sampler", "sampler_cut")}
    out = run_graph(graph, give=b.give, watch={**watch, "said": ("latents", 2)})
    change = (out["decode_cut"] - out["decode"]).abs().mean(-1)[LAST]
    torch.testing.assert_close(out["pictures"].values, change)
    change = (out["sampler_cut"]["samples"] - out["sampler"]["samples"]).abs().mean(1)[0]
    torch.testing.assert_close(out["latents"].values, change)
    torch.testing.assert_close(out["alone"].values, change)
    assert [line.split(":")[0] for line in out["said"].splitlines()] == [f"latent frame {i}" for i in range(LATENT)]
