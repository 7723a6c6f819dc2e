"""Qwen-Image-Edit gives the same maps through ComfyUI as through diffusers, with the same random weights and names."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import comfy.sample
import pytest
import torch
from host_tests import tiny_joint
from torch import Tensor

SIZE, SIZES = (8, 12), ((8, 4), (4, 8))
"""Even numbers of tokens, no reference larger than the picture: for others the two give positions of their own."""
STEPS = 2
TOLERANCE = 1e-4
KEPT = {"pairwise": "heads", "groups": STEPS, "stride": 1, "cells": 0}


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    names = {"network": "models.edit.network", "comfy": "hosts.comfy.record", "diffusers": "hosts.diffusers.record"}
    return type("Lib", (), {k: importlib.import_module(f"{pack.__name__}.i2am.{v}") for k, v in names.items()})


def conditionings(seed: int = 10) -> tuple[Any, Any]:
    """Of cond and uncond: texts of their own lengths, with the same references."""
    references = [tiny_joint.latent("qwen", size, 100 + i) for i, size in enumerate(SIZES)]
    cond, uncond = (tiny_joint.conditioning("qwen", *references, tokens=t, seed=s) for t, s in ((7, seed), (4, 20)))
    return cond, uncond


def through_comfyui(lib: Any, seed: int = 10) -> tuple[Any, Tensor]:
    options = lib.comfy.Options(branches=("cond", "uncond"), **KEPT)
    recorded, recording = lib.comfy.attach(tiny_joint.model("qwen"), options)
    latent = tiny_joint.sample("qwen", recorded, *conditionings(seed), size=SIZE, seed=3)
    return recording.maps_of(latent), latent


def through_diffusers(lib: Any, sigmas: tuple[float, ...]) -> tuple[Any, Tensor]:
    """The host normalises latents on their way in and out."""
    from diffusers import QwenImageTransformer2DModel

    shape = {name: value for name, value in tiny_joint.QWEN.items() if name != "image_model"}
    transformer = QwenImageTransformer2DModel(out_channels=16, **shape).eval()
    model = tiny_joint.model("qwen").model
    weights = model.diffusion_model.state_dict()
    transformer.load_state_dict({name: value for name, value in weights.items() if "__" not in name})
    latent = sigmas[0] * comfy.sample.prepare_noise(torch.zeros(1, 16, 1, *SIZE), 3)[:, :, 0]
    grids = [(h // 2, w // 2) for h, w in (SIZE, *SIZES)]
    tokens, shapes = grids[0][0] * grids[0][1], [[(1, *grid) for grid in grids]]
    recording = lib.diffusers.record(transformer, steps=STEPS, keep=("cond", "uncond"), **KEPT)
    with recording, torch.inference_mode():
        for now, after in zip(sigmas, (*sigmas[1:], 0.0), strict=True):
            out = []
            for text, given in (conditioning[0] for conditioning in conditionings()):
                pictures = [latent, *(model.process_latent_in(r)[:, :, 0] for r in given["reference_latents"])]
                packed = torch.cat([lib.network.to_tokens(x, 2) for x in pictures], 1)
                velocity = transformer(packed, text, None, torch.tensor([now]), shapes).sample[:, :tokens]
                out.append(lib.network.from_tokens(velocity, grids[0], 2))
            latent = latent + (after - now) * (out[1] + 3.0 * (out[0] - out[1]))
    return recording.maps, model.process_latent_out(latent[:, :, None])


def test_maps_agree(lib: Any) -> None:
    here, latent = through_comfyui(lib)
    there, other = through_diffusers(lib, here.run.sigmas)
    torch.testing.assert_close(latent, other, atol=1e-4, rtol=0)
    ours, theirs = ([(r.name, r.grid.rows, r.grid.columns) for r in m.references] for m in (here, there))
    assert ours == theirs
    for a, b in zip(here.layers, there.layers, strict=True):
        assert (a.grid.rows, a.grid.columns, a.heads, a.branch_keys) == (b.grid.rows, b.grid.columns, b.heads, b.branch_keys)
        for branch in ("cond", "uncond"):
            for r in range(2):
                for kind in ("r2g", "balanced", "mass", "g2r"):
                    x, y = (m.marginal(kind, n.name, branch, r) for m, n in ((here, a), (there, b)))
                    assert (x - y).abs().max() <= TOLERANCE * y.abs().max(), (a.name, kind, branch, r)
                x, y = here.pairwise(a.name, branch, r), there.pairwise(b.name, branch, r)
                assert (x - y).abs().max() <= TOLERANCE * y.abs().max(), (a.name, branch, r)
    changed, _ = through_comfyui(lib, seed=11)  # so that the comparison above can fail
    x, y = (m.pairwise(m.layers[0].name, "cond", 0) for m in (changed, there))
    assert (x - y).abs().max() > 100 * TOLERANCE * y.abs().max()
