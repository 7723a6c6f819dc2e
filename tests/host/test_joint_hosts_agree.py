"""The edit model's network gives the same maps as ComfyUI's FLUX as it does as diffusers', with the same random weights."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sample
import comfy.supported_models
import pytest
import torch
from host_tests import tiny
from torch import Tensor

SIZE, SIZES = (8, 6), ((6, 4), (4, 10))
STEPS, IMAGES = 2, 2
TOLERANCE = 1e-4
KEPT = {"pairwise": "heads", "groups": STEPS, "stride": 1, "cells": 0}


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    names = {
        "network": "models.edit.network",
        "family": "models.edit.family",
        "keys": "models.edit.diffusers_keys",
        "positions": "models.edit.positions",
        "comfy": "hosts.comfy.record",
        "diffusers": "hosts.diffusers.record",
    }
    return type("Lib", (), {k: importlib.import_module(f"{pack.__name__}.i2am.{v}") for k, v in names.items()})


@pytest.fixture(scope="module")
def weights(lib: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    network = lib.network.EditNetwork()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return network.state_dict()


def model(lib: Any, weights: dict[str, Tensor]) -> Any:
    """The host's FLUX of the edit model's shape, as a MODEL."""

    class Latents(comfy.latent_formats.LatentFormat):
        latent_channels = 4

    class Config(comfy.supported_models.Flux):
        latent_format = Latents

    config = Config({**lib.family.SHAPE, "image_model": "flux"})
    config.set_inference_dtype(torch.float32, None)
    made = comfy.model_base.Flux(config)
    made.diffusion_model.load_state_dict(config.process_unet_state_dict(weights))
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(made.eval(), load_device=device, offload_device=torch.device("cpu"))


def given(lib: Any, seed: int) -> tuple[Tensor, list[Tensor]]:
    """Text tokens and reference latents."""
    source = torch.Generator().manual_seed(seed)
    text = torch.randn(1, 5, lib.family.TEXT_WIDTH, generator=source)
    return text, [torch.randn(1, 4, *size, generator=source) for size in SIZES]


def through_comfyui(lib: Any, weights: dict[str, Tensor], seed: int = 7) -> tuple[Any, Tensor]:
    text, references = given(lib, seed)
    pooled = torch.zeros(1, lib.family.VECTOR)
    beside = {"pooled_output": pooled, "reference_latents": references, "reference_latents_method": "index"}
    recorded, recording = lib.comfy.attach(model(lib, weights), lib.comfy.Options(**KEPT))
    how = {"latent": (IMAGES, 4, *SIZE), "steps": STEPS, "cfg": 1.0, "scheduler": "simple", "seed": 3}
    latent = tiny.sample(recorded, [[text, beside]], [[text, beside]], **how)
    return recording.maps_of(latent), latent


def through_diffusers(lib: Any, weights: dict[str, Tensor], sigmas: tuple[float, ...]) -> tuple[Any, Tensor]:
    from diffusers import FluxTransformer2DModel

    transformer = FluxTransformer2DModel(**lib.keys.CONFIG).eval()
    transformer.load_state_dict(lib.keys.diffusers_state(weights))
    text, references = given(lib, 7)
    text, references = text.expand(IMAGES, -1, -1), [r.expand(IMAGES, -1, -1, -1) for r in references]
    latent = sigmas[0] * comfy.sample.prepare_noise(torch.zeros(IMAGES, 4, *SIZE), 3)
    grids = [(h // 2, w // 2) for h, w in (SIZE, *SIZES)]
    ids = lib.positions.position_ids(text.shape[1], grids, [0, 1, 2])
    tokens = grids[0][0] * grids[0][1]
    recording = lib.diffusers.record(transformer, steps=STEPS, images=IMAGES, **KEPT)
    with recording, torch.inference_mode():
        for now, after in zip(sigmas, (*sigmas[1:], 0.0), strict=True):
            velocity = transformer(
                hidden_states=torch.cat([lib.network.to_tokens(x, 2) for x in (latent, *references)], 1),
                encoder_hidden_states=text,
                pooled_projections=torch.zeros(IMAGES, lib.family.VECTOR),
                timestep=torch.full((IMAGES,), now),
                img_ids=ids[text.shape[1] :],
                txt_ids=ids[: text.shape[1]],
            ).sample
            latent = latent + (after - now) * lib.network.from_tokens(velocity[:, :tokens], grids[0], 2)
    return recording.maps, latent


def test_maps_agree(lib: Any, weights: dict[str, Tensor]) -> None:
    here, latent = through_comfyui(lib, weights)
    there, other = through_diffusers(lib, weights, here.run.sigmas)
    torch.testing.assert_close(latent, other, atol=1e-4, rtol=0)
    assert len(here.layers) == len(there.layers) == 6
    assert [(r.name, r.grid.rows, r.grid.columns) for r in here.references] == [
        (r.name, r.grid.rows, r.grid.columns) for r in there.references
    ]
    for a, b in zip(here.layers, there.layers, strict=True):
        assert (a.grid.rows, a.grid.columns, a.heads, a.keys) == (b.grid.rows, b.grid.columns, b.heads, b.keys)
        for r in range(2):
            for kind in ("r2g", "balanced", "mass", "g2r"):
                x, y = (m.marginal(kind, layer.name, reference=r) for m, layer in ((here, a), (there, b)))
                assert (x - y).abs().max() <= TOLERANCE * y.abs().max(), (a.name, kind, r)
            x, y = here.pairwise(a.name, reference=r), there.pairwise(b.name, reference=r)
            assert (x - y).abs().max() <= TOLERANCE * y.abs().max(), (a.name, r)
    changed, _ = through_comfyui(lib, weights, seed=8)  # so that the comparison above can fail
    x, y = (m.pairwise(m.layers[0].name) for m in (changed, there))
    assert (x - y).abs().max() > 100 * TOLERANCE * y.abs().max()
