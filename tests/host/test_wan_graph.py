"""Wan 2.1 image-to-video in graphs as users build them: each latent frame's maps lie on the frames that it decodes to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests.graph_bench import Bench, bench
from host_tests.wan_graph import HEIGHT, LENGTH, WIDTH, proof_graph, vae

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
