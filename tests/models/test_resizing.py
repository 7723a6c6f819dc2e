"""How each family's pictures and masks change their size, beside the libraries that their authors use."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from i2am.models.families import FAMILIES
from i2am.models.family import Family
from i2am.models.pictures import channels_first, mask_to_size, to_size
from i2am.models.resizing import linear, nearest, pillow, smooth

PIXELS = np.random.default_rng(3).integers(0, 256, (1024, 768, 3), dtype=np.uint8)
"""A picture of VITON-HD's size."""
SOFT = np.random.default_rng(4).integers(0, 256, (1024, 768), dtype=np.uint8)
"""A mask of its size, of all shades."""


def batch(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) as (1, 3, H, W), or (H, W) as (1, 1, H, W), in 0-1."""
    return torch.from_numpy(np.atleast_3d(pixels)).movedim(-1, 0)[None] / 255


def picture_as_theirs(family: Family) -> np.ndarray:
    height, width = family.size
    if family.name == "stableviton":
        return np.asarray(cv2.resize(PIXELS, (width, height)))
    return np.array(Image.fromarray(PIXELS).resize((width, height), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("name", ["dci-vton", "stableviton"])
def test_pictures_are_resized_as_the_authors_do(name: str) -> None:
    family = FAMILIES[name]
    got, theirs = family.resize(batch(PIXELS), family.size), batch(picture_as_theirs(family))
    assert got.shape == theirs.shape
    assert float((got - theirs).abs().max()) * 255 < 1.001 if name == "stableviton" else torch.equal(got, theirs)
    antialiased = smooth(batch(PIXELS), family.size)
    if name == "stableviton":  # which is softer
        assert float((antialiased - theirs).norm() / theirs.norm()) > 0.03


def test_masks_are_zero_and_one_before_anything_is_made_of_them() -> None:
    keep = (1 - SOFT.astype(np.float32) / 255 >= 0.5).astype(np.float32)  # Paint-by-Example's script, at its own size
    assert torch.equal(FAMILIES["paint-by-example"].resize_mask(batch(SOFT), (1024, 768)), batch(255 * (1 - keep)))
    small = np.array(Image.fromarray(SOFT).resize((512, 512), Image.Resampling.NEAREST))
    assert torch.equal(FAMILIES["dci-vton"].resize_mask(batch(SOFT), (512, 512)), batch(255.0 * (small >= 128)))
    theirs = cv2.resize(SOFT, (384, 512)) >= 128
    assert torch.equal(FAMILIES["stableviton"].resize_mask(batch(SOFT), (512, 384)), batch(255.0 * theirs))


def test_a_binary_mask_of_the_data_sets_size_is_cut_as_opencv_and_the_threshold_do() -> None:
    blocks = (np.random.default_rng(5).random((1024, 768)) > 0.5).astype(np.uint8) * 255
    theirs = cv2.resize(blocks, (384, 512)) >= 128
    assert torch.equal(FAMILIES["stableviton"].resize_mask(batch(blocks), (512, 384)), batch(255.0 * theirs))


def test_the_encoder_sees_the_reference_as_the_authors_bring_it_there() -> None:
    seen = {name: FAMILIES[name].see(batch(PIXELS), None, FAMILIES[name].size, (224, 224)) for name in FAMILIES}
    bicubic = np.array(Image.fromarray(PIXELS).resize((224, 224), Image.Resampling.BICUBIC))
    assert torch.equal(seen["paint-by-example"], batch(bicubic))
    for name in ("dci-vton", "stableviton"):  # at the picture's size first, from there without antialias
        there = batch(picture_as_theirs(FAMILIES[name]))
        theirs = torch.nn.functional.interpolate(there, (224, 224), mode="bilinear", antialias=False)
        assert float((seen[name] - theirs).abs().max()) * 255 < 1.001
    assert torch.equal(seen["custom"], smooth(batch(PIXELS), (224, 224)))


@pytest.mark.parametrize("resize", [smooth, linear, nearest, pillow(Image.Resampling.BICUBIC)])
def test_what_comes_out_is_contiguous_and_stays_as_it_is_at_its_own_size(resize: object) -> None:
    last = torch.rand(2, 20, 10, 3).movedim(-1, 1)  # a view, channels last in memory
    same = resize(last, (20, 10))  # type: ignore[operator]
    assert torch.equal(same, last)
    assert same.is_contiguous()
    assert resize(last, (16, 24)).is_contiguous()  # type: ignore[operator]


def test_hosts_layouts_become_contiguous_pictures() -> None:
    pictures = torch.rand(2, 20, 10, 3)
    assert to_size(pictures, (20, 10)).is_contiguous()
    assert to_size(pictures, (10, 10)).is_contiguous()
    assert mask_to_size(torch.rand(2, 20, 10), (5, 5)).is_contiguous()
    clear = torch.cat([pictures, torch.tensor([0.0, 0.25, 1.0, 0.5, 0.5]).repeat(2, 20, 2)[..., None]], -1)
    expected = pictures * clear[..., 3:] + 1 - clear[..., 3:]  # over white
    assert torch.allclose(channels_first(clear), expected.movedim(-1, 1), atol=1e-6)
