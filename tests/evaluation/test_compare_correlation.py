"""Correlations are scipy's on hand-made tables; intervals are scipy's, cover what they should, and are kept from few images."""

from __future__ import annotations

import math
import time
import warnings
from typing import Any

import numpy as np
import pytest
from scipy import stats

from i2am.evaluation.compare.correlation import (
    LEAST,
    Bootstrap,
    Estimate,
    chance,
    draws_of,
    over_images,
    over_models,
    pearson,
    spearman,
)
from i2am.evaluation.compare.resampled import Question, Ranked, Resampled

# by hand: the ranks of y are 2 1 4 3 5, so that rho = 1 - 6 * (1 + 1 + 1 + 1) / (5 * 24)
X, Y = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([20.0, 10.0, 40.0, 30.0, 500.0])
FEW = Bootstrap(resamples=200)


def drawn(seed: int, n: int, together: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x, together * x + math.sqrt(1 - together**2) * rng.normal(size=n)


def within(pairs: list[tuple[np.ndarray, np.ndarray]], name: str, how: Bootstrap) -> Estimate:
    """The mean of the correlations of several runs over images."""
    question = Question("x", "y", tuple(range(len(pairs))))
    return over_images([{"x": x, "y": y} for x, y in pairs], [question], how)[0][name]


def test_a_rank_correlation_by_hand() -> None:
    assert float(spearman(X, Y)) == pytest.approx(0.8, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_both_are_scipys_with_ties_too(seed: int) -> None:
    x, y = drawn(seed, 30, 0.5)
    tied = np.round(x)
    for one in (x, tied):
        assert float(spearman(one, y)) == pytest.approx(stats.spearmanr(one, y).statistic, abs=1e-12)
        assert float(pearson(one, y)) == pytest.approx(stats.pearsonr(one, y).statistic, abs=1e-12)


def test_along_an_axis_each_row_is_on_its_own() -> None:
    x, y = np.stack([X, X]), np.stack([Y, -Y])
    assert spearman(x, y).tolist() == pytest.approx([0.8, -0.8])
    assert spearman(x.T, y.T, 0).tolist() == pytest.approx([0.8, -0.8])


@pytest.mark.parametrize("constant", [0.1, 0.0, 1e9])
def test_where_one_side_is_the_same_everywhere_there_is_no_correlation(constant: float) -> None:
    x, y = drawn(0, 20, 0)
    alike = np.full(20, constant)
    assert np.isnan(pearson(alike, y))
    assert np.isnan(spearman(x, alike))
    assert within([(alike, y)], "spearman", FEW).value is None


def test_the_interval_is_scipys() -> None:
    x, y = drawn(1, 40, 0.6)
    found = within([(x, y)], "pearson", Bootstrap(500, 0.9, 7))
    done = stats.bootstrap(
        (x, y), lambda a, b: stats.pearsonr(a, b).statistic, paired=True, vectorized=False, n_resamples=500,
        confidence_level=0.9, method="BCa", random_state=7,
    )  # fmt: skip
    assert found.value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert (found.low, found.high) == pytest.approx(tuple(done.confidence_interval), abs=1e-9)


@pytest.mark.parametrize(("name", "of_scipy"), [("spearman", stats.spearmanr), ("pearson", stats.pearsonr)])
def test_many_questions_at_once_give_what_scipy_gives_each_alone(name: str, of_scipy: Any) -> None:
    """Over two runs with ties; scipy draws pairs and ranks them anew."""
    runs = [{"x": np.round(drawn(i, 30, 0.6)[0] * 2), "y": drawn(i, 30, 0.6)[1], "z": drawn(i + 9, 30, 0)[0]} for i in (1, 2)]
    asked = [Question("x", "y", (0,)), Question("z", "y", (1,)), Question("x", "y", (0, 1)), Question("y", "z", (0, 1))]
    ticks: list[int] = []
    how = Bootstrap(150, 0.9, 3)
    for one, found in zip(asked, over_images(runs, asked, how, ticks.append), strict=True):
        sides = [runs[i][n] for i in one.runs for n in (one.x, one.y)]

        def mean(*samples: np.ndarray) -> float:
            return float(np.mean([of_scipy(a, b).statistic for a, b in zip(samples[::2], samples[1::2], strict=True)]))

        done = stats.bootstrap(
            sides, mean, paired=True, vectorized=False, n_resamples=150, confidence_level=0.9, method="BCa", random_state=3,
        )  # fmt: skip
        assert found[name].value == pytest.approx(mean(*sides), abs=1e-12)
        assert (found[name].low, found[name].high) == pytest.approx(tuple(done.confidence_interval), abs=1e-9)
    assert sum(ticks) == draws_of(30, how) == 180


def test_ranks_of_draws_are_scipys() -> None:
    rng = np.random.default_rng(0)
    values = np.round(rng.normal(size=40) * 2)
    picked = rng.integers(0, 40, (5, 40))
    counts = np.stack([np.bincount(row, minlength=40) for row in picked]).astype(float)
    ranks = Ranked(values).ranks(counts)
    for row, of_row in zip(picked, ranks, strict=True):
        assert of_row[row].tolist() == stats.rankdata(values[row]).tolist()


def test_draws_of_one_value_have_no_correlation() -> None:
    x = np.array([0.1, 0.1, 0.1, 0.3])
    found = Resampled([{"x": x, "y": Y[:4]}], [Question("x", "y", (0,))])(np.array([[0, 1, 2, 0], [0, 1, 2, 3]]))
    assert np.isnan(found[:, 0]).all()
    assert np.isfinite(found[:, 1]).all()


def test_two_thousand_images_take_seconds() -> None:
    rng = np.random.default_rng(0)
    names = [f"m{i}" for i in range(8)]
    runs = [{name: rng.normal(size=2000) for name in (*names, "y")} for _ in range(2)]
    asked = [Question(name, "y", which) for name in names for which in ((0,), (1,), (0, 1))]
    began = time.process_time()
    found = over_images(runs, asked, Bootstrap(300))
    assert time.process_time() - began < 30
    assert all(one["spearman"].low is not None for one in found)


def test_intervals_over_models_cover_the_truth_about_as_often_as_they_say() -> None:
    """Models whose true means go together, each seen by noisy images."""
    hits, kept = 0, []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        true = drawn(seed, 12, 0.7)
        found = over_models(
            [(x + rng.normal(size=20), y + rng.normal(size=20)) for x, y in zip(*true)], Bootstrap(200, 0.95, 0)
        )
        one = found["pearson"]
        assert one.low is not None
        assert one.high is not None
        hits += one.low <= 0.7 <= one.high
        kept.append(one.high - one.low)
    assert 50 <= hits <= 60  # 57 of 60 are expected
    assert min(kept) > 0.1


def test_models_in_perfect_order_have_no_interval_of_no_width() -> None:
    pairs = [(np.full(20, float(i)), np.full(20, i**3.0)) for i in range(9)]
    found = over_models(pairs, FEW)["spearman"]
    assert found == Estimate(1.0, why="too many are the same")


def test_of_whole_data_sets_models_alone_are_drawn() -> None:
    x, y = drawn(4, 12, 0.8)
    found = over_models([(x[i : i + 1], y[i : i + 1]) for i in range(12)], Bootstrap(400, 0.9, 5))["pearson"]
    done = stats.bootstrap(
        (x, y), lambda a, b: stats.pearsonr(a, b).statistic, paired=True, vectorized=False, n_resamples=400,
        confidence_level=0.9, method="BCa", random_state=5,
    )  # fmt: skip
    assert (found.low, found.high) == pytest.approx(tuple(done.confidence_interval), abs=1e-9)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    hits = 0
    for seed in range(60):
        found = within([drawn(seed, 60, 0.5)], "pearson", Bootstrap(200, 0.95, seed))
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.5 <= found.high
    assert 51 <= hits <= 60  # 57 of 60 are expected


def test_over_images_several_runs_give_the_mean_of_their_own_correlations() -> None:
    """Pooled, the two runs' differing means would make a strong correlation out of none."""
    first, second = drawn(1, 50, 0.0), drawn(2, 50, 0.0)
    shifted = (second[0] + 100, second[1] + 100)
    found = within([first, shifted], "spearman", FEW)
    each = [stats.spearmanr(*pair).statistic for pair in (first, second)]
    assert found.value == pytest.approx(np.mean(each))
    assert stats.spearmanr(*(np.concatenate(sides) for sides in zip(first, shifted))).statistic > 0.7


def test_over_models_the_means_count() -> None:
    pairs = [(X + shift, Y * scale) for shift, scale in ((0, 1), (1, 2), (2, 1.5), (3, 4))]
    means = [[side.mean() for side in sides] for sides in zip(*pairs)]
    for name, of_scipy in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
        found = over_models(pairs, FEW)[name]
        assert found.value == pytest.approx(of_scipy(*means).statistic)
        assert (found.low, found.why) == (None, "4 models, and at least 8 make an interval")


def test_of_few_images_there_is_no_interval() -> None:
    x, y = drawn(0, LEAST - 1, 0.9)
    found = within([(x, y)], "spearman", FEW)
    assert found.value is not None
    assert (found.low, found.high) == (None, None)
    assert within([(x[:2], y[:2])], "spearman", FEW).value is None


def test_values_that_are_mostly_alike_still_give_an_interval_or_none_without_a_warning() -> None:
    x, y = drawn(0, 12, 0.5)
    x = np.where(np.arange(12) == 3, 1.0, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = within([(x, y)], "spearman", FEW)
    assert found.value is not None
    assert found.low is None or (math.isfinite(found.low) and found.low <= found.high)


def test_p_over_models_is_the_share_of_all_orders() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert chance(x, x**2, spearman) == pytest.approx(2 / 24)
    assert chance(np.arange(6.0), -np.arange(6.0), spearman) == pytest.approx(2 / 720)
    assert chance(x, np.ones(4), spearman) is None
    assert chance(x[:2], x[:2], spearman) is None
