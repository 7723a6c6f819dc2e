"""The measuring of the edit model, on planted attention and pictures whose figures are known beforehand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from i2am.demo.edit_model import PARTS, EditTryOn
from i2am.demo.evaluate.edit.cases import FIRST_CHOICE, EditBatch, Truth, check_apart
from i2am.demo.evaluate.edit.changes import CUTS, RUNS, change_figures
from i2am.demo.evaluate.edit.pictures import EFFECT, QUALITY, effect, effect_figures, quality, quality_figures, regions
from i2am.demo.evaluate.edit.pointing import NAMED, own_places, peaks_of, pointing_figures
from i2am.demo.evaluate.edit.share import (
    SETS,
    Agreement,
    choice_figures,
    mean_garment,
    share_figures,
    share_map,
    shares_of,
    where_missed,
)
from i2am.demo.evaluate.edit.whole import main
from i2am.demo.evaluate.edit.work import Plan, is_done
from i2am.demo.evaluate.reader import Reader
from i2am.demo.train.edit import watch
from i2am.demo.train.edit.shards import load_vae
from i2am.demo.train.edit.start import untrained
from i2am.drawn.groups import GARMENTS, held_out_groups
from i2am.drawn.seeds import is_held_out
from i2am.evaluation.samplers.edit_recording import EditRecording
from i2am.levels.choice import Choice
from i2am.levels.share import which_reference
from i2am.maps.value import AttributionMaps
from i2am.models.edit.calls import sequence
from i2am.models.edit.family import BLOCKS, GARMENT_GRID, GRID, LATE, TAUGHT

SEEDS = held_out_groups(5000, 2)
TOKENS = GRID[0] * GRID[1]


@pytest.fixture(scope="module")
def case() -> EditBatch:
    return EditBatch.draw(SEEDS)


@pytest.fixture(scope="module")
def truth(case: EditBatch) -> Truth:
    return Truth.of(case.edits)


def planted(truth: Truth, inverted: tuple[str, ...] = (), off: int = 0) -> AttributionMaps:
    """A recorded run whose garment patches look ``off`` columns beside home, and all others at the person's same place.

    In blocks that are ``inverted`` each patch looks at the other reference.
    """
    spans = {span.name: span.start for span in sequence().spans}
    at = truth.token.clone()
    at[..., 1] = torch.where(at[..., 1] + off < GARMENT_GRID[1], at[..., 1] + off, at[..., 1] - off)
    on_garment = spans["garment"] + at[..., 0] * GARMENT_GRID[1] + at[..., 1]
    on_person = (spans["person"] + torch.arange(TOKENS)).expand_as(on_garment)
    keys = torch.nn.functional.normalize(torch.randn(sequence().keys, 64, generator=torch.Generator().manual_seed(0)), dim=-1)
    recording = EditRecording(len(truth.garment), steps=1)
    k = keys.expand(len(truth.garment), 2, -1, -1)
    for name in BLOCKS:
        target = torch.where(truth.garment ^ (name in inverted), on_garment, on_person)
        q = 300 * keys[target][:, None].expand(-1, 2, -1, -1)
        if name != BLOCKS[-1]:  # the others have queries of every token
            whole = k.clone()
            whole[:, :, spans["generated"] : spans["generated"] + TOKENS] = q
            q = whole
        recording.attend(name, q, k, k)
    recording.on_step(1)
    return recording.finish()


def test_planted_attention_has_the_figures_that_it_was_planted_with(truth: Truth) -> None:
    early = tuple(name for name in BLOCKS if name not in LATE)
    maps = planted(truth, inverted=early)
    shares = shares_of(maps)
    guess = torch.full((TOKENS,), 0.25)
    figures = share_figures(shares, truth, guess)
    for name in ("default", "taught"):
        assert figures[name]["roc"] == figures[name]["iou"] == figures[name]["right"] == 1.0
    assert figures["default"]["inside"] == pytest.approx(1, abs=1e-3)
    for name in BLOCKS:
        assert figures["by_block"][name]["roc"] == (0.0 if name in early else 1.0)
    assert figures["baselines"]["mean_garment"]["roc"] == 0.5
    assert figures["where_mean_garment_errs"]["default"]["patches"] == int(truth.garment.sum())
    assert figures["spent"]["single.3"]["garment"]["garment"] > 0.99
    assert figures["spent"]["double.0"]["garment"]["person"] > 0.99
    found = choice_figures(shares, truth)
    assert found["candidates"]["last 3"]["roc"] == 1.0
    assert found["candidates"]["last 6"]["roc"] < 1.0
    assert found["best"] in ("last 1", "last 2", "last 3")

    points = pointing_figures(peaks_of(maps), truth)
    assert points["default"]["garment"] == {"within_1": 1.0, "within_2": 1.0, "cells": int(truth.garment.sum()), "pairs": 2}
    assert points["default"]["person"]["within_1"] == 1.0
    assert points["by_block"]["double.0"]["person"]["within_1"] < 0.5  # there they look at the garment
    assert 0.01 < points["baselines"]["chance"]["person"]["within_1"] < 0.05
    assert points["baselines"]["chance"]["garment"]["within_1"] < points["baselines"]["same_place"]["garment"]["within_1"] < 1


@pytest.mark.parametrize(("off", "near_1", "near_2"), [(1, 1.0, 1.0), (2, 0.0, 1.0), (3, 0.0, 0.0)])
def test_peaks_beside_home(truth: Truth, off: int, near_1: float, near_2: float) -> None:
    points = pointing_figures(peaks_of(planted(truth, off=off)), truth)["taught"]["garment"]
    assert (points["within_1"], points["within_2"]) == (near_1, near_2)


def test_the_share_map_is_that_of_the_levels(truth: Truth) -> None:
    maps = planted(truth, inverted=("double.1", "single.2"))
    shares = shares_of(maps)
    assert torch.allclose(shares.sum(2), torch.ones_like(shares[:, :, 0]), atol=1e-5)
    for blocks in SETS.values():
        for image in range(2):
            heat = which_reference(maps, Choice(layers=blocks, image=image))
            assert heat.labels == PARTS[:2]
            assert torch.allclose(share_map(shares, blocks)[image], heat.values[1].flatten(), atol=1e-6)


def test_agreement_by_hand() -> None:
    garment = torch.tensor([[True, True, False, False, False, False]])
    person = torch.tensor([[False, False, True, True, True, False]])
    one = Truth(garment, person, torch.zeros(1, 6, 2, dtype=torch.long))
    agreement = Agreement(torch.tensor([[0.9, 0.4, 0.5, 0.2, 0.1, 1.0]]), one)
    assert agreement.roc() == pytest.approx(5 / 6)
    assert agreement.iou() == pytest.approx(1 / 3)
    assert agreement.iou(0.4) == pytest.approx(2 / 3)
    assert agreement.right() == pytest.approx(3 / 5)
    assert mean_garment(one).tolist() == [1, 1, 0, 0, 0, 0]
    missed = where_missed(one, torch.tensor([0.6, 0.4, 0.6, 0.4, 0.4, 0.9]))
    assert missed.garment.tolist() == [[False, True, False, False, False, False]]
    assert missed.person.tolist() == [[False, False, True, False, False, False]]
    two = Truth.joined([one, one])
    both = Agreement(torch.cat([agreement.values, 1 - agreement.values]), two)
    assert both.roc_by_picture() == pytest.approx(0.5)
    assert both.figures()["patches"] == 10


def test_recording_changes_no_bit_and_follows_the_run() -> None:
    torch.manual_seed(0)
    tryon = EditTryOn(untrained(0).eval(), load_vae())
    latents = torch.randn(2, 4, 32, 24), torch.randn(2, 4, 40, 28)
    recording = EditRecording(2, steps=3, groups=3)
    seen = tryon.edit(*latents, [1, 2], steps=3, attend=recording.attend, on_step=recording.on_step)
    assert torch.equal(seen, tryon.edit(*latents, [1, 2], steps=3))
    maps = recording.finish()
    assert maps.recorded == (0, 1, 2)
    assert [layer.name for layer in maps.default_layers] == [*LATE]
    assert [layer.name for layer in maps.layers] == [*BLOCKS]
    assert maps.pairwise("single.3", reference=1).shape == (2, 3, 1, TOKENS, GARMENT_GRID[0] * GARMENT_GRID[1])
    alone = tryon.edit(latents[0][1:], latents[1][1:], [2], steps=3)
    assert torch.allclose(seen[1:], alone, atol=1e-5)


def test_the_truth_of_the_drawn_edits(case: EditBatch, truth: Truth) -> None:
    assert not (truth.garment & truth.person).any()
    assert 0.15 < truth.garment.float().mean() < 0.6
    assert truth.told.float().mean() > 0.8
    assert own_places()[13].tolist() == [1, 1]
    masks = regions(case.edits)
    assert torch.equal(sum(masks.values()), torch.ones_like(masks["kept"]))
    assert [spec.seed for spec in case.wanted] == [GARMENTS * seed for seed in SEEDS]  # person and scene of the group's first


def test_quality_of_the_right_answer_and_of_the_untouched_picture(case: EditBatch) -> None:
    reader = Reader.load()
    right = quality_figures(quality(reader, case.edits.worn, case.edits, case.wanted))
    assert right["psnr_garment"] == right["psnr_kept"] == 100.0
    assert right["glyph"] == right["colour"] == 1.0
    rows = quality(reader, case.edits.person, case.edits, case.wanted)
    untouched = quality_figures(rows)
    assert untouched["psnr_kept"] == 100.0
    assert untouched["psnr_garment"] < 15
    assert untouched["pairs"] == 2
    assert untouched["glyphs_read"] == sum(len(spec.garment.glyphs) for spec in case.wanted)
    rows[0, QUALITY.index("psnr_revealed")] = float("nan")
    assert quality_figures(rows)["psnr_revealed"] == pytest.approx(float(rows[1, 2]))
    rows[:, QUALITY.index("psnr_revealed")] = float("nan")
    assert quality_figures(rows)["psnr_revealed"] is None


@pytest.mark.parametrize(("region", "area"), [("garment", 1.0), ("kept", 0.0)])
def test_where_a_change_lies(case: EditBatch, truth: Truth, region: str, area: float) -> None:
    before = case.edits.worn * 0.5
    cells = (truth.garment if region == "garment" else truth.person).view(-1, 1, *GRID).float()
    where = torch.nn.functional.interpolate(cells, scale_factor=8)
    found = effect_figures(effect(before + 0.25 * where, before, case.edits, truth))
    assert set(found) == set(EFFECT)
    assert found["roc"] == area
    assert found[f"change_{region}"] == pytest.approx(0.25, abs=0.06)
    none = effect_figures(effect(before, before, case.edits, truth))
    assert none["roc"] == 0.5
    assert none["change_garment"] == 0.0


def test_direct_and_isolated_change(case: EditBatch) -> None:
    rows = torch.zeros(3, len(RUNS), len(EFFECT))
    rows[:, RUNS.index("cut generated→garment"), 0] = torch.tensor([0.1, 0.2, 0.3])
    rows[:, RUNS.index("cut all→garment"), 0] = 0.25
    made = torch.ones(3, len(RUNS), len(QUALITY))
    figures = change_figures(made, rows, made[:, 0])
    assert figures["direct_of_isolated"] == pytest.approx(0.8)
    assert set(figures["cuts"]) == set(CUTS)
    assert figures["cuts"]["generated→garment"]["change_garment"] == pytest.approx(0.2)


def test_pairs_are_apart_from_training_and_from_each_other() -> None:
    plan, about = Plan(), {"recipe": {"shards": 64}}
    paired, choice = plan.seeds("paired"), plan.seeds("choice")
    assert len(paired) >= 200
    assert len(choice) >= 100
    assert len(plan.seeds("changed")) >= 32
    check_apart(paired, choice, about)
    assert all(is_held_out(GARMENTS * seed) for seed in (*paired, *choice))
    with pytest.raises(ValueError, match="belongs to training"):
        check_apart(range(paired.start - 1, paired.stop), choice, about)
    with pytest.raises(ValueError, match="belongs to training"):
        check_apart(paired, choice, {"recipe": {"shards": paired.stop}})
    with pytest.raises(ValueError, match="measured and chosen by"):
        check_apart(held_out_groups(0, FIRST_CHOICE + 1), choice, about)
    with pytest.raises(ValueError, match="chosen by and watched"):
        check_apart(paired, held_out_groups(watch.FIRST, 1), about)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return _weights(tmp_path / "weights", 0)


def _weights(folder: Path, seed: int) -> Path:
    folder.mkdir()
    model = untrained(seed)
    torch.nn.init.normal_(model.network.final_layer.linear.weight, std=0.02)
    state = {name: value.half().contiguous() for name, value in model.file_state().items()}
    save_file(state, folder / "edit.safetensors", {"i2am": json.dumps({"samples": 12, "recipe": {"shards": 64}})})
    return folder


def _run(tmp_path: Path, weights: Path, *more: str) -> dict:
    argv = ["--pairs", "2", "--choice-pairs", "1", "--changed-pairs", "1", "--steps", "2", "--few", "1", "--batch", "1"]
    argv += ["--weights", str(weights), "--units", str(tmp_path / "units"), "--json", str(tmp_path / "found.json")]
    assert main([*argv, "--processes", "1", *more]) == 0
    return json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))


def test_an_evaluation_goes_on_where_it_was_stopped(tmp_path: Path, weights: Path) -> None:
    whole = _run(tmp_path, weights)
    assert whole["setup"]["samples"] == 12
    assert set(whole) == {"setup", "choice", "share", "sram", "picture", "changes"}
    assert set(whole["picture"]) == {"generated", "autoencoder", "drawn", "untouched"}
    assert whole["picture"]["autoencoder"]["psnr_kept"] > 30
    assert set(whole["sram"]["by_block"]) == set(BLOCKS)
    assert set(whole["changes"]["cuts"]) == set(CUTS)
    assert NAMED["taught"] == TAUGHT

    files = sorted((tmp_path / "units").glob("*.safetensors"))
    assert len(files) == 4
    files[-1].unlink()
    files[0].write_bytes(b"torn")
    kept = {file: file.stat().st_mtime_ns for file in files[1:-1]}
    again = _run(tmp_path, weights)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert {**again, "setup": None} == {**whole, "setup": None}


def test_units_of_other_weights_or_steps_do_not_count(tmp_path: Path) -> None:
    plan = Plan(pairs=1, choice_pairs=0, changed_pairs=0, steps=2, few=1, batch=1)
    unit = next(plan.units())
    save_file({"x": Tensor([1.0])}, unit.path(tmp_path), unit.about("a"))
    assert is_done(unit, tmp_path, "a")
    assert not is_done(unit, tmp_path, "b")
    assert not is_done(replace(unit, steps=3), tmp_path, "a")


@pytest.mark.slow
def test_processes_change_no_figure(tmp_path: Path, weights: Path) -> None:
    one = _run(tmp_path, weights)
    for file in (tmp_path / "units").iterdir():
        file.unlink()
    two = _run(tmp_path, weights, "--processes", "2")
    assert {**one, "setup": None} == {**two, "setup": None}


def test_missing_weights_and_wrong_counts_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["--weights", str(tmp_path), "--json", str(tmp_path / "x.json")]) == 2
    assert "edit.safetensors" in caplog.text
    with pytest.raises(SystemExit):
        main(["--pairs", "4", "--changed-pairs", "5"])
