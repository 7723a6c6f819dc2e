"""The demo model gives the same maps through ComfyUI's U-Net as through diffusers'."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest
import torch
from host_tests.demo_graph import demo_graph

STEPS = 5
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    names = {"sample": "demo.recording", "tryon": "models.demo.tryon", "scene": "drawn.scene", "maps": "maps.value"}
    return type("Lib", (), {k: importlib.import_module(f"{pack.__name__}.i2am.{v}") for k, v in names.items()})


def through_diffusers(lib: Any, seed: int, cfg: float) -> tuple[Any, torch.Tensor]:
    """The same noise at the same sigmas; the host starts at sigma times the noise, not at its variance-preserving mix."""
    model, case = lib.tryon.DemoModel.load(), lib.scene.DemoCase.draw(5)
    model.scheduler.set_timesteps(STEPS)
    first = model.scheduler.alphas_cumprod[model.scheduler.timesteps[0]]
    recording = lib.sample.recording_of(model, images=1, steps=STEPS, cfg=cfg)
    with recording, torch.inference_mode():
        known = torch.cat([model.encode(case.own.agnostic), model.encode(case.own.densepose)], 1)
        context = torch.cat([model.encoder.null(1), model.encoder(case.worn.reference)])
        latent = lib.tryon.noise_of([seed]) * (1 - first).sqrt()
        for t in model.scheduler.timesteps:
            both = torch.cat([latent, known], 1).repeat(2, 1, 1, 1)
            uncond, cond = model.unet(both, t, context).sample.chunk(2)
            latent = model.scheduler.step(uncond + cfg * (cond - uncond), t, latent).prev_sample
    return recording.maps, latent


def test_maps_agree(lib: Any, run_graph: Any) -> None:
    out = run_graph(demo_graph(steps=STEPS, seed=3), watch={"maps": ("collect", 1)})
    here, (there, _) = out["maps"], through_diffusers(lib, 3, 5.0)
    assert len(here.layers) == len(there.layers) == 7
    assert here.run.timesteps == pytest.approx(there.run.timesteps, abs=0.01)
    for a, b in zip(here.layers, there.layers, strict=True):
        assert (a.grid.rows, a.grid.columns, a.heads, a.middle) == (b.grid.rows, b.grid.columns, b.heads, b.middle)
        for kind in ("r2g", "balanced", "mass_placed", "g2r"):
            x, y = here.marginal(kind, a.name), there.marginal(kind, b.name)
            assert (x - y).abs().max() <= TOLERANCE * y.abs().max(), (a.name, kind)
        x, y = here.pairwise(a.name), there.pairwise(b.name)
        assert (x - y).abs().max() <= TOLERANCE * y.abs().max(), a.name


def test_another_reference_gives_other_maps(lib: Any, run_graph: Any) -> None:
    """The comparison above can fail."""
    out = run_graph(demo_graph(steps=STEPS, seed=3, pair={"seed": 6}), watch={"maps": ("collect", 1)})
    there, _ = through_diffusers(lib, 3, 5.0)
    name = out["maps"].layers[0].name
    x, y = out["maps"].pairwise(name), there.pairwise(there.layers[0].name)
    assert (x - y).abs().max() > 100 * TOLERANCE * y.abs().max()
