"""The figures of the study of trust are scipy's, and its page says what they are, also where that is little."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

from i2am.demo.card.sources import TRUST, load
from i2am.demo.card.trust_text import trust_text
from i2am.demo.evaluate.guidance import interval
from i2am.demo.evaluate.trust.figures import deletion, difference, figures, knock_out
from i2am.demo.evaluate.trust.rows import Row
from i2am.demo.evaluate.trust.trials import (
    BLURRED,
    OTHER,
    REMOVED,
)


def test_differences_and_signs_are_scipys() -> None:
    source = np.random.default_rng(2)
    a, b = source.normal(0.3, 1, 16), source.normal(0, 1, 16)
    b[3] = a[3]
    found = difference(dict(enumerate(a)), dict(enumerate(b)))
    assert found["mean"] == pytest.approx((a - b).mean())
    assert (found["larger"], found["told"]) == (int((a > b).sum()), 15)
    assert found["p"] == pytest.approx(scipy.stats.binomtest(found["larger"], 15).pvalue)
    low, high = scipy.stats.bootstrap(
        (a - b,), np.mean, n_resamples=10_000, method="percentile", random_state=np.random.default_rng(0)
    ).confidence_interval
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert difference({0: 1.0}, {0: 1.0})["p"] == 1.0


def test_rank_correlations_are_scipys_within_each_pair() -> None:
    source = np.random.default_rng(3)
    said, measured = source.random((5, 35)), source.random((5, 35))
    inside = source.random((5, 35))
    rows = [Row(p, 0, ("foretold", "region", "reference", "G2R"), foretold=tuple(said[p])) for p in range(5)]
    rows += [Row(p, 0, ("foretold", "region", "reference", "truth, reference"), foretold=tuple(inside[p])) for p in range(5)]
    rows += [Row(p, 0, ("region", "reference", str(i)), float(measured[p, i])) for p in range(5) for i in reversed(range(35))]
    found = knock_out(rows)["regions"]["reference"]["G2R"]
    each = [float(scipy.stats.spearmanr(said[p], measured[p]).statistic) for p in range(5)]
    assert found["each"] == pytest.approx(each)
    assert {name: found[name] for name in ("mean", "low", "high")} == pytest.approx(interval(each))
    kept = inside >= 0.5 * inside.max(1, keepdims=True)
    each = [float(scipy.stats.spearmanr(said[p][kept[p]], measured[p][kept[p]]).statistic) for p in range(5)]
    assert found["inside"]["each"] == pytest.approx(each)


def test_a_pair_counts_once_however_many_noises_it_has() -> None:
    def rows(noises: dict[int, int]) -> list[Row]:
        found = []
        for pair, count in noises.items():
            for noise in range(count):
                for name, order, height in (("x", "map", 3.0), ("x", "reversed", 1.0), ("", "random", 2.0)):
                    key = ("deletion", "reference", name, order, "5", REMOVED)
                    found.append(Row(pair, noise, key, height + pair + 0.5 * noise))
                found.append(Row(pair, noise, ("deletion", "reference", "", "all", "10", REMOVED), 4.0 + pair))
        return found

    found = deletion(rows({0: 1, 1: 3}))
    assert found["maps"]["x"]["curve"]["map"] == [0.0, (3.0 + 4.5) / 2, 4.5]
    assert found["whole"]["mean"] == 4.5
    assert found["maps"]["x"]["map_minus_random"] == {"mean": 0.5, "low": 0.5, "high": 0.5, "larger": 2, "told": 2, "p": 0.5}
    assert deletion([]) == {}
    assert figures([])["deletion"] == {"reference": {}, "generated": {}}


def _told(low: float, high: float, p: float = 0.0123) -> dict[str, Any]:
    return {"mean": (low + high) / 2, "low": low, "high": high, "larger": 3, "told": 4, "p": p, "above": 2, "pairs": 4}


def _found(over_random: float, over_truth: float, mass: float) -> dict[str, Any]:
    """Figures in which everything is as clear as these lower bounds say."""
    area = {"mean": 0.125, "low": 0.1, "high": 0.15}
    differences = {name: _told(over_random, over_random + 0.02) for name in ("map_minus_random", "random_minus_reversed")}
    of = {"area": {"map": area, "reversed": area}, **differences, "map_minus_truth": _told(over_truth, over_truth + 0.02)}
    truth = {"area": {"map": area}, "map_minus_random": _told(0.1, 0.2)}
    random = {"area": {"mean": 0.0625, "low": 0.0, "high": 0.1}}
    deleted = {"random": random, "maps": {"G2R": of, "SRAM": of, "truth, reference": truth}}
    whole = {**area, "inside": 0.5, "area": 0.25, "roc": 0.875}
    layer = {
        **_told(mass, mass + 0.1),
        "names": ["a.transformer_blocks.0", "b"],
        "foretold": [0.5, 0.25],
        "change": [0.125, 0.1],
    }
    regions = {"G2R": {**_told(0.4, 0.6), "inside": {**_told(0.1, 0.2), "mean": None}}}
    setup = {"command": "python -m x", "pairs": 4, "seeds": 2, "steps": 3, "sampler": "Euler", "cfg": 1.0, "samples": 1234}
    return {
        "setup": {**setup, "sha256": "ab" * 32, "runs": 5678, "fractions": [0.25, 1.0], "blur": 8.0, "model": "edit"},
        "deletion": {"reference": deleted},
        "knock_out": {"regions": {"reference": regions}, "layer": layer, "third": {**layer, "names": ["0", "1"]}},
        "stand_ins": {by: {**of, "random": random, "whole": whole} for by in (REMOVED, OTHER, BLURRED)},
    }


def test_the_card_says_what_was_found_also_where_that_is_little() -> None:
    good, poor = trust_text(_found(0.01, 0.01, 0.4)), trust_text(_found(-0.01, -0.03, -0.4))
    assert "What G2R and SRAM show highest matters more than cells at random" in good
    assert "More than the drawn place of the garment tell G2R and SRAM, by at most 2.00 in area." in good
    assert "Regions of the reference picture are ranked best by G2R (0.50), inside of the garment alone by G2R (–)." in good
    assert "The mass of a layer tells what is lost" in good
    assert "The mass of a layer hardly tells what is lost" in trust_text(_found(0.01, 0.01, 0.1))
    assert (
        "With another garment's tokens and the blurred garment's in the place of what G2R shows, its order holds too." in good
    )
    assert "1,234 samples (SHA-256 `abababababab…`); 5,678 runs with a cut" in good
    assert "| G2R | 12.50 | 6.25 | 12.50 | +2.00 (+1.00 to +3.00) | 3 of 4 (p 0.012) |" in good
    assert (
        "| no map: the garment's mask, drawn | 12.50 | 6.25 | – | +15.00 (+10.00 to +20.00) | 3 of 4 (p 0.012) | – | – | – |"
        in good
    )
    assert "| G2R | regions of the reference picture | 0.50 (0.40 to 0.60), above 0 on 2 of 4 | – |" in good
    assert "by layer: `a` 50.0 % / 12.5; b 25.0 % / 10.0; by third of the steps: first 50.0 % / 12.5" in good
    assert "| those of another garment | 12.50 | 6.25 |" in good
    assert "| 12.50 | 50 % | 25 % | 0.88 |" in good
    assert "What G2R" not in poor
    assert "Of G2R and SRAM that cannot be said. None of them tells more than the drawn place of the garment alone." in poor
    assert "The mass of a third of the steps tells the contrary of what is lost" in poor
    assert "the order of G2R does not hold" in poor
    few = _found(0.01, -0.01, 0.4)
    few["deletion"]["reference"]["maps"]["SRAM"] = {
        **few["deletion"]["reference"]["maps"]["SRAM"],
        "random_minus_reversed": _told(0.01, 0.03, 0.21),
    }
    assert "What G2R shows highest" in trust_text(few)
    assert "SRAM hardly tells: on average it is so, but not on enough of the pairs." in trust_text(few)
    unknown = _found(0.01, -0.01, -0.05)
    assert "The mass of a layer does not tell what is lost" in trust_text(unknown)
    assert "cannot order layers" not in trust_text(unknown)
    unknown["knock_out"]["layer"]["foretold"] = [0.99, 0.999]
    assert "its mass is all but even and cannot order layers or steps" in trust_text(unknown)
    even = _found(0.01, -0.01, 0.5)
    even["knock_out"]["layer"]["foretold"] = [0.5, 0.48]
    assert "The mass of a layer is all but the same for each and does not tell what is lost" in trust_text(even)


def test_the_committed_studies_are_of_their_models_and_whole() -> None:
    assert TRUST
    for name, path in TRUST.items():
        found = load(path)
        assert found, f"{path.name} is not there"
        setup = found["setup"]
        assert setup["model"] == name
        assert (setup["pairs"], setup["seeds"], len(setup["fractions"])) == (16, 3, 5)
        for side in ("reference", "generated"):
            for of in found["deletion"][side]["maps"].values():
                assert all(len(values) == 16 for values in of["pairs"].values())
