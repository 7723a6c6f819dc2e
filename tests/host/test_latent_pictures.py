"""Pictures of references are drawn from their latents as the host's own previews draw them, and travel with the maps."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import latent_preview
import pytest
import torch
from host_tests import joint_case, tiny_joint
from torch import Tensor

COLOURED = [name for name in tiny_joint.TAKING if tiny_joint.model(name).model.latent_format.latent_rgb_factors is not None]


@pytest.fixture(scope="module")
def lib(pack: ModuleType) -> Any:
    return joint_case.Lib(pack)


def hosts(name: str, latent: Tensor) -> Tensor:
    """A reference latent as the host's previewer draws what the network sees of it, (H, W, 3) uint8."""
    model = tiny_joint.model(name).model
    form = model.latent_format
    previewer = latent_preview.Latent2RGBPreviewer(
        form.latent_rgb_factors, form.latent_rgb_factors_bias, getattr(form, "latent_rgb_factors_reshape", None)
    )
    drawn = previewer.decode_latent_to_preview(model.process_latent_in(latent))
    return torch.frombuffer(bytearray(drawn.tobytes()), dtype=torch.uint8).view(drawn.height, drawn.width, 3)


@pytest.mark.parametrize("name", COLOURED)
def test_pictures_are_the_hosts_previews(lib: Any, name: str) -> None:
    """Of two references of unequal sizes, odd where the model takes such, in a batch of two where the host makes one."""
    family = tiny_joint.FAMILIES[name]
    latents = [tiny_joint.latent(name, size, 70 + i) for i, size in enumerate(family.sizes)]
    maps = joint_case.run(lib, name, tiny_joint.conditioning(name, *latents), batch=family.images).maps
    assert list(maps.thumbnails) == ["reference", "reference 2"]
    for latent, picture in zip(latents, maps.thumbnails.values(), strict=True):
        want = hosts(name, latent)
        assert picture.shape == want.shape
        assert int((picture.int() - want.int()).abs().max()) <= 1  # the host cuts off where we round
        assert picture.float().std() > 5
    assert "drawn from the reference latents" in maps.run.extra["reference_pictures"]


def test_a_stitched_reference_gives_a_picture_for_each_part(lib: Any) -> None:
    positive = tiny_joint.conditioning("kontext", (5, 12), (4, 4))
    whole = joint_case.run(lib, "kontext", positive).maps.thumbnails
    parts = lib.parts.parts_of("[[[0, 0, 0.25, 1], [0.25, 0.4, 1, 1]], []]")
    cut = joint_case.run(lib, "kontext", positive, options={"parts": parts}).maps.thumbnails
    assert torch.equal(cut["reference"], whole["reference"][:, :3])
    assert torch.equal(cut["reference 2"], whole["reference"][2:, 3:])
    assert torch.equal(cut["reference 3"], whole["reference 2"])


def test_a_format_without_colours_has_no_pictures(lib: Any, pack: ModuleType) -> None:
    drawing = importlib.import_module(f"{pack.__name__}.i2am.hosts.comfy.latent_pictures")
    form = type("Form", (), {"latent_rgb_factors": None, "latent_rgb_factors_bias": None})
    assert drawing.drawn(type("Model", (), {"latent_format": form}), [torch.zeros(1, 4, 2, 2)]) == []


def test_the_hosts_scaling_for_kontext_cuts_the_middle_out_as_the_help_says() -> None:
    """So a picture or mask that was not cut lies elsewhere, and nodes want the picture that the scaling node puts out."""
    nodes = importlib.import_module("comfy_extras.nodes_flux")
    across = torch.linspace(0, 1, 1200).view(1, 1, 1200, 1).expand(1, 1000, 1200, 3)
    scaled = nodes.FluxKontextImageScale.execute(across).result[0]
    assert tuple(scaled.shape) == (1, 944, 1104, 3)  # of its 17 sizes the nearest to 1.2
    cut = round((1200 - 1000 * 1104 / 944) / 2)
    expected = torch.nn.functional.interpolate(across[:, :, cut:-cut].movedim(-1, 1), (944, 1104), mode="area").movedim(1, -1)
    stretched = torch.nn.functional.interpolate(across.movedim(-1, 1), (944, 1104), mode="area").movedim(1, -1)
    assert float((scaled - expected).abs().max()) < 0.005  # 8 bits
    assert float((scaled - stretched).abs().max()) > 0.01
