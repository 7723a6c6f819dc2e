"""The study of trust: planted models whose order is known, runs that equal the library's own, and stops."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import Tensor

from i2am.demo.card.trust_text import trust_text
from i2am.demo.cause import EditRuns, TryOnRuns
from i2am.demo.evaluate.trust import study as study_file
from i2am.demo.evaluate.trust import trials
from i2am.demo.evaluate.trust.case import Uncut, baseline
from i2am.demo.evaluate.trust.edit import EditCase, StudiedEdit
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
