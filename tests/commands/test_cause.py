"""`i2am cause`: what it writes for both bundled models and for a pipeline, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from joint_pipelines import PIPES, SIZE, WORDS
from PIL import Image

from i2am import I2AMError
from i2am.commands.cli import main
from i2am.demo.cause import edit_case, tryon_case
from i2am.hosts.diffusers.proof import PipelineRuns, load_pipeline
from i2am.interventions.plan import Cut
from i2am.interventions.questions import CURVE, UNCUT, Plan
from i2am.outputs.proven import prove
from i2am.scores.effect import change_of, effect


def test_it_cuts_each_reference_of_the_edit_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cause", "--steps", "2", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "effects.json").read_text(encoding="utf-8"))
    assert (found["question"], found["seed"], found["model"]) == ("does each reference matter?", 7, "edit")
    assert list(found["effects"]) == ["without person", "without garment"]
    uncut = np.asarray(Image.open(tmp_path / found["uncut"])).astype(float) / 255
    for one in found["effects"].values():
        picture = np.asarray(Image.open(tmp_path / one["picture"])).astype(float) / 255
        assert one["mean"] == pytest.approx(float(np.abs(picture - uncut).mean()), abs=0.004)
        assert set(one["told"]) == {"R2G", "R2G-balanced", "mass", "via text", "which reference"}
    assert all(min(Image.open(tmp_path / name).size) > 300 for name in ("sheet.png", "chart.png"))
    said = capsys.readouterr().out
    assert "without person by" in said
    assert "told by mass" in said


def test_one_layer_after_another_or_groups_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["cause", "--steps", "1", "--question", "layers", "--out"]
    assert main([*common, str(tmp_path / "each")]) == 0
    found = json.loads((tmp_path / "each/effects.json").read_text(encoding="utf-8"))
    assert list(found["layers"]) == [*(f"double.{i}" for i in range(2)), *(f"single.{i}" for i in range(4))]
    assert list(found["effects"]) == [f"garment cut in {name}" for name in found["layers"]]
    most = max(found["layers"], key=found["layers"].__getitem__)
    assert found["layers"][most] == found["effects"][f"garment cut in {most}"]["mean"] > 0
    assert f"Of 6 cuts, {most} changes the picture most" in capsys.readouterr().out
    case = edit_case(7, 1)
    alone = case.runs.run(Cut("reference", 1, layers=(most,))).latent
    uncut = case.runs.run(UNCUT).latent
    assert found["layers"][most] == pytest.approx(float((alone - uncut).abs().mean()), abs=1e-6)
    assert main([*common, str(tmp_path / "groups"), "--layers", "double.* single.[0-3]"]) == 0
    groups = json.loads((tmp_path / "groups/effects.json").read_text(encoding="utf-8"))["layers"]
    assert list(groups) == ["double.*", "single.[0-3]"]
    assert max(groups.values()) > min(found["layers"].values())
    assert main([*common, str(tmp_path / "x"), "--layers", "triple.*"]) == 2
    assert "no recorded layer matches 'triple.*'; recorded layers: double.0" in capsys.readouterr().err
    for wrong in (["--region", "mask.png"], ["--question", "curve", "--layers", "double.*"]):
        assert main([*common, str(tmp_path / "x"), *wrong]) == 2
        assert "leave" in capsys.readouterr().err


def test_the_try_on_models_maps_are_compared_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cause", "--model", "try-on", "--steps", "2", "--out", str(tmp_path)]) == 0
    (one,) = json.loads((tmp_path / "effects.json").read_text(encoding="utf-8"))["effects"].values()
    assert "told by R2G-balanced" in (said := capsys.readouterr().out)
    assert f"{one['told']['R2G-balanced']:.3f}" in said


def test_a_region_and_a_curve(tmp_path: Path) -> None:
    mask = Image.new("L", (112, 160))
    mask.paste(255, (30, 40, 80, 100))
    mask.save(tmp_path / "mask.png")
    common = ["cause", "--steps", "1", "--out"]
    assert main([*common, str(tmp_path / "a"), "--region", str(tmp_path / "mask.png"), "--random-regions", "1"]) == 0
    names = list(json.loads((tmp_path / "a/effects.json").read_text(encoding="utf-8"))["effects"])
    assert names == ["without the region of garment", "without random region 1"]
    assert main([*common, str(tmp_path / "b"), "--question", "curve", "--fractions", "0.5 1"]) == 0
    curves = json.loads((tmp_path / "b/effects.json").read_text(encoding="utf-8"))["curves"]
    assert list(curves) == ["map", "random", "reversed"]
    assert all(curve["fractions"] == [0, 0.5, 1] for curve in curves.values())


def test_both_bundled_models_need_their_garment() -> None:
    """The change lies where the garment truly is seen."""
    for case, reference in ((edit_case(8), 1), (tryon_case(8, steps=25), 0)):
        uncut, cut = case.runs.run(), case.runs.run(Cut("reference", reference))
        found = effect(change_of(*(run.latent.movedim(-1, 1) for run in (uncut, cut)))[0], case.truth)
        assert found.roc is not None
        assert found.roc >= 0.9
        assert found.ratio is not None
        assert found.ratio > 2
        assert found.share_inside is not None
        assert found.share_inside > 0.5


def test_recording_the_uncut_run_changes_no_bit_and_a_cut_of_nothing_neither() -> None:
    for case in (edit_case(9, 2), tryon_case(9, 2)):
        plain, recorded = case.runs.run(), case.runs.run(UNCUT, recorded=True)
        assert recorded.maps is not None
        assert plain.maps is None
        assert torch.equal(plain.latent, recorded.latent)


def test_a_late_cut_of_the_edit_model_leaves_the_early_steps() -> None:
    case = edit_case(9, 3)
    whole = case.runs.run().latent
    assert torch.equal(case.runs.run(Cut("reference", 1, steps=(3, 4))).latent, whole)
    late, every = (case.runs.run(Cut("reference", 1, steps=steps)).latent for steps in ((2, 3), (0, 3)))
    assert 0 < float((late - whole).abs().mean()) < float((every - whole).abs().mean())
    some = case.runs.run(Cut("reference", 1, layers=("single.*",))).latent
    assert float((some - whole).abs().mean()) > 0
    assert not torch.equal(some, every)


@pytest.mark.parametrize("name", ["FluxKontextPipeline", "Flux2Pipeline"])
def test_a_pipeline_of_a_local_folder(name: str, tmp_path: Path) -> None:
    case = PIPES[name]
    case.build().save_pretrained(tmp_path)
    without = dict.fromkeys(("text_encoder", "tokenizer", *case.parts))  # the text's own networks: it is given ready
    pipeline = load_pipeline(tmp_path, "cpu", torch.float32, **without)
    pictures = list(case.pictures) if len(case.pictures) > 1 else case.pictures[0]
    words = torch.randn(1, WORDS[0], 8, generator=torch.Generator().manual_seed(1))
    given = {"image": pictures, "height": SIZE[0], "width": SIZE[1], "prompt_embeds": words, **case.call}
    runs = PipelineRuns(pipeline, given, 3, 2)
    told: list[tuple[int, int]] = []
    found = prove(Plan(), runs, lambda picture: picture, None, None, lambda done, total: told.append((done, total)))
    assert len(found.runs) == len(case.pictures)
    assert told[-1] == (2 * (1 + len(found.runs)),) * 2
    assert all(run.effect.most > 0 for run in found.runs)
    assert torch.equal(found.pictures[:1], runs.run().latent)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--steps", "0"], "argument --steps: expected a whole number, 1 to 1000, got '0'"),
        (["--random-regions", "0"], "argument --random-regions: expected a whole number, 1 or more, got '0'"),
        (["--question", "region"], "--question region is about a region of a reference; give its mask by --region"),
        (["--question", "curve", "--region", "a.png"], "--region was given, but --question is curve"),
        (["--fractions", "many"], "expected fractions above 0 and up to 1"),
        (["--image", "a.png"], "--model edit draws its own pictures; leave out --image"),
        (["--size", "64x64", "--dtype", "float16"], "--model edit draws its own pictures; leave out --size and --dtype"),
        (["--question", "each", "--reference", "5"], "--question each cuts every reference in turn; leave out --reference"),
        (["--model", "nowhere"], "a pipeline needs its references; give --image once for each"),
        (["--model", "nowhere", "--image", "PICTURE"], "which holds no model_index.json"),
        (["--question", "curve", "--reference", "5", "--steps", "1"], "reference number 5 is to be cut, but the run has 2"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], says: str) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "picture.png")
    given = [str(tmp_path / "picture.png") if word == "PICTURE" else word for word in given]
    try:
        status: object = main(["cause", "--out", str(tmp_path / "out"), *given])
    except SystemExit as stop:  # of what is no number
        status = stop.code
    assert status == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert says in error


def test_a_plan_of_another_question_is_refused() -> None:
    case = edit_case(9, 1)
    maps = case.runs.run(UNCUT, recorded=True).maps
    assert maps is not None
    with pytest.raises(I2AMError, match="the question is 'why'; choose one of 'does each reference matter"):
        Plan("why").runs(maps)
    assert len(Plan(CURVE, 1, fractions=(0.5, 1.0)).runs(maps)) == 4


def test_a_sheet_of_many_runs_shows_those_that_changed_most_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from i2am.outputs import proof_sheet

    titles: list[str] = []
    monkeypatch.setattr(
        proof_sheet, "in_a_row", lambda items, *_: titles.extend(name for _, name in items) or Image.new("RGB", (9, 9))
    )
    monkeypatch.setattr(proof_sheet, "MOST", 1)
    runs = []
    for name, much in (("a", 0.3), ("b", 0.1), ("c", 0.5), ("d", 0.2), ("e", 0.4), ("f", 0.05)):
        change = torch.full((8, 8), much)
        change[0, 0] = 0
        runs.append(proof_sheet.Shown(name, Image.new("RGB", (8, 8)), change, effect(change, None, {})))
    proof_sheet.proof_sheet(Image.new("RGB", (8, 8)), runs, "which layers matter?", [])
    assert [name for name in titles if len(name) == 1] == ["a", "c", "d", "e"]
