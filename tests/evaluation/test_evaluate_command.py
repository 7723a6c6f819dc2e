"""`i2am evaluate` on eight drawn images: its rows against direct calls, and settings that must not matter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_run import PAIRS, evaluated, untimed
from PIL import Image

from i2am.commands.cli import main
from i2am.data.kinds import open_data_set
from i2am.demo.recording import recording_of
from i2am.evaluation.metrics.names import OF_MAPS, OF_PICTURE
from i2am.evaluation.metrics.networks import features_of
from i2am.evaluation.metrics.sets import of_sets
from i2am.evaluation.run_folder import RunFolder
from i2am.evaluation.samplers.sampler import Sampling
from i2am.evaluation.samplers.tryon import TryOnSampler
from i2am.evaluation.table import lines_of
from i2am.evaluation.work import seed_of
from i2am.levels.marginal import ulam
from i2am.models.demo.as_tryon import load_demo
from i2am.models.demo.tryon import DemoModel, try_on
from i2am.models.pictures import thumbnail
from i2am.scores.imacs import imacs_pair


def tensor(picture: Image.Image) -> torch.Tensor:
    """(1, C, H, W) in 0-1."""
    values = torch.from_numpy(np.array(picture, dtype=np.float32) / 255)
    return (values[None, None] if values.ndim == 2 else values.movedim(-1, 0)[None]).contiguous()


def test_a_row_per_image_with_all_values(whole: RunFolder) -> None:
    rows = whole.rows()
    assert [row.kind for row in rows] == ["paired"] * PAIRS + ["unpaired"] * PAIRS
    for row in rows:
        assert set(row.values) | set(row.unavailable) == {*OF_PICTURE, *OF_MAPS}
        assert set(row.unavailable) <= {"matching_accuracy"}
        assert row.name == (row.person if row.kind == "paired" else f"{row.person}+{row.garment}")
        assert min(row.seconds[name] for name in ("sample", "record", "score")) > 0
        for name, means in row.by_threshold.items():
            inside, outside = means["0.4"]
            assert row.values[name] == pytest.approx(inside - 3 * outside, abs=1e-6)
    run = whole.run()
    assert (run.family, run.model, run.steps, run.cfg, run.sampler, run.seed) == ("demo", "demo", 2, 5.0, "ddim", 0)
    assert run.kinds == ("paired", "unpaired")


def test_pictures_and_maps_are_those_of_the_model_called_directly(data: Path, whole: RunFolder) -> None:
    pair = open_data_set(data).pairs("unpaired")[1]
    row = next(row for row in whole.rows() if row.name == pair.name)
    pictures = {name: tensor(picture) for name, picture in pair.open(pair.files).items()}
    inpaint, garment = pictures["inpaint_mask"][0, 0], pictures["reference_mask"][0, 0]
    model = DemoModel.load()
    recording = recording_of(model, images=1, steps=2, inpaint_mask=inpaint)
    with recording:
        known = {name: pictures[name] for name in ("agnostic", "densepose", "reference")}
        made = try_on(model, **known, seeds=[seed_of(0, pair.name)], steps=2)[0]
    kept = np.asarray(Image.open(whole.sample(row.key))).astype(int)
    assert np.abs(kept - thumbnail(made).numpy()).max() <= 1
    for preset in ("default", "paper", "official"):
        scores = imacs_pair(recording.maps, inpaint, garment, preset=preset)
        for side in "gr":
            assert row.values[f"imacs_{side}.{preset}"] == pytest.approx(scores[side].score, abs=1e-4)
            assert row.values[f"auc_{side}.{preset}"] == pytest.approx(scores[side].auc, abs=1e-3)
    inside = imacs_pair(recording.maps, inpaint, garment)["g"]
    assert row.values["mass_inside"] == pytest.approx(inside.mass_ratio * float(inpaint.mean()), rel=1e-3)
    for side, values in whole.maps(row.key).items():
        assert torch.allclose(values, ulam(recording.maps, side).values[0], rtol=1e-3)


def test_the_summary_is_made_of_the_rows_and_pictures(data: Path, given: list[str], whole: RunFolder) -> None:
    summary = whole.summary()
    assert summary is not None
    rows = whole.rows()
    assert "% of sampling)" in "\n".join(lines_of(summary))
    for kind, found in summary.kinds.items():
        own = [row for row in rows if row.kind == kind]
        assert found.images == PAIRS
        for name, mean in found.values.items():
            values = [row.values[name] for row in own if name in row.values]
            assert (mean.n, mean.mean) == (len(values), pytest.approx(np.mean(values)))
    network = features_of(Path(given[1]))
    real = [data / "test" / "image" / f"{row.person}.jpg" for row in rows if row.kind == "unpaired"]
    made = [whole.sample(row.key) for row in rows if row.kind == "unpaired"]

    def features(paths: list[Path]) -> torch.Tensor:
        return network(torch.stack([torch.from_numpy(np.array(Image.open(path))).movedim(-1, 0) for path in paths]))

    expected, _ = of_sets(features(real), features(made))
    found = summary.kinds["unpaired"].sets
    assert {name: one.value for name, one in found.items()} == {
        n: pytest.approx(x.value, rel=1e-5) for n, x in expected.items()
    }
    assert found["fid"].network.startswith("features.pt (")
    assert summary.kinds["paired"].sets == {}


def test_a_batch_changes_nothing_but_rounding_and_is_made_whole_again(data: Path, whole: RunFolder, tmp_path: Path) -> None:
    options = ["--pairs", "paired", "--limit", "3", "--batch", "2"]
    batched = evaluated(data, tmp_path / "out", *options)
    single = untimed(whole.rows())
    for row in batched.rows():
        for name, value in row.values.items():
            assert value == pytest.approx(single[row.key].values[name], abs=2e-3), name
        pictures = [np.asarray(Image.open(folder.sample(row.key))).astype(int) for folder in (batched, whole)]
        assert np.abs(pictures[0] - pictures[1]).max() <= 1
    before, path = untimed(batched.rows()), batched.path / "rows" / "0.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])  # the second image of the first batch is lost
    assert untimed(evaluated(data, tmp_path / "out", *options, "--resume").rows()) == before
    assert path.read_bytes().count(b"\n") == 3


def test_recording_some_steps_changes_the_maps_alone(data: Path, whole: RunFolder, tmp_path: Path) -> None:
    some = evaluated(data, tmp_path / "out", "--pairs", "paired", "--limit", "1", "--every", "2")
    (row,) = some.rows()
    expected = untimed(whole.rows())[row.key]
    assert (some.run().every, whole.run().every) == (2, 1)
    assert some.sample(row.key).read_bytes() == whole.sample(row.key).read_bytes()
    assert row.values["ssim"] == expected.values["ssim"]
    assert row.values["imacs_g.default"] != expected.values["imacs_g.default"]
    assert row.values["imacs_g.default"] == pytest.approx(expected.values["imacs_g.default"], abs=0.05)


@pytest.mark.parametrize(("steps", "every"), [(2, 1), (18, 1), (20, 2), (None, 5), (100, 10)])
def test_about_ten_steps_are_recorded(steps: int | None, every: int) -> None:
    model = load_demo()
    assert TryOnSampler(model, Sampling(steps=steps)).how.every == every
    assert TryOnSampler(model, Sampling(steps=steps, every=1)).how.every == 1


def test_pairs_that_cannot_be_used_are_told_and_left_out_if_asked(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data, tmp_path / "data")
    names = sorted(path.name for path in (data / "test" / "cloth").iterdir())
    (tmp_path / "data" / "test" / "cloth" / names[1]).write_bytes(b"no picture")
    options = ["--pairs", "paired", "--steps", "1", "--without-maps", "--limit", "2", "--out", str(tmp_path / "out")]
    assert main(["evaluate", str(tmp_path / "data"), *options]) == 2
    told = capsys.readouterr()
    assert f"unreadable (reference): 1 of 2; first {Path(names[1]).stem}" in told.err
    assert f"all of it is in {tmp_path / 'out' / 'findings.json'}; --skip-broken goes on" in told.err
    assert f"\npaired pairs: unreadable (reference): 1 of 2; first {Path(names[1]).stem}" in f"\n{told.out}"
    refused = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert refused["paired"]["left_out"] == [Path(names[1]).stem]
    assert not RunFolder(tmp_path / "out").exists
    assert main(["evaluate", str(tmp_path / "data"), *options, "--skip-broken"]) == 0
    assert [row.name for row in RunFolder(tmp_path / "out").rows()] == [Path(names[0]).stem]
    findings = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert findings["paired"]["left_out"] == [Path(names[1]).stem]
    assert findings["paired"]["counts"] == {"unreadable": {"reference": 1}}


def test_a_pasted_picture_keeps_the_person_outside_of_the_mask(data: Path, tmp_path: Path) -> None:
    folder = evaluated(data, tmp_path / "out", "--pairs", "paired", "--limit", "1", "--pasted", "--without-maps")
    (row,) = folder.rows()
    made = np.asarray(Image.open(folder.sample(row.key))).astype(int)
    person = np.asarray(Image.open(data / "test" / "image" / f"{row.person}.jpg")).astype(int)
    outside = np.asarray(Image.open(data / "test" / "agnostic-mask" / f"{row.person}_mask.png")) == 0
    assert np.array_equal(made[outside], person[outside])
    assert np.abs(made[~outside] - person[~outside]).mean() > 5


def test_what_is_said_of_every_pair_is_said_once(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(data, tmp_path / "data")
    for path in (tmp_path / "data" / "test" / "agnostic-mask").iterdir():
        Image.open(path).resize((96, 96)).save(path)
    folder = evaluated(tmp_path / "data", tmp_path / "out", "--limit", "2", "--without-maps", "--steps", "1")
    assert len(folder.rows()) == 4
    assert capsys.readouterr().out.count("\nthe inpaint_mask is 96 x 96 pixels") == 1


BAD = {
    "no weights": (["--family", "custom"], "--family custom has no weights of its own"),
    "no such file": (["--model", "nothing.safetensors", "--family", "demo"], "there is no nothing.safetensors"),
    "no network": (["--features", "nothing.pt"], "there is no nothing.pt"),
    "no steps": (["--steps", "0"], "1 to 1000"),
    "no batch": (["--batch", "0"], "batches of 0"),
    "no record": (["--every", "0"], "--every is 0"),
    "no memory": (["--budget", "0"], "--budget is 0 MB"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    options, said = BAD[case]
    assert main(["evaluate", str(data), "--out", str(tmp_path / "out"), *options]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_data_set_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    assert main(["evaluate", str(tmp_path / "data"), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr()
    assert "is no data set of a kind that is known" in told.err
    assert "loading" not in told.out  # which takes minutes for large models


def test_run_json_names_no_path_of_this_machine(data: Path, whole: RunFolder) -> None:
    assert str(data.parent) not in json.dumps(whole.run().model_dump(mode="json"))


@pytest.fixture
def mine(data: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """A list of two persons in others' garments and one in their own, and the persons."""
    names = sorted(path.stem for path in (data / "test" / "image").iterdir())
    path = tmp_path / "mine.txt"
    path.write_text(f"# mine\n{names[2]}.jpg {names[0]}.jpg\n{names[1]}.jpg {names[1]}.jpg\n{names[3]}.jpg {names[0]}.jpg\n")
    return path, names


def test_a_list_of_ones_own_says_which_pairs_are_evaluated_and_shown(
    data: Path, tmp_path: Path, mine: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, names = mine
    quick = ["--pair-list", str(path), "--steps", "1"]
    folder = evaluated(data, tmp_path / "out", *quick)
    wanted = [("paired", names[1]), *(("unpaired", f"{name}+{names[0]}") for name in (names[2], names[3]))]
    assert [row.key for row in folder.rows()] == wanted
    assert folder.run().pair_list == "mine.txt"

    again = evaluated(data, tmp_path / "out", *quick, "--resume")
    assert [row.key for row in again.rows()] == wanted
    start = ["evaluate", str(data), "--steps", "1", "--resume", "--out", str(tmp_path / "out")]
    capsys.readouterr()
    assert main(start) == 2
    assert "pair_list was mine.txt, now none" in capsys.readouterr().err
    path.write_text(path.read_text().replace(f"{names[3]}.jpg", f"{names[0]}.jpg"))
    assert main([*start, "--pair-list", str(path)]) == 2
    assert f"first unpaired {names[3]}+{names[0]}: the list of pairs does not name it any more" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "persons"), [("paired", [1]), ("unpaired", [2, 3])])
def test_pairs_of_one_kind_are_taken_out_of_a_list_of_ones_own(
    data: Path, tmp_path: Path, mine: tuple[Path, list[str]], kind: str, persons: list[int]
) -> None:
    path, names = mine
    folder = evaluated(data, tmp_path / "out", "--pair-list", str(path), "--pairs", kind, "--steps", "1", "--without-maps")
    assert [(row.kind, row.person) for row in folder.rows()] == [(kind, names[i]) for i in persons]


def test_a_list_without_pairs_of_the_kind_that_is_asked_for_is_refused(
    data: Path, tmp_path: Path, mine: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, names = mine
    path.write_text(f"{names[1]} {names[0]}\n")
    start = ["evaluate", str(data), "--out", str(tmp_path / "out"), "--pair-list", str(path)]
    assert main([*start, "--pairs", "paired"]) == 2
    assert "names no paired pair: its 1 pair is of other persons' garments" in capsys.readouterr().err
    path.write_text(f"{names[1]} {names[1]}\n{names[0]} {names[0]}\n")
    assert main([*start, "--pairs", "unpaired"]) == 2
    assert (
        "names no unpaired pair: its 2 pairs are of the persons' own garments, as are lines with one name"
        in capsys.readouterr().err
    )


def test_compare_shows_pictures_by_the_list_and_the_kind_that_it_is_given(
    data: Path, tmp_path: Path, mine: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = mine
    folder = evaluated(data, tmp_path / "run", "--pair-list", str(path), "--pairs", "unpaired", "--steps", "1")
    start = ["compare", str(folder.path), "--out", str(tmp_path / "out"), "--resamples", "100"]
    page = tmp_path / "out" / "report.html"
    capsys.readouterr()
    counts = []
    for options in ([], ["--data", str(data)], ["--data", str(data), "--kind", "viton-hd", "--pair-list", str(path)]):
        assert main([*start, *options]) == 0
        counts.append(page.read_text(encoding="utf-8").count("<figcaption>person"))
        told = capsys.readouterr().out
        assert ("out of the list mine.txt; give it by --pair-list" in told) == (options[-2:-1] == ["--data"])
    assert counts == [0, 1, 2]  # one of both pairs is in the data set's own list too
    for options, said in (
        (["--pair-list", str(path)], "give its folder by --data"),
        (["--kind", "csv"], "give its folder by --data"),
        (["--data", str(data), "--pair-list", "none.txt"], "there is no list of pairs none.txt"),
        (["--data", str(data), "--kind", "dress-code"], "nothing"),
    ):
        if said == "nothing":  # is another kind's folder: told, and the page is made without its pictures
            assert main([*start, *options]) == 0
            assert "unpaired pairs of" in capsys.readouterr().out
            continue
        assert main([*start, *options]) == 2
        assert said in capsys.readouterr().err
