"""What is measured of pictures: against the libraries called directly, and against plain statements of the figures."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from feature_networks import Features, Unlike
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from i2am.evaluation.facts import Lacking
from i2am.evaluation.metrics import sets
from i2am.evaluation.metrics.keypoints import keypoint_matches
from i2am.evaluation.metrics.networks import FeatureNetwork, Lpips
from i2am.evaluation.metrics.pictures import of_picture
from i2am.evaluation.metrics.sets import of_sets

NONE = Lacking(reason="no network here")


def pictures(count: int, seed: int, size: tuple[int, int] = (40, 32)) -> Tensor:
    """(count, 3, *size) uint8, smooth."""
    small = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.interpolate(small, size, mode="bilinear") * 255).round().byte()


def test_ssim_and_psnr_are_torchmetrics() -> None:
    made, true = (pictures(1, seed).float() / 255 for seed in (1, 2))
    values, unavailable = of_picture(made[0], true[0], NONE)
    assert values["ssim"] == pytest.approx(float(StructuralSimilarityIndexMeasure(data_range=1.0)(made, true)), abs=1e-7)
    assert values["psnr"] == pytest.approx(float(PeakSignalNoiseRatio(data_range=1.0)(made, true)), abs=1e-5)
    assert values["psnr"] == pytest.approx(-10 * float(torch.log10((made - true).double().square().mean())), abs=1e-4)
    assert unavailable == {"lpips": "no network here"}


def test_the_same_picture_has_no_psnr() -> None:
    picture = pictures(1, 3)[0].float() / 255
    values, unavailable = of_picture(picture, picture, Lpips(Unlike(), "unlike", "cpu"))
    assert values == {"ssim": pytest.approx(1), "lpips": 0}
    assert "infinite" in unavailable["psnr"]


def test_lpips_sees_pictures_from_minus_one_to_one() -> None:
    made, true = (pictures(1, seed)[0].float() / 255 for seed in (4, 5))
    values, _ = of_picture(made, true, Lpips(Unlike(), "unlike", "cpu"))
    assert values["lpips"] == pytest.approx(4 * float((made - true).square().mean()), rel=1e-5)


def features_of_sets() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    real, made = pictures(30, 6), (pictures(20, 7) * 0.7).byte()
    network = FeatureNetwork(Features(), "features", "cpu")
    return real, made, network(real), network(made)


def test_fid_and_kid_are_torchmetrics_on_the_pictures_themselves() -> None:
    real, made, real_features, made_features = features_of_sets()
    found, missing = of_sets(real_features, made_features)
    network = Features().double()
    network.forward = lambda x: network.layer(x.double() / 255).relu().mean((2, 3))  # type: ignore[method-assign]
    fid = FrechetInceptionDistance(network)
    kid = KernelInceptionDistance(network, subsets=100, subset_size=20)
    for metric in (fid, kid):
        metric.update(real, real=True)
        metric.update(made, real=False)
    torch.manual_seed(0)
    mean, spread = (float(value) for value in kid.compute())
    assert missing == {}
    assert (found["fid"].n, found["kid"].n) == (20, 20)
    assert found["fid"].value == pytest.approx(float(fid.compute()), rel=1e-4)
    assert found["kid"].value == pytest.approx(mean, rel=1e-5)
    assert found["kid"].spread == pytest.approx(spread, rel=1e-4)
    assert spread > 0


def test_fid_is_its_formula() -> None:
    _, _, real, made = features_of_sets()
    a, b = real.numpy(), made.numpy()
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert of_sets(real, made)[0]["fid"].value == pytest.approx(expected, rel=1e-4)


def test_kid_of_equal_sizes_is_the_unbiased_estimate() -> None:
    _, _, real, made = features_of_sets()
    a, b = real[:20].numpy(), made.numpy()

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    within = sum((kernel(x, x).sum() - np.trace(kernel(x, x))) / (20 * 19) for x in (a, b))
    expected = within - 2 * kernel(a, b).mean()
    found = of_sets(real[:20], made)[0]["kid"]
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.spread is None


def test_kid_of_large_sets_is_a_mean_over_subsets_that_the_seed_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "SUBSET", 10)
    _, _, real, made = features_of_sets()
    torch.manual_seed(99)
    before = torch.rand(1)
    torch.manual_seed(99)
    first, again, other = (of_sets(real, made, seed)[0]["kid"] for seed in (5, 5, 6))
    assert torch.equal(torch.rand(1), before)  # the caller's own random numbers are left alone
    assert first == again
    assert first.value != other.value
    assert first.spread is not None
    assert abs(first.value - other.value) < first.spread


def test_one_picture_is_no_set() -> None:
    found, missing = of_sets(torch.rand(5, 3), torch.rand(1, 3))
    assert found == {}
    assert missing.keys() == {"fid", "kid"}
    assert "1 generated and 5 real" in missing["fid"].reason


# ------------------------------------------------------------------------------------------------ SIFT


def detailed(seed: int, size: tuple[int, int] = (120, 96)) -> np.ndarray:
    """Random rectangles and discs."""
    source = np.random.default_rng(seed)
    picture = np.full((*size, 3), 128, np.uint8)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for _ in range(60):
        y, x, r = source.integers(0, size[0]), source.integers(0, size[1]), source.integers(3, 14)
        shape = (
            (abs(rows - y) < r) & (abs(columns - x) < r)
            if source.random() < 0.5
            else (rows - y) ** 2 + (columns - x) ** 2 < r**2
        )
        picture[shape] = source.integers(0, 256, 3)
    return picture


def test_the_same_details_are_matched_where_they_were_moved_to() -> None:
    reference = detailed(1)
    moved = np.roll(reference, (7, -5), (0, 1))
    found = keypoint_matches(moved, reference)
    right = [m for m in found if abs(m.generated[0] + 5 - m.reference[0]) < 1 and abs(m.generated[1] - 7 - m.reference[1]) < 1]
    assert len(found) > 20
    assert len(right) > 0.9 * len(found)


def test_only_details_on_both_masks_count() -> None:
    reference = detailed(1)
    inpaint, garment = torch.zeros(120, 96), torch.zeros(120, 96)
    inpaint[:, :60] = 1
    garment[30:, :] = 1
    every, some = keypoint_matches(reference, reference), keypoint_matches(reference, reference, inpaint, garment)
    inside = [m for m in every if m.generated[0] < 60 and m.reference[1] >= 30]
    assert some == inside
    assert 0 < len(some) < len(every)


@pytest.mark.parametrize("blank", ["generated", "reference", "both"])
def test_a_picture_without_details_has_no_matches(blank: str) -> None:
    plain, picture = np.full((64, 48, 3), 200, np.uint8), detailed(2, (64, 48))
    assert keypoint_matches(*(plain if blank in (which, "both") else picture for which in ("generated", "reference"))) == []
