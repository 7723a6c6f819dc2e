"""Workflow 05's comparison: shares and intervals counted by hand, the pairing of the runs, and the words of the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from i2am.demo.card.guidance_text import FEWEST, guidance_text, verdict
from i2am.demo.evaluate import guidance
from i2am.demo.evaluate.cases import case_of
from i2am.demo.evaluate.guidance import SIDES, compare, inside, interval, main, summary
from i2am.demo.recording import recording_of
from i2am.drawn.seeds import HELD_OUT, SHARD
from i2am.levels.choice import Choice
from i2am.levels.heat import Heat
from i2am.levels.marginal import ulam
from i2am.models.demo.tryon import DemoModel, try_on
from i2am.scores.imacs import imacs

SEEDS, STEPS = [HELD_OUT + 3, HELD_OUT + 4], 3
LEFT = torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 2)


@pytest.fixture(scope="module")
def model() -> DemoModel:
    return DemoModel.untrained()


def heat_of(values: list[list[float]]) -> Heat:
    return Heat(torch.tensor([values]), "R2G", "generated", "ULAM", ("",), (2, 4))


# ----------------------------------------------------------------------------------------------------- by hand


def test_share_area_and_contrast() -> None:
    heat = heat_of([[12.0, 7.0, 6.0, 5.0], [4.5, 2.0, 9.5, 3.0]])
    found = inside(heat, LEFT)
    assert found.share == pytest.approx((12 + 7 + 4.5 + 2) / 49)
    assert found.area == 0.5
    assert found.contrast == pytest.approx((12 - 2) / (49 / 8))
    ratio = imacs(heat, LEFT).mass_ratio
    assert ratio is not None
    assert found.share / found.area == pytest.approx(ratio)


def test_a_flat_map_has_a_share_though_no_score() -> None:
    heat, mask = heat_of([[2.0] * 4] * 2), torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 2)
    assert imacs(heat, mask).mass_ratio is None
    found = inside(heat, mask)
    assert (found.share, found.area, found.contrast) == (0.25, 0.25, 0.0)


def test_interval_by_hand() -> None:
    # the mean of a resample of five 0 and one 6 is how often the 6 was drawn, Binomial(6, 1/6):
    # P(0) = .335, P(<= 1) = .737, P(<= 2) = .938, P(<= 3) = .991
    values = [0.0, 0.0, 6.0, 0.0, 0.0, 0.0]
    assert interval(values) == {"mean": 1.0, "low": 0.0, "high": 3.0}
    assert interval(values, level=0.5) == {"mean": 1.0, "low": 0.0, "high": 2.0}
    assert interval([0.25] * 5) == {"mean": 0.25, "low": 0.25, "high": 0.25}
    with pytest.raises(ValueError, match="no values"):
        interval([])


def test_interval_is_seeded() -> None:
    values = torch.randn(24, generator=torch.Generator().manual_seed(0)).tolist()
    one = interval(values)
    assert one == interval(values)
    assert one != interval(values, seed=1)
    assert one["low"] < one["mean"] < one["high"]
    # of a mean of 24 standard normal values: 2 * 1.96 / sqrt(24) = 0.80, as far as their own spread goes
    assert one["high"] - one["low"] == pytest.approx(0.80, rel=0.35)


# ----------------------------------------------------------------------------------------------------- the runs


def test_runs_of_a_seed_differ_in_cfg_alone(model: DemoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def watched(model: DemoModel, **given: Any) -> torch.Tensor:
        calls.append(given)
        return try_on(model, **given)

    monkeypatch.setattr(guidance, "try_on", watched)
    ticks: list[int] = []
    file = tmp_path / "new" / "guidance.json"
    figures = compare(model, SEEDS, STEPS, file=file, on_step=lambda: ticks.append(1))
    assert len(ticks) == 2 * 2 * STEPS
    assert [(c["cfg"], c["seeds"]) for c in calls] == [(cfg, [seed]) for seed in SEEDS for cfg in (1.0, 5.0)]
    for weak, strong in (calls[:2], calls[2:]):
        assert all(torch.equal(weak[k], strong[k]) for k in ("agnostic", "densepose", "reference"))

    written = json.loads(file.read_text())
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert written["setup"]["seeds"] == SEEDS
    assert written["setup"]["complete"] is True
    assert [row["seed"] for row in written["per_seed"]] == SEEDS
    for side in SIDES:
        rows = [row[side] for row in figures["per_seed"]]
        assert [r["difference"] for r in rows] == [r["cfg_5"] - r["cfg_1"] for r in rows]
        assert all(r["cfg_5"] != r["cfg_1"] for r in rows)
        mean = sum(r["difference"] for r in rows) / 2
        assert figures["summary"][side]["difference"]["mean"] == pytest.approx(mean)
        assert written["summary"][side]["difference"]["mean"] == pytest.approx(mean, rel=1e-4)
    assert f"{len(SEEDS)} held-out persons" in guidance_text(written)
    _check_one(model, figures["per_seed"][1])


def _check_one(model: DemoModel, row: dict[str, Any]) -> None:
    """The last seed's guided run done again, apart: its maps, and the mask of each picture."""
    case = case_of("unpaired", [SEEDS[1]])
    recording = recording_of(model, images=1, steps=STEPS, cfg=5.0, pairwise=None)
    with recording:
        known = {"agnostic": case.shown.agnostic, "densepose": case.shown.densepose}
        try_on(model, reference=case.truth.reference, seeds=case.seeds, steps=STEPS, cfg=5.0, **known)
    for side, mask in (("R2G-balanced", case.shown.inpaint_mask), ("G2R", case.truth.reference_mask)):
        score = imacs(ulam(recording.maps, side, Choice(branch="cond")), mask[0, 0])
        assert score.mass_ratio is not None
        assert row[side]["area"] == pytest.approx(float(mask.mean()))
        assert row[side]["cfg_5"] == pytest.approx(score.mass_ratio * float(mask.mean()), rel=1e-5)
    assert row["mass"]["contrast"] > 0  # over placed tokens: over all keys it is 1 everywhere


def test_an_interruption_keeps_what_was_measured(
    model: DemoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stopped(case: str, seeds: list[int]) -> Any:
        if seeds[0] > HELD_OUT:
            raise KeyboardInterrupt
        return case_of(case, seeds)

    monkeypatch.setattr(guidance, "case_of", stopped)
    monkeypatch.setattr(DemoModel, "load", lambda: model)
    file = tmp_path / "guidance.json"
    assert main(["--seeds", "2", "--steps", "1", "--json", str(file)]) == 130
    assert "interrupted" in caplog.text
    written = json.loads(file.read_text())
    assert [row["seed"] for row in written["per_seed"]] == [HELD_OUT]
    assert written["setup"]["complete"] is False


def test_refused_are_seeds_of_training_and_too_few(model: DemoModel) -> None:
    with pytest.raises(ValueError, match="belongs to training"):
        compare(model, [HELD_OUT - 1], STEPS)
    trained = DemoModel(model.unet, model.vae, model.encoder, model.scheduler, {"shards": HELD_OUT // SHARD + 1})
    with pytest.raises(ValueError, match="belongs to training"):
        compare(trained, [HELD_OUT], STEPS)
    with pytest.raises(ValueError, match="no seeds"):
        compare(model, [], STEPS)
    for wrong in (["--seeds", "1"], ["--steps", "0"], ["--threads", "0"]):
        with pytest.raises(SystemExit):
            main(wrong)


# ----------------------------------------------------------------------------------------------------- the words


def figures_of(pairs: int = 24, contrast: float = 2.0, **shift: float) -> dict[str, Any]:
    """Figures whose differences scatter by 0.01 about each side's shift."""
    per_seed = []
    for i in range(pairs):
        row: dict[str, Any] = {"seed": HELD_OUT + i}
        for side in SIDES:
            d = shift.get(side.replace("-", "_"), 0.0) + (0.01 if i % 2 else -0.01)
            row[side] = {"cfg_1": 0.5, "cfg_5": 0.5 + d, "difference": d, "area": 0.25, "contrast": contrast}
        per_seed.append(row)
    setup = {"samples": 61008, "steps": 50, "cfgs": [1.0, 5.0], "interval": {"level": 0.95}}
    return {"setup": setup, "summary": summary(per_seed), "per_seed": per_seed}


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.1, 0.2, "raises"), (-0.2, -0.1, "lowers"), (-0.1, 0.2, "does not change"), (0.0, 0.2, "does not change")],
)
def test_verdict(low: float, high: float, word: str) -> None:
    assert verdict({"mean": (low + high) / 2, "low": low, "high": high}) == word


def test_the_answer_follows_from_the_intervals() -> None:
    text = guidance_text(figures_of(mass=0.05, R2G_balanced=-0.05, R2G=-0.05))
    assert (
        "**Against cfg 1, cfg 5 raises the share of mass inside its mask, lowers the share of R2G-balanced and R2G inside "
        "their masks and does not change the share of G2R inside its mask as far as 24 pairs can tell.**"
    ) in text
    assert "| mass, inpainting mask | 25.0 % | 50.0 % (50.0 to 50.0) | 55.0 % (" in text
    assert "| +5.00 (+4." in text
    assert "| −5.00 (−5." in text
    assert "| G2R, reference mask |" in text
    assert "even" not in text
    swapped = guidance_text(figures_of(mass=-0.05, G2R=0.05))
    assert "raises the share of G2R inside its mask, lowers the share of mass inside" in swapped
    assert "raises the share of mass, R2G-balanced, R2G and G2R inside their masks.**" in guidance_text(
        figures_of(mass=0.05, R2G_balanced=0.05, R2G=0.05, G2R=0.05)
    )


def test_small_differences_are_not_shown_as_none() -> None:
    figures = figures_of()
    figures["summary"]["mass"]["difference"] = {"mean": -0.000012, "low": -0.00003, "high": -0.000004}
    assert "| −0.001 (−0.003 to −0.0004) |" in guidance_text(figures)
    assert "lowers the share of mass inside its mask" in guidance_text(figures)
    figures["summary"]["mass"]["difference"] = {"mean": -1.2e-7, "low": -2e-6, "high": 2e-6}
    assert "| −0.00001 (−0.0002 to +0.0002) |" in guidance_text(figures)


def test_few_pairs_give_no_answer() -> None:
    text = guidance_text(figures_of(pairs=FEWEST - 1, mass=0.05))
    assert "19 pairs are too few for an answer" in text
    assert "raises" not in text
    assert "raises" in guidance_text(figures_of(pairs=FEWEST, mass=0.05))


def test_a_map_that_is_all_but_even_is_said_to_be() -> None:
    figures = figures_of(mass=0.05)
    figures["summary"]["mass"]["contrast"] = 0.0016
    text = guidance_text(figures)
    assert "The mass map is all but even, its highest value only 0.16 % of its mean above its lowest" in text
    assert "The G2R map" not in text
