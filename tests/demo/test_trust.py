"""The study of trust: planted models whose order is known, runs that equal the library's own, stops, and statistics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.integrate import trapezoid
from torch import Tensor

from i2am.demo.card.sources import TRUST, load
from i2am.demo.card.trust_text import trust_text
from i2am.demo.cause import EditRuns, TryOnRuns
from i2am.demo.evaluate.guidance import interval
from i2am.demo.evaluate.trust import study as study_file
from i2am.demo.evaluate.trust import trials
from i2am.demo.evaluate.trust.case import Uncut, baseline
from i2am.demo.evaluate.trust.edit import EditCase, StudiedEdit
from i2am.demo.evaluate.trust.figures import deletion, difference, figures, knock_out
from i2am.demo.evaluate.trust.rows import Row, Rows
from i2am.demo.evaluate.trust.study import main, study
from i2am.demo.evaluate.trust.trials import (
    BLURRED,
    OTHER,
    REMOVED,
    Trial,
    deletion_trials,
    knock_out_trials,
    regions,
    stand_in_trials,
)
from i2am.demo.evaluate.trust.tryon import StudiedTryOn, TryOnCase
from i2am.geometry.layout import TokenGrid
from i2am.interventions.plan import Cut
from i2am.interventions.removal import cells_in

STEPS = 3


@pytest.fixture(scope="module")
def edit() -> StudiedEdit:
    return StudiedEdit(STEPS)


@pytest.fixture(scope="module")
def edit_case(edit: StudiedEdit) -> tuple[EditCase, Uncut]:
    case = edit.case(0, 1)
    return case, case.uncut()


@pytest.fixture(scope="module")
def tryon_case() -> tuple[TryOnCase, Uncut]:
    case = StudiedTryOn(STEPS).case(0, 1)
    return case, case.uncut()


# ------------------------------------------------------------------------------------- a model whose order is known

GRID, SEEN = (20, 14), (16, 12)


class PlantedCase:
    """The picture changes by the planted weight of what is cut; a stand-in changes it half as much.

    Cells of the reference and of the generated picture have weights of their own, drawn from the pair. All layers change it
    alike, later thirds more.
    """

    reference = 1

    def __init__(self, uncut: Uncut, pair: int, sign: float) -> None:
        source = torch.Generator().manual_seed(pair)
        self.weights = {"reference": torch.rand(GRID, generator=source), "generated": torch.rand(SEEN, generator=source)}
        self._uncut, self._sign = uncut, sign
        self.made: list[Trial] = []

    def uncut(self) -> Uncut:
        heats = {}
        for name, side in (("G2R", "reference"), ("R2G", "generated")):
            of = self._uncut.heats[name]
            heats[name] = replace(of, values=self._sign * self.weights[side][None])
            truth = f"truth, {side}"
            heats[truth] = self._uncut.heats[truth]
        return replace(self._uncut, heats=heats)

    def make(self, batch: Sequence[Trial]) -> Tensor:
        self.made += batch
        return torch.stack([self._uncut.picture + self._change(one) for one in batch])

    def _change(self, trial: Trial) -> Tensor:
        cut, half = trial.cut, 1 if trial.by == REMOVED else 0.5
        if cut.layers is not None or cut.steps is not None:
            return torch.full_like(self._uncut.picture, 0.01 * (1 + (cut.steps or (5, 0))[0]))
        on, mask = ("reference", cut.region) if cut.where is None else ("generated", cut.where)
        weights = self.weights[on]
        assert isinstance(mask, Tensor)
        chosen = cells_in(mask, TokenGrid(*weights.shape), "it")
        return half * weights.flatten()[chosen].sum() / 1000 * self._uncut.truth[None]


class Planted:
    """See `PlantedCase`; ends with an interrupt after so many batches."""

    name, steps = "planted", STEPS

    def __init__(self, uncut: Uncut, sign: float = 1.0, batches: float = float("inf")) -> None:
        self._uncut, self._sign, self.batches = uncut, sign, batches
        self.made: list[tuple[int, int, trials.Key]] = []

    def about(self) -> dict[str, Any]:
        return {"sha256": "none", "samples": 0}

    def case(self, pair: int, noise: int) -> PlantedCase:
        case, make = PlantedCase(self._uncut, pair, self._sign), PlantedCase.make

        def counted(batch: Sequence[Trial]) -> Tensor:
            if self.batches < 1:
                raise KeyboardInterrupt
            self.batches -= 1
            self.made += [(pair, noise, one.key) for one in batch]
            return make(case, batch)

        case.make = counted  # type: ignore[method-assign]
        return case


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["the best order", "the worst order"])
def test_a_planted_order_is_told_on_every_pair(edit_case: tuple[EditCase, Uncut], tmp_path: Path, sign: float) -> None:
    found = study(Planted(edit_case[1], sign), 6, 2, tmp_path, batch=64, progress=False)
    for side, name in (("reference", "G2R"), ("generated", "R2G")):
        of = found["deletion"][side]["maps"][name]
        for which in ("map_minus_random", "random_minus_reversed", "map_minus_reversed"):
            apart = of[which]
            assert sign * apart["mean"] > 0, which
            assert sign * apart["low"] > 0, which
            assert apart["larger"] == (6 if sign > 0 else 0)
            assert apart["p"] == pytest.approx(2 / 2**6, rel=1e-4)
        told = found["knock_out"]["regions"][side][name]
        assert told["mean"] == pytest.approx(sign)
        assert told["above"] == (6 if sign > 0 else 0)
        assert told["inside"]["mean"] == pytest.approx(sign)
    half = {by: found["stand_ins"][by]["area"]["map"]["mean"] for by in (OTHER, BLURRED)}
    assert half == {by: pytest.approx(found["stand_ins"][REMOVED]["area"]["map"]["mean"] / 2, rel=1e-3) for by in half}
    assert found["stand_ins"][OTHER]["whole"]["roc"] == 1.0
    assert found["stand_ins"][OTHER]["whole"]["inside"] == 1.0
    assert found["knock_out"]["third"]["change"] == pytest.approx([0.01, 0.02, 0.03], rel=1e-3)
    assert found["knock_out"]["layer"]["mean"] is None  # all layers changed it alike
    assert len(found["knock_out"]["layer"]["names"]) == 6


def test_the_planted_curve_is_that_of_sorted_weights(edit_case: tuple[EditCase, Uncut], tmp_path: Path) -> None:
    uncut = edit_case[1]
    found = study(Planted(uncut), 2, 1, tmp_path, progress=False)["deletion"]["reference"]["maps"]["G2R"]
    share = float(uncut.truth.mean())
    counts = [0, 28, 70, 140, 210, 280]
    for order, down in (("map", True), ("reversed", False)):
        curves, areas = [], []
        for pair in range(2):
            weights = PlantedCase(uncut, pair, 1.0).weights["reference"].flatten().sort(descending=down).values
            sums = torch.cat([torch.zeros(1), weights.cumsum(0)])[counts] / 1000 * share
            curves.append(sums.numpy())
            areas.append(trapezoid(sums.numpy(), np.array(counts) / 280))
        assert found["curve"][order] == pytest.approx(np.mean(curves, 0), rel=1e-3)
        assert found["pairs"][order] == pytest.approx(areas, rel=1e-3)
        assert found["area"][order]["mean"] == pytest.approx(np.mean(areas), rel=1e-3)


# ------------------------------------------------------------------------------------------- stopped and begun again


def test_a_study_that_was_stopped_goes_on_and_counts_nothing_twice(edit_case: tuple[EditCase, Uncut], tmp_path: Path) -> None:
    uncut = edit_case[1]
    whole = study(Planted(uncut), 3, 2, tmp_path / "whole", progress=False)
    made: list[tuple[int, int, trials.Key]] = []
    for batches in (1, 7, 20, 25):
        model = Planted(uncut, batches=batches)
        with pytest.raises(KeyboardInterrupt):
            study(model, 3, 2, tmp_path / "parts", progress=False)
        made += model.made
        file = next((tmp_path / "parts").glob("*.jsonl"))
        with file.open("a", encoding="utf-8") as torn:  # as by the end of the process in the middle of a line
            torn.write('{"pair": 2, "noise": 1, "key": ["dele')
    last = Planted(uncut)
    found = study(last, 3, 2, tmp_path / "parts", progress=False)
    made += last.made
    assert len(made) == len(set(made)) > len(last.made)
    for one in (whole, found):
        del one["setup"]["seconds"]
    assert found == whole
    again = Planted(uncut, batches=0)
    rest = study(again, 3, 2, tmp_path / "parts", progress=False)
    del rest["setup"]["seconds"]
    assert rest == whole
    more = Planted(uncut)
    study(more, 4, 2, tmp_path / "parts", progress=False)
    assert {place[0] for place in more.made} == {3}


def test_rows_of_other_weights_or_steps_are_not_taken_up(tmp_path: Path) -> None:
    rows = Rows(tmp_path, {"model": "a", "steps": 2})
    rows.add([Row(0, 0, ("layer", "x"), 0.5)])
    rows.add([Row(0, 0, ("layer", "x"), 0.75), Row(0, 1, ("layer", "x"), 0.25)])
    assert [row.mean for row in Rows(tmp_path, {"model": "a", "steps": 2}).found.values()] == [0.5, 0.25]
    assert not Rows(tmp_path, {"model": "a", "steps": 3}).found


# --------------------------------------------------------------------------------------------------- real, end to end


@pytest.mark.parametrize("name", ["edit", "tryon"])
def test_the_command_measures_a_real_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "FRACTIONS", (0.5, 1.0))
    monkeypatch.setattr(trials, "BLOCKS", {"reference": (2, 2), "generated": (2, 2)})
    file, units = tmp_path / "found.json", tmp_path / "units"
    given = ["--model", name, "--pairs", "2", "--steps", "2", "--seeds", "1", "--units", str(units), "--json", str(file)]
    assert main(given) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["setup"]["pairs"] == 2
    assert found["setup"]["command"].endswith(f"--model {name} --pairs 2 --steps 2 --seeds 1")
    maps = found["deletion"]["generated"]["maps"].keys() | found["deletion"]["reference"]["maps"].keys()
    assert {"G2R", "SRAM", "R2G", "R2G-balanced", "mirror", "truth, reference", "truth, generated"} <= maps
    assert ({"mass", "share", "which reference"} <= maps) == (name == "edit")
    deleted = found["deletion"]["reference"]["maps"]["G2R"]
    assert deleted["map_minus_reversed"]["larger"] == 2
    assert len(deleted["pairs"]["map"]) == 2
    assert found["stand_ins"][BLURRED]["whole"]["roc"] > 0.8
    assert len(found["knock_out"]["layer"]["foretold"]) == {"edit": 6, "tryon": 7}[name]
    written = file.read_bytes()
    assert main(given) == 0
    assert file.read_bytes() == written
    assert "G2R" in trust_text(found)


CUTS = {
    "region": Cut(region=torch.tensor([[1.0, 0.0], [0.0, 0.0]])),
    "where": Cut(route="generated", where=torch.tensor([[0.0, 0.0], [0.0, 1.0]])),
    "layer": Cut(route="generated", layers=("*.1*",)),
    "third": Cut(route="generated", steps=(1, 2)),
}


def _cut(name: str, reference: int) -> Cut:
    """A cut whose masks have the shapes of their pictures."""
    cut = replace(CUTS[name], reference=reference)
    if cut.region is not None:
        return replace(cut, region=torch.ones(160, 112) * (torch.arange(160) < 80)[:, None])
    return replace(cut, where=torch.ones(128, 96) * (torch.arange(96) < 50)[None]) if cut.where is not None else cut


def test_each_run_of_a_batch_is_that_of_the_librarys_own_cut(
    edit: StudiedEdit, edit_case: tuple[EditCase, Uncut], tryon_case: tuple[TryOnCase, Uncut]
) -> None:
    on_edit, before = edit_case
    own: list[tuple[Any, Uncut, Any]] = [
        (on_edit, before, EditRuns(edit.tryon, on_edit._case, on_edit._seed, STEPS)),
    ]
    on_tryon, before = tryon_case
    case = replace(on_tryon._case, seed=on_tryon._seed)
    own.append((on_tryon, before, TryOnRuns(on_tryon._model, case, STEPS)))
    for of, uncut, runs in own:
        batch = [Trial((name,), _cut(name, of.reference)) for name in CUTS]
        made = of.make(batch)
        assert torch.equal(runs.run().latent[0].movedim(-1, 0), uncut.picture)
        for trial, picture in zip(batch, made, strict=True):
            expected = runs.run(trial.cut).latent[0].movedim(-1, 0)
            assert float((expected - uncut.picture).abs().mean()) > 1e-3, trial.key
            assert float((expected - picture).abs().max()) < 5e-5, trial.key


def test_all_replaced_by_another_garment_is_the_run_with_that_garment(
    edit_case: tuple[EditCase, Uncut], tryon_case: tuple[TryOnCase, Uncut]
) -> None:
    """But for the generated tokens of the try-on model, whose leading token stays."""
    case, uncut = edit_case
    everything = Cut("reference", 1, region=torch.ones(160, 112))
    found = case.make([Trial(("all",), everything, OTHER)])
    wanted = case._tryon.edit(case._person, case._garments[OTHER], [case._seed], steps=STEPS)
    assert float((found - wanted).abs().max()) < 5e-5
    assert float((found - uncut.picture).abs().mean()) > 1e-2
    on_tryon, uncut = tryon_case
    whole = Cut(region=torch.ones(160, 112))
    mixed = on_tryon._context(Trial(("all",), whole, BLURRED))
    assert torch.equal(mixed[:, 1:], on_tryon._tokens[BLURRED][:, 1:])
    assert torch.equal(mixed[:, :1], on_tryon._tokens[REMOVED][:, :1])
    half = on_tryon._context(Trial(("half",), _cut("region", 0), OTHER))
    assert torch.equal(half[:, 1:141], on_tryon._tokens[OTHER][:, 1:141])
    assert torch.equal(half[:, 141:], on_tryon._tokens[REMOVED][:, 141:])


# ------------------------------------------------------------------------------------------------------------ trials


def test_orders_cut_equal_numbers_of_cells_and_share_what_is_equal(tryon_case: tuple[TryOnCase, Uncut]) -> None:
    heats = tryon_case[1].heats
    found = [*deletion_trials(heats, 0, 7)]
    random = [one.key for one in found if one.key[3] == "random"]
    assert random == [
        ("deletion", on, "", "random", str(n), REMOVED)
        for on, of in (("reference", (28, 70, 140, 210)), ("generated", (19, 48, 96, 144)))
        for n in of
    ]
    assert sum(one.key[3] == "all" for one in found) == 2
    assert len({one.key for one in found}) == len(found) == 58
    for one in found:
        mask, grid = (one.cut.region, (20, 14)) if one.cut.where is None else (one.cut.where, (16, 12))
        assert len(cells_in(mask, TokenGrid(*grid), "it")) == int(one.key[4])
        if one.cut.where is not None:  # a finer layer loses as many of its cells
            assert len(cells_in(mask, TokenGrid(32, 24), "it")) == 4 * int(one.key[4])
    again = [*deletion_trials(heats, 0, 7)]
    assert [one.makes for one in again] == [one.makes for one in found]
    other = {one.key: one.makes for one in deletion_trials(heats, 0, 8)}
    differ = {one.key[3] for one in found if other[one.key] != one.makes}
    assert differ == {"random"}
    stand_ins = [*stand_in_trials(heats["G2R"], 0, 7)]
    removed = {one.key: one.makes for one in found}
    for one in stand_ins:
        assert one.makes[1:] == removed[(*one.key[:5], REMOVED)][1:]
    assert {one.by for one in stand_ins} == {OTHER, BLURRED}


def test_regions_tile_the_picture_and_layers_and_thirds_are_cut_one_at_a_time(tryon_case: tuple[TryOnCase, Uncut]) -> None:
    heats = tryon_case[1].heats
    for name, count in (("G2R", 35), ("R2G", 32)):
        tiles = regions(heats[name])
        assert len(tiles) == count
        assert torch.equal(tiles.sum(0), torch.ones(heats[name].values.shape[1:]))
        assert len({float(tile.sum()) for tile in tiles}) == 1
    layers = tuple(layer.name for layer in tryon_case[1].maps.layers)
    found = [*knock_out_trials(heats, layers, 0, 6)]
    assert len(found) == 35 + 32 + 7 + 3
    assert [one.cut.steps for one in found if one.key[0] == "third"] == [(0, 2), (2, 4), (4, 6)]
    assert [one.cut.layers for one in found if one.key[0] == "layer"] == [(name,) for name in layers]
    assert len({one.makes for one in found}) == len(found)


def test_the_truth_as_a_map_orders_by_how_much_is_covered() -> None:
    mask = torch.zeros(8, 8)
    mask[:4, :4], mask[4:6, 4:] = 1, 1
    values = baseline(mask, (2, 2), "reference").values[0]
    assert values.argsort(descending=True, dim=-1).tolist()[0] == [0, 1]
    assert values.flatten().round(decimals=2).tolist() == [1.0, 0.0, 0.0, 0.5]
    assert len(values.unique()) == 4


# -------------------------------------------------------------------------------------------------------- statistics


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


# ------------------------------------------------------------------------------------------------- the command, the card


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--model", "flux"], "invalid choice: 'flux'"),
        (["--pairs", "1"], "a whole number, 2 or more"),
        (["--steps", "0"], "a whole number, 1 to 1000"),
        (["--seeds", "none"], "a whole number, 1 or more"),
        (["--batch", "0"], "a whole number, 1 or more"),
    ],
)
def test_bad_options_are_refused(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(given)
    assert said in capsys.readouterr().err


def test_missing_weights_and_an_interrupt_end_with_their_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--model", "edit", "--weights", str(tmp_path)]) == 2

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study_file, "study", stopped)
    assert main(["--json", str(tmp_path / "x.json")]) == 130
    assert not (tmp_path / "x.json").exists()


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
        if not found:
            continue
        setup = found["setup"]
        assert setup["model"] == name
        assert (setup["pairs"], setup["seeds"], len(setup["fractions"])) == (16, 3, 5)
        for side in ("reference", "generated"):
            for of in found["deletion"][side]["maps"].values():
                assert all(len(values) == 16 for values in of["pairs"].values())
