"""The edit model's network is the host's own FLUX, number for number, with the weights under the host's names."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import comfy.ldm.flux.model
import comfy.ops
import comfy.supported_models
import pytest
import torch


@pytest.fixture(scope="module")
def edit(pack: ModuleType) -> Any:
    names = ("network", "family", "sampling")
    return type("Edit", (), {n: importlib.import_module(f"{pack.__name__}.i2am.models.edit.{n}") for n in names})


@pytest.fixture(scope="module")
def networks(edit: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Ours with random weights, and the host's with the same ones."""
    torch.manual_seed(0)
    ours = edit.network.EditNetwork().eval()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    shape = edit.family.SHAPE
    theirs = comfy.ldm.flux.model.Flux(operations=comfy.ops.disable_weight_init, dtype=torch.float32, **shape)
    weights = comfy.supported_models.Flux({**shape, "image_model": "flux"}).process_unet_state_dict(ours.state_dict())
    theirs.load_state_dict(weights)
    return ours, theirs.eval()


@torch.no_grad()
@pytest.mark.parametrize("given", [(0, 1), (0,), (1,), ()], ids=["both", "person", "garment", "none"])
def test_it_is_the_hosts_flux(edit: Any, networks: tuple[Any, Any], given: tuple[int, ...]) -> None:
    ours, theirs = networks
    family = edit.family
    rng = torch.Generator().manual_seed(1)
    latent = torch.randn(2, 4, *family.LATENT, generator=rng)
    context = torch.randn(2, family.TEXT, family.TEXT_WIDTH, generator=rng)
    pictures = [torch.randn(2, 4, *size, generator=rng) for size in (family.LATENT, family.GARMENT_LATENT)]
    references, sigma = [pictures[i] for i in given], torch.tensor([0.3, 0.9])
    want = theirs(latent, sigma, context, ref_latents=references or None, ref_latents_method=family.REFERENCE_METHOD)
    assert float(want.std()) > 0.1
    torch.testing.assert_close(ours(latent, sigma, context, references), want, atol=1e-5, rtol=0)


def test_its_noise_levels_are_the_hosts(edit: Any) -> None:
    import math

    import comfy.model_sampling
    import comfy.samplers

    sampling = comfy.model_sampling.ModelSamplingFlux()
    sampling.set_parameters(shift=math.log(edit.family.SHIFT))
    for steps in (edit.family.STEPS, 10):
        want = comfy.samplers.calculate_sigmas(sampling, "simple", steps)
        torch.testing.assert_close(edit.sampling.sigmas(steps), want, atol=1e-6, rtol=0)
