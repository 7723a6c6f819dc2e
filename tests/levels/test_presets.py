"""In which order each preset brings a map to its picture, against the same arithmetic written out here."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from i2am.errors import I2AMError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.levels.heat import Heat, keep_above, normalise, shown, times_mask
from i2am.levels.marginal import CLAMPED, level_of, ulam
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder
from i2am.scores.imacs import imacs_pair

SIZE = (48, 36)


def ramp(panels: int = 1) -> Heat:
    """Random maps with sharp edges, where the orders differ."""
    values = torch.rand(panels, 6, 5, generator=torch.Generator().manual_seed(2)) ** 4
    return Heat(values, "G2R", "reference", "ULAM", tuple("abc"[:panels]), SIZE)


def min_max(values: Tensor) -> Tensor:
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    return (values - low) / (high - low)


def plain_bicubic(values: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(values[:, None], size, mode="bicubic", align_corners=False)[:, 0]


def test_default_resizes_then_stretches() -> None:
    heat = ramp(2)
    expected = min_max(plain_bicubic(heat.values, SIZE).clamp_min(0))
    torch.testing.assert_close(normalise(heat).values, expected)


def test_paper_stretches_at_the_maps_own_size_then_resizes_then_thresholds() -> None:
    heat = replace(ramp(2), order="min-max", threshold=0.4)
    resized = plain_bicubic(min_max(heat.values), SIZE).clamp(0, 1)
    torch.testing.assert_close(normalise(heat).values, resized)
    torch.testing.assert_close(shown(heat), torch.where(resized > 0.4, resized, 0.0))
    assert normalise(heat).low == tuple(heat.values.amin((1, 2)).tolist())
    assert not torch.equal(normalise(heat).values, normalise(ramp(2)).values)  # the orders can be told apart


def test_official_stretches_before_and_after() -> None:
    heat = replace(ramp(2), order="both", clamped=False, threshold=0.4)
    expected = min_max(plain_bicubic(min_max(heat.values), SIZE))
    torch.testing.assert_close(normalise(heat).values, expected)
    torch.testing.assert_close(shown(heat), keep_above(expected, 0.4))
    torch.testing.assert_close(normalise(replace(heat, invert=True)).values, 1 - expected)


@pytest.mark.parametrize("order", ["min-max", "both"])
def test_panels_on_one_scale_are_stretched_together_at_their_own_size(order: str) -> None:
    heat = replace(ramp(3), order=order)
    together = (heat.values - heat.values.min()) / (heat.values.max() - heat.values.min())
    expected = plain_bicubic(together, SIZE).clamp_min(0)
    if order == "both":
        expected = (expected - expected.min()) / (expected.max() - expected.min())
    torch.testing.assert_close(normalise(heat, scale="shared").values, expected.clamp(0, 1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_map_that_holds_no_number_is_refused(bad: float) -> None:
    values = ramp().values.clone()
    values[0, 2, 1] = bad
    with pytest.raises(I2AMError, match="a map of G2R holds NaN or infinity"):
        replace(ramp(), values=values)


@pytest.mark.parametrize("order", ["resize", "min-max", "both"])
def test_a_flat_map_is_flat_in_every_order(order: str) -> None:
    heat = replace(ramp(), values=torch.full((1, 6, 5), 0.3), order=order)
    assert normalise(heat).flat == (True,)
    assert not normalise(heat).values.any()


def test_the_official_mask_is_resized_by_plain_bicubic_at_the_maps_grid() -> None:
    mask = torch.zeros(SIZE)
    mask[11:40, 9:27] = 1
    weights = plain_bicubic(mask[None], (6, 5))
    assert float(weights.max()) > 1  # it overshoots, as the authors' does
    torch.testing.assert_close(times_mask(ramp(), mask).values, ramp().values * weights)


def recording() -> AttributionMaps:
    """A run shaped like StableVITON's: one token in the U-Net, a garment in places in the layers that the authors take."""
    random = torch.Generator().manual_seed(4)
    beside = replace(Layout.of(TokenGrid(8, 6, picture=(64, 48))), beside=True, official="always")
    layouts = {"output.3.1.0": Layout.of(TokenGrid(1, 1)), "warp.4": beside}
    recorder = Recorder(layouts.__getitem__, steps=3, generated_size=(64, 48))
    for step in range(3):
        for layer, layout in layouts.items():
            q = 2 * torch.randn(1, 2, 48, 4, generator=random)
            k = 2 * torch.randn(1, 2, layout.key_count, 4, generator=random)
            recorder.observe(layer, (8, 6), step, "cond", q, k, None, scale=0.5)
        recorder.end_step(step)
    return recorder.finish()


def test_the_official_score_of_the_reference_is_that_of_the_authors_arithmetic() -> None:
    maps = recording()
    garment = torch.zeros(64, 48)
    garment[12:52, 9:40] = 1
    inpaint = torch.zeros(64, 48)
    inpaint[20:50, 10:30] = 1
    g2r = maps.marginal("g2r", "warp.4")[0].mean((0, 1)).view(1, 8, 6)  # steps and heads
    shaped = min_max(plain_bicubic(min_max(g2r * plain_bicubic(garment[None], (8, 6))), (64, 48)))[0]
    kept = torch.where(shaped > 0.4, shaped, 0.0)
    expected = (kept * garment).sum() / garment.sum() - 3 * (kept * (1 - garment)).sum() / (1 - garment).sum()
    found = imacs_pair(maps, inpaint, garment, preset="official")["r"]
    assert found.score == pytest.approx(float(expected), abs=1e-5)
    heat = level_of(maps, "ULAM", "G2R", preset="official", reference_mask=garment)
    torch.testing.assert_close(shown(heat, (64, 48))[0], kept)


def test_a_preset_hands_its_order_to_its_heats() -> None:
    maps = recording()
    found = {preset: ulam(maps, "R2G", preset=preset) for preset in ("default", "paper", "official")}
    assert {preset: heat.order for preset, heat in found.items()} == {
        "default": "resize",
        "paper": "min-max",
        "official": "both",
    }
    assert [heat.threshold for heat in found.values()] == [None, None, 0.4]


def test_the_official_map_says_where_it_cannot_be_the_authors() -> None:
    random = torch.Generator().manual_seed(5)
    recorder = Recorder(Layout.of(TokenGrid(4, 3)), steps=1, generated_size=(64, 48))
    for layer, (rows, columns) in {"fine": (8, 6), "coarse": (4, 3)}.items():
        q, k = torch.randn(1, 2, rows * columns, 4, generator=random), torch.randn(1, 2, 12, 4, generator=random)
        recorder.observe(layer, (rows, columns), 0, "cond", q, k, None, scale=0.5)
    recorder.end_step(0)
    maps = recorder.finish()
    assert CLAMPED in ulam(maps, "R2G", preset="official").notes
    assert CLAMPED not in ulam(maps, "R2G", preset="paper").notes
    assert CLAMPED not in ulam(recording(), "R2G", preset="official").notes  # one token, one grid
