"""IMACS of one map: cases counted by hand, masks and maps that have no score, baselines."""

from __future__ import annotations

import json

import numpy as np
import pytest
import statement
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2am.errors import MaskError, UnavailableError
from i2am.levels.heat import Heat, keep_above, normalise
from i2am.scores.imacs import LAMBDA, imacs


def heat_of(values: list[list[float]] | Tensor, **other: object) -> Heat:
    values = torch.as_tensor(values, dtype=torch.float32)
    size = (values.shape[0], values.shape[1])
    return Heat(values[None], "R2G", "generated", "ULAM", ("",), **{"size": size, **other})  # type: ignore[arg-type]


LEFT = torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 2)  # the left half of a 2 x 4 picture


# ----------------------------------------------------------------------------------------------------- by hand


def test_a_map_that_is_its_mask_scores_one() -> None:
    score = imacs(heat_of(LEFT * 5 + 3), LEFT)
    assert (score.score, score.inside, score.outside, score.weight) == (1.0, 1.0, 0.0, 3.0)
    assert score.auc == 1.0
    assert score.mass_ratio == pytest.approx((8 * 4) / (8 * 4 + 3 * 4) / 0.5)  # of the raw map
    assert not score.flat
    assert score.notes == ()


def test_a_map_that_is_its_masks_complement_scores_minus_lambda() -> None:
    for weight in (LAMBDA, 1.0, 0.5):
        score = imacs(heat_of(1 - LEFT), LEFT, weight=weight)
        assert (score.score, score.inside, score.outside, score.weight) == (-weight, 0.0, 1.0, weight)
        assert (score.auc, score.mass_ratio) == (0.0, 0.0)


def test_min_max_threshold_and_means() -> None:
    # min-maxed: 1, 0.5, 0.4, 0.3 / 0.25, 0, 0.75, 0.1; kept where strictly above 0.4: 1, 0.5, -, - / -, -, 0.75, -
    score = imacs(heat_of([[12.0, 7.0, 6.0, 5.0], [4.5, 2.0, 9.5, 3.0]]), LEFT)
    assert score.inside == pytest.approx(1.5 / 4)
    assert score.outside == pytest.approx(0.75 / 4)
    assert score.score == pytest.approx(1.5 / 4 - 3 * 0.75 / 4)
    # pairs (inside, outside) in the right order, of 16: 12 beats all 4; 7 beats 3; 4.5 beats 1; 2 none
    assert score.auc == pytest.approx(8 / 16)
    assert score.mass_ratio == pytest.approx((12 + 7 + 4.5 + 2) / 49 / 0.5)


def test_the_threshold_is_strict_and_can_be_set() -> None:
    heat = heat_of([[0.0, 1.0, 0.5, 0.25]])
    mask = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    assert imacs(heat, mask, threshold=0.5).inside == pytest.approx(0.5)  # 0.5 itself is not kept
    assert imacs(heat, mask, threshold=0.49).inside == pytest.approx(0.75)
    assert imacs(heat, mask, threshold=0.2).outside == pytest.approx(0.125)


def test_a_soft_mask_weighs_pixels() -> None:
    # kept: 1, 0.5; x = 0.5, 1, 0.25, 0
    score = imacs(heat_of([[2.0, 1.0, 0.0, 0.2]]), torch.tensor([[0.5, 1.0, 0.25, 0.0]]))
    assert score.inside == pytest.approx((0.5 * 1 + 1 * 0.5) / 1.75)
    assert score.outside == pytest.approx(0.5 * 1 / 2.25)
    assert score.score == pytest.approx(1 / 1.75 - 3 * 0.5 / 2.25)
    # by the nearer side, inside are 2 and 1 (a mask of one half counts), outside 0 and 0.2
    assert score.auc == 1.0


def test_ties_count_half_in_the_roc_curve() -> None:
    mask = torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.0]])
    # inside 3 and 1, outside 3, 1 and 0: 3 beats 1 and 0 and ties 3: 2.5; 1 beats 0 and ties 1: 1.5; of 6
    assert imacs(heat_of([[3.0, 1.0, 3.0, 1.0, 0.0]]), mask).auc == pytest.approx(4 / 6)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=4, max_size=30))
def test_the_roc_curve_counts_all_pairs(pixels: list[tuple[int, bool]]) -> None:
    values, inside = [p[0] for p in pixels], [p[1] for p in pixels]
    if len(set(values)) == 1 or len(set(inside)) == 1:
        return
    pairs = [(a, b) for a, x in pixels if x for b, y in pixels if not y]
    expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    score = imacs(heat_of([[float(v) for v in values]]), torch.tensor([inside]).float())
    assert score.auc == pytest.approx(expected, abs=1e-6)


def test_the_map_is_brought_to_the_masks_size() -> None:
    values = torch.tensor([[4.0, 1.0], [1.0, 0.0]])
    mask = torch.zeros(12, 8)
    mask[:6, :4] = 1
    score = imacs(heat_of(values, size=(24, 16)), mask)
    up = statement.bicubic(values.flatten(), (2, 2), (12, 8)).view(12, 8)
    up = (up - up.min()) / (up.max() - up.min())
    kept = torch.where(up > 0.4, up, 0.0)
    assert score.inside == pytest.approx(float((kept * mask).sum() / 24), rel=1e-5)
    assert score.outside == pytest.approx(float((kept * (1 - mask)).sum() / 72), rel=1e-5)


def test_pixels_beyond_the_part_that_the_tokens_cover_are_nothing() -> None:
    # the tokens cover the middle half of a 4 x 8 picture
    heat = heat_of([[3.0, 1.0], [3.0, 1.0]], size=(4, 8), rect=(0.25, 0.0, 0.75, 1.0))
    mask = torch.zeros(4, 8)
    mask[:, :4] = 1
    up = statement.bicubic(torch.tensor([3.0, 1.0, 3.0, 1.0]), (2, 2), (4, 4)).view(4, 4)
    up = (up - up.min()) / (up.max() - up.min())
    kept = torch.where(up > 0.4, up, 0.0)
    score = imacs(heat, mask)
    assert score.inside == pytest.approx(float(kept[:, :2].sum() / 16), rel=1e-5)
    assert score.outside == pytest.approx(float(kept[:, 2:].sum() / 16), rel=1e-5)


def test_an_inverted_map_is_scored_inverted() -> None:
    """The official preset: 1 - min-max, kept above 0.4."""
    heat = heat_of([[12.0, 7.0, 6.0, 5.0], [4.5, 2.0, 9.5, 3.0]], invert=True)
    # 1 - min-max: 0, 0.5, 0.6, 0.7 / 0.75, 1, 0.25, 0.9
    score = imacs(heat, LEFT)
    assert score.inside == pytest.approx((0.5 + 0.75 + 1) / 4)
    assert score.outside == pytest.approx((0.6 + 0.7 + 0.9) / 4)
    assert score.auc == pytest.approx(8 / 16)
    assert score.mass_ratio == pytest.approx((0.5 + 0.75 + 1) / 4.7 / 0.5)


def test_masks_of_any_array_kind() -> None:
    heat = heat_of([[12.0, 7.0, 6.0, 5.0], [4.5, 2.0, 9.5, 3.0]])
    expected = imacs(heat, LEFT)
    for mask in (LEFT.numpy(), LEFT[None], LEFT.bool(), LEFT.numpy()[None, None].astype(np.float64), LEFT.byte()):
        assert imacs(heat, mask) == expected


def test_the_parts_as_plain_data() -> None:
    data = imacs(heat_of(LEFT * 1.0), LEFT, name="mask", layers=("a", "b")).as_dict()
    assert json.loads(json.dumps(data)) == {**data, "layers": ["a", "b"], "notes": []}
    assert data["lambda"] == 3.0
    assert set(data["baselines"]) == {"shifted", "random"}
    assert set(data) == {
        *("score", "inside", "outside", "lambda", "auc", "mass_ratio", "baselines", "flat", "layers", "notes"),
    }


# --------------------------------------------------------------------------------------- what has no score


@pytest.mark.parametrize("name", ["inpainting mask", "reference mask"])
def test_empty_masks_and_complements_are_refused_by_name(name: str) -> None:
    heat = heat_of(LEFT * 1.0)
    with pytest.raises(MaskError, match=f"{name} is empty"):
        imacs(heat, torch.zeros(2, 4), name=name)
    with pytest.raises(MaskError, match=f"{name} covers the whole picture.*complement is empty"):
        imacs(heat, torch.ones(2, 4), name=name)


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (torch.rand(2, 2, 4), r"one mask of shape \(H, W\), got \(2, 2, 4\)"),
        (torch.rand(4), r"got \(4,\)"),
        (LEFT * 255, "0 to 255, expected 0 to 1"),
        (LEFT - 0.5, "-0.5 to 0.5"),
    ],
)
def test_what_is_no_mask_is_refused(mask: Tensor, text: str) -> None:
    with pytest.raises(MaskError, match=text):
        imacs(heat_of(LEFT * 1.0), mask)


@pytest.mark.parametrize("values", [torch.zeros(2, 4), torch.full((2, 4), 0.3), 1 + 5e-4 * LEFT])
def test_a_flat_map_has_no_score(values: Tensor) -> None:
    score = imacs(heat_of(values), LEFT, layers=("a",))
    assert score.flat
    assert score.layers == ("a",)
    assert "flat" in score.notes[0]
    for name in ("score", "inside", "outside", "auc", "mass_ratio", "shifted", "random"):
        assert getattr(score, name) is None
    assert not imacs(heat_of(1 + 2e-3 * LEFT), LEFT).flat


def test_an_inverted_flat_map_has_no_score_either() -> None:
    assert imacs(heat_of(torch.full((2, 4), 0.3), invert=True), LEFT).flat


def test_several_panels_are_refused() -> None:
    heat = Heat(torch.rand(3, 2, 4), "R2G", "generated", "TLAM", ("a", "b", "c"), (2, 4))
    with pytest.raises(UnavailableError, match="3 panels"):
        imacs(heat, LEFT)
    assert imacs(heat.panel(1), LEFT) == imacs(heat_of(heat.values[1]), LEFT)


# ------------------------------------------------------------------------------------------------- baselines


def test_random_maps_score_near_their_expectation() -> None:
    """Uniform noise kept above 0.4 has mean (1 - 0.4²) / 2 = 0.42 on both sides."""
    mask = torch.zeros(48, 40)
    mask[10:30, 5:25] = 1
    for weight in (3.0, 1.0):
        score = imacs(heat_of(torch.rand(48, 40, generator=torch.Generator().manual_seed(1))), mask, weight=weight)
        assert score.random == pytest.approx((1 - weight) * 0.42, abs=0.01)
        assert score.score == pytest.approx((1 - weight) * 0.42, abs=0.1)
        assert score.auc == pytest.approx(0.5, abs=0.05)
        assert score.mass_ratio == pytest.approx(1, abs=0.05)


def test_shifted_maps_score_near_their_expectation() -> None:
    """Over all cyclic shifts both sides have the map's own mean."""
    mask = torch.zeros(48, 36)
    mask[4:20, 4:16] = 1
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(36.0), indexing="ij")
    values = torch.exp(-((y - 12) ** 2 + (x - 10) ** 2) / 60)
    heat = heat_of(values)
    score = imacs(heat, mask)
    kept = keep_above(normalise(heat).values)[0]
    assert score.shifted == pytest.approx(float(kept.mean()) * (1 - 3), abs=0.1)
    assert score.score is not None
    assert score.score > 0.3
    assert score.shifted < 0 < score.score - 0.3  # the map beats itself in another place


def test_baselines_are_the_same_every_time() -> None:
    heat = heat_of(torch.rand(12, 9, generator=torch.Generator().manual_seed(2)))
    mask = torch.zeros(24, 18)
    mask[:9] = 1
    state = torch.random.get_rng_state()
    assert imacs(heat, mask) == imacs(heat, mask)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_mask_that_no_pixel_is_mostly_in_has_a_score_but_no_roc_curve() -> None:
    faint = imacs(heat_of([[2.0, 1.0, 0.0, 0.0]]), torch.tensor([[0.25, 0.25, 0.0, 0.0]]))
    assert faint.auc is None
    assert faint.score == pytest.approx(0.75 - 3 * (0.75 * 1.5) / 3.5)
