"""The demo try-on in the real host: the picture, and the maps of it."""

from __future__ import annotations

from typing import Any

import torch
from host_tests.demo_graph import demo_graph


def test_the_demo_try_on_runs_and_leaves_maps(run_graph: Any) -> None:
    out = run_graph(demo_graph(steps=4), watch={"latent": ("sampler", 0), "maps": ("collect", 1), "picture": ("decode", 0)})
    maps = out["maps"]
    assert out["picture"].shape == (1, 128, 96, 3)
    assert maps.run.steps == 4
    assert maps.recorded == (0, 1, 2, 3)
    assert [layer.name for layer in maps.layers] == [
        "input.1.1.0", "input.3.1.0", "middle.0.1.0", "output.0.1.0", "output.1.1.0", "output.2.1.0", "output.3.1.0",
    ]  # fmt: skip
    assert {(x.grid.rows, x.grid.columns) for x in maps.layers} == {(32, 24), (16, 12)}
    assert maps.run.cfg == 5.0
    assert maps.run.seed == 3
    for layer in maps.layers:
        rows = maps.pairwise(layer.name).sum(-1)
        assert torch.allclose(rows, torch.ones_like(rows), atol=1e-5)


def test_recording_changes_no_bit_of_the_latent(run_graph: Any) -> None:
    plain = run_graph(demo_graph(record=False), watch={"latent": ("sampler", 0)})["latent"]["samples"]
    recorded = run_graph(demo_graph(), watch={"latent": ("sampler", 0)})["latent"]["samples"]
    other = run_graph(demo_graph(pair={"letter": "S", "colour": "teal"}), watch={"latent": ("sampler", 0)})["latent"]["samples"]
    assert torch.equal(plain, recorded)
    assert not torch.equal(other, recorded)
