"""Comparing evaluations: who follows quality is known beforehand, and the files say so."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from evaluated_case import row, write_run
from scipy import stats

from i2am.commands.cli import main
from i2am.data.demo_folder import write_demo_folder
from i2am.data.kinds import open_data_set
from i2am.evaluation.compare.claim import IN_PART, NO, OPEN, YES
from i2am.evaluation.compare.correlation import Bootstrap
from i2am.evaluation.compare.evaluated import read_runs, unlike
from i2am.evaluation.compare.page import page_of
from i2am.evaluation.compare.relations import AGAINST, ALL, FOLLOWS, NOT_SHOWN, TOO_FEW, Relation
from i2am.evaluation.compare.reported import REPORTED
from i2am.evaluation.compare.results import Results, compare, write
from i2am.evaluation.compare.sensitivity import WEIGHTS, rescored
from i2am.evaluation.errors import EvaluationError
from i2am.evaluation.facts import OfSet, Row

FEW = Bootstrap(resamples=200)


def images(n: int, seed: int, ssim: float, lpips: float) -> list[Row]:
    """Rows whose SSIM and LPIPS go with IMACS_g as strongly as is said, from -1 to 1."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        score = rng.normal()
        a, b = (part * score + math.sqrt(1 - part**2) * rng.normal() for part in (ssim, lpips))
        found.append(row(f"{i:03}", imacs_g=score, ssim=a, lpips=b))
    return found


def one(results: Results, **wanted: object) -> Relation:
    (found,) = [x for x in results.relations if all(getattr(x, key) == value for key, value in wanted.items())]
    return found


@pytest.mark.parametrize(
    ("n", "ssim", "lpips", "answer", "verdicts"),
    [
        (40, 0.8, -0.8, YES, (FOLLOWS, FOLLOWS)),  # a lower LPIPS is better
        (40, 0.8, 0.8, IN_PART, (FOLLOWS, AGAINST)),
        (40, -0.8, 0.8, NO, (AGAINST, AGAINST)),
        (9, 0.0, 0.0, NOT_SHOWN, (NOT_SHOWN, NOT_SHOWN)),
        (40, -0.8, 0.0, NOT_SHOWN, (AGAINST, NOT_SHOWN)),
    ],
)
def test_the_claim_is_answered_also_when_the_answer_is_no(
    tmp_path: Path, n: int, ssim: float, lpips: float, answer: str, verdicts: tuple[str, str]
) -> None:
    results = compare([str(write_run(tmp_path / "a", images(n, 5, ssim, lpips)))], how=FEW)
    assert tuple(one(results, figure=name).verdict for name in ("ssim", "lpips")) == verdicts
    (found,) = results.answers
    assert (found.level, found.preset, found.answer) == ("image", "default", answer)
    assert f"n = {n} images × 1 model" in found.text
    assert ("no evidence of either direction" in found.text) == (answer == NOT_SHOWN)


def test_intervals_that_are_narrow_around_0_say_no(tmp_path: Path) -> None:
    rows = [row(f"{i:03}", imacs_g=i % 20, ssim=i // 20) for i in range(200)]
    results = compare([str(write_run(tmp_path / "a", rows))], how=FEW)
    assert one(results, figure="ssim").verdict == NOT_SHOWN
    assert results.answers[0].answer == NO
    assert "or leaves out a ρ of 0.3 on its side" in results.answers[0].text


def test_runs_without_a_common_image_are_answered_one_by_one(tmp_path: Path) -> None:
    other = [x.model_copy(update={"name": f"other {x.name}"}) for x in images(40, 6, -0.8, 0.8)]
    given = [str(write_run(tmp_path / name, rows)) for name, rows in (("a", images(40, 5, 0.8, -0.8)), ("b", other))]
    results = compare(given, how=FEW)
    assert one(results, level="image", figure="ssim", of=ALL).why == "the runs share no image"
    assert [(x.level, x.of, x.answer) for x in results.answers] == [("image", "a", YES), ("image", "b", NO)]
    assert "Over images, b, preset default: <strong>no" in page_of(results)


def test_few_images_are_not_made_to_answer(tmp_path: Path) -> None:
    results = compare([str(write_run(tmp_path / "a", images(5, 0, 0.99, -0.99)))], how=FEW)
    assert {x.verdict for x in results.relations} == {TOO_FEW}
    assert results.answers[0].answer == OPEN
    assert "5 images, and at least 8" in results.answers[0].text


def models(tmp_path: Path, count: int, sign: int = 1) -> list[str]:
    """Runs that are the better the later they come, by all figures; IMACS goes with them, or against them."""
    given = []
    for k in range(count):
        rows = [row(f"{i:02}", imacs_g=sign * k + 0.01 * (i * 7 % 10), ssim=k + 0.01 * i) for i in range(10)]
        rows += [row(f"{i:02}", "unpaired", imacs_g=sign * k + 0.01 * i) for i in range(10)]
        sets = {"unpaired": {"fid": OfSet(value=100 - k, n=10)}}
        given.append(str(write_run(tmp_path / f"m{k}", rows, sets)))
    return given


@pytest.mark.parametrize(("sign", "verdict"), [(1, FOLLOWS), (-1, AGAINST)])
def test_over_models_every_run_counts_once(tmp_path: Path, sign: int, verdict: str) -> None:
    results = compare(models(tmp_path, 5, sign), how=FEW)
    for figure, expected, counted in (("ssim", sign, 10), ("fid", -sign, 0)):
        found = one(results, level="model", figure=figure, measure="imacs_g.default")
        assert found.spearman.value == pytest.approx(expected)
        assert (found.models, found.images, found.verdict) == (5, counted, verdict)
        assert found.p == pytest.approx(2 / 120)


def test_a_run_that_is_given_twice_counts_once(tmp_path: Path) -> None:
    given = models(tmp_path, 5)
    plain, again = compare(given, how=FEW), compare([*given, f"again={given[0]}"], how=FEW)
    assert "again is m0 once more: the same weights and values; it counts once" in again.unlike
    assert again.relations == plain.relations
    assert again.answers == plain.answers
    assert len(again.table.lines) == 6


def test_runs_of_one_model_with_several_seeds_are_one_model(tmp_path: Path) -> None:
    given = models(tmp_path, 5)
    (first,) = read_runs(given[:1])
    rows = [
        x.model_copy(update={"values": {**x.values, "ssim": x.values["ssim"] + 3.0}}) for x in first.rows if "ssim" in x.values
    ]
    seeded = str(write_run(tmp_path / "seeded", rows, sha256=first.run.sha256, seed=1))
    plain, more = compare(given, how=FEW), compare([*given, seeded], how=FEW)
    before, after = (one(x, level="model", figure="fid", measure="imacs_g.default") for x in (plain, more))
    assert (after.models, after.runs, after.p) == (before.models, before.runs, before.p)
    after = one(more, level="model", figure="ssim", measure="imacs_g.default")
    assert (after.models, after.runs) == (5, 6)
    # the two runs' mean SSIM, not either's
    x, y = [0.0, 1, 2, 3, 4], [1.5, 1, 2, 3, 4]
    assert after.spearman.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert (
        "m0 and seeded are one model, the same weights and settings: over models they count once, by their mean" in more.unlike
    )
    assert "seed: m0 0, m1 0, m2 0, m3 0, m4 0, seeded 1" in more.unlike
    assert "5 models (6 runs)" in next(x.text for x in more.answers if x.level == "model")
    assert "5 models (6 runs)" in next(x.text for x in more.answers if x.level == "image")


@pytest.mark.parametrize("change", [{"cfg": 1.0}, {"steps": 8}, {"pasted": True}, {"sampler": "plms"}])
def test_runs_of_the_same_weights_with_other_settings_are_two_models(tmp_path: Path, change: dict[str, object]) -> None:
    runs = [("a", images(10, 1, 0.5, 0), {}), ("b", images(10, 2, 0.5, 0), change)]
    given = [str(write_run(tmp_path / name, rows, sha256="1" * 64, **more)) for name, rows, more in runs]
    assert one(compare(given, how=FEW), level="model", figure="ssim").models == 2


def test_the_networks_of_figures_stand_beside_them(tmp_path: Path) -> None:
    rows = [row("x", ssim=1.0, lpips=0.5), row("x", "unpaired", imacs_g=1.0)]
    sets = {"unpaired": {"fid": OfSet(value=1.0, n=1, network="features.pt (0123abcd)"), "kid": OfSet(value=1.0, n=1)}}
    named = write_run(tmp_path / "named", rows, sets, networks={"lpips": "alex.pth (01234567)"})
    older = write_run(tmp_path / "older", rows, sets)
    path = write(compare([str(named), str(older)], how=FEW), tmp_path / "out")[1]
    for folder in (named, older):
        shutil.rmtree(folder)
    found = json.loads(path.read_text(encoding="utf-8"))
    unknown = "not named, since an earlier version did not keep it"
    assert found["networks"] == [
        f"lpips: named alex.pth (01234567), older {unknown}",
        "fid, unpaired: features.pt (0123abcd)",
        f"kid, unpaired: {unknown}",
    ]
    values = {label: line["values"] for label, line in found["table"].items()}
    assert values["named"]["lpips (paired)"]["network"] == "alex.pth (01234567)"
    assert values["older"]["lpips (paired)"]["network"] == unknown
    assert values["older"]["fid (unpaired)"]["network"] == "features.pt (0123abcd)"
    assert values["named"]["ssim (paired)"]["network"] == ""


def test_over_four_models_nothing_can_be_told_and_it_says_why(tmp_path: Path) -> None:
    results = compare(models(tmp_path, 4), how=FEW)
    (found,) = [x for x in results.answers if x.level == "model"]
    assert found.answer == OPEN
    assert "over 4 models no order has a p below 0.083" in found.text
    assert "2 of 2 correlations point the way of the claim" in found.text


def test_over_images_runs_are_taken_over_the_images_that_all_have(tmp_path: Path) -> None:
    first, second = images(30, 1, 0.5, 0), images(40, 2, 0.5, 0)
    given = [str(write_run(tmp_path / name, rows)) for name, rows in (("a", first), ("b", second))]
    found = one(compare(given, how=FEW), level="image", figure="ssim", of=ALL)
    each = [
        stats.spearmanr([x.values["imacs_g.default"] for x in rows[:30]], [x.values["ssim"] for x in rows[:30]]).statistic
        for rows in (first, second)
    ]
    assert (found.images, found.models) == (30, 2)
    assert found.spearman.value == pytest.approx(np.mean(each))
    assert "paired images: a 30, b 40; 30 in common" in unlike(read_runs(given))


def test_a_run_whose_values_are_all_the_same_is_left_out_of_all_runs(tmp_path: Path) -> None:
    varied, alike = images(20, 1, 0.8, 0), [row(x.name, imacs_g=0.25, ssim=x.values["ssim"]) for x in images(20, 2, 0.5, 0)]
    runs = [str(write_run(tmp_path / name, rows)) for name, rows in (("a", varied), ("b", alike), ("c", images(20, 3, 0.2, 0)))]
    results = compare(runs, how=FEW)
    found = {x.of: x for x in results.relations if (x.level, x.figure, x.measure) == ("image", "ssim", "imacs_g.default")}
    assert found["b"].spearman.value is None
    assert (found["b"].verdict, found["b"].why) == (TOO_FEW, "one of the two is the same for all")
    assert found[ALL].spearman.value == pytest.approx((found["a"].spearman.value + found["c"].spearman.value) / 2)
    assert (found[ALL].left_out, found[ALL].models) == (("b",), 2)
    assert "without b, where one of the two is the same for all" in page_of(results)


def test_over_eight_models_other_models_are_drawn_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = []
    for number, (x, y) in enumerate(rng.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], 10)):
        rows = [row(f"{i}", imacs_g=x + rng.normal() / 9, ssim=y + rng.normal() / 9) for i in range(12)]
        given.append(str(write_run(tmp_path / f"m{number}", rows)))
    found = one(compare(given, how=FEW), level="model", figure="ssim", measure="imacs_g.default").pearson
    assert found.low < found.value - 0.1 < found.value + 0.02 < found.high


def test_settings_in_which_a_run_has_one_score_are_the_mean_of_the_others(tmp_path: Path) -> None:
    """At a threshold that nothing of a run's maps exceeds, all of its scores are 0."""
    rng, given = np.random.default_rng(0), []
    for name, some in (("a", 1.0), ("b", 0.0)):
        rows = []
        for i in range(12):
            inside, outside = rng.random(2)
            means = {"0.4": (inside, outside), "0.8": (some * inside, some * outside)}
            rows.append(row(f"{i}", by_threshold={"imacs_g.default": means}, imacs_g=inside - 3 * outside, ssim=rng.random()))
        given.append(str(write_run(tmp_path / name, rows)))
    both, alone = (next(x for x in compare(g, how=FEW).sensitivities if x.figure == "ssim") for g in (given, given[:1]))
    assert both.spearman[4][1] == alone.spearman[4][1]
    assert both.spearman[4][0] != alone.spearman[4][0]


def test_the_table_has_the_means_and_the_papers_figures_marked_as_reported(tmp_path: Path) -> None:
    given = models(tmp_path, 2)
    results = compare([given[0], f"second={given[1]}"], how=FEW)
    paths = {path.name: path for path in write(results, tmp_path / "out")}
    lines = list(csv.DictReader(paths["results.csv"].open(encoding="utf-8")))
    own = [line for line in lines if line["source"] == "measured"]
    assert [line["name"] for line in own] == ["m0", "second"]
    assert [float(line["fid (unpaired)"]) for line in own] == [100, 99]
    assert [float(line["ssim (paired)"]) for line in own] == pytest.approx([0.045, 1.045])
    assert {line["ssim (paired) n"] for line in own} == {"10"}
    theirs = [line for line in lines if line["source"] != "measured"]
    assert all(line["source"].startswith("reported: ") and not line["fid (unpaired)"] for line in theirs)
    assert [(x["name"], x["fid (reported)"]) for x in theirs if "ICLR" not in x["source"]] == [
        ("DCI-VTON", "13.0953"), ("StableVITON", "10.6755"), ("custom", "11.7553"),
    ]  # fmt: skip
    assert [x["name"] for x in theirs if "ICLR" in x["source"]] == ["DCI-VTON", "custom", "refined custom"]
    data = json.loads(paths["results.json"].read_text(encoding="utf-8"))
    assert data["table"]["second"]["values"]["fid (unpaired)"]["value"] == 99
    assert len(data["reported"]["models"]) == len(REPORTED)
    assert data["relations"]
    assert data["answers"]


def test_a_score_at_another_lambda_and_threshold_is_inside_minus_lambda_outside(tmp_path: Path) -> None:
    """Inside goes with SSIM, outside against it twice as strongly at threshold 0: lambda decides."""
    rows = []
    for i in range(12):
        by = {"0.0": (i / 12, i / 24), "0.4": (i / 12, 0.0)}
        rows.append(row(f"{i:02}", by_threshold={"imacs_g.default": by}, imacs_g=by["0.4"][0], ssim=i / 100))
    (found,) = compare([str(write_run(tmp_path / "a", rows))], how=FEW).sensitivities
    assert (found.weights, found.thresholds, found.images) == (WEIGHTS, (0.0, 0.4), 12)
    at = dict(zip(found.weights, found.spearman, strict=True))
    assert at[1.0] == pytest.approx((1.0, 1.0))
    assert at[2.0] == (None, pytest.approx(1.0))  # all scores are 0 there
    assert at[3.0] == pytest.approx((-1.0, 1.0))
    assert found.means["a"][WEIGHTS.index(3.0)] == pytest.approx((-11 / 48, 11 / 24))
    assert rescored(rows[6], "imacs_g.default", "0.0", 3.0) == pytest.approx(0.5 - 3 * 0.25)
    assert found.order is None


def test_best_worst_and_most_different_images_are_shown_once_with_their_maps(tmp_path: Path) -> None:
    rows = [row(f"{i}", imacs_g=i, ssim=0 if i == 7 else 8 if i == 4 else i) for i in range(9)]
    results = compare([str(write_run(tmp_path / "a", rows, pictures=True))], how=FEW, count=2)
    found = results.examples["a"]
    assert [(x.why, x.row.name) for x in found] == [
        ("best", "8"), ("best", "7"), ("worst", "0"), ("worst", "1"), ("apart", "4"), ("apart", "2"),
    ]  # fmt: skip
    assert all(list(x.pictures) == ["generated", "R2G", "G2R"] for x in found)


def test_what_is_missing_is_a_dash_with_its_reason(tmp_path: Path) -> None:
    lacking = row("a", imacs_g=0.5).model_copy(update={"unavailable": {"lpips": "its network is <not> there"}})
    results = compare([str(write_run(tmp_path / "a", [lacking], finished=False))], how=FEW)
    page = write(results, tmp_path / "out")[2].read_text(encoding="utf-8")
    assert "its network is &lt;not&gt; there" in page
    assert "a has not come to its end" in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 8}, "steps: a 4, b 8"),
        ({"data": "another"}, "data: a"),
        ({"cfg": 1.0}, "cfg: a 5.0"),
        ({"every": 5}, "every: a 1, b 5"),
    ],
)
def test_runs_that_are_not_alike_are_told(tmp_path: Path, change: dict[str, object], said: str) -> None:
    rows = [row("x", ssim=1.0)]
    given = [str(write_run(tmp_path / "a", rows)), str(write_run(tmp_path / "b", rows, **change))]
    assert any(line.startswith(said) for line in unlike(read_runs(given)))


def test_images_of_one_name_from_two_data_sets_are_not_one_image(tmp_path: Path) -> None:
    first = [x.model_copy(update={"files": {"person": f"a{x.name}", "densepose": "0"}}) for x in images(20, 1, 0.5, 0)]
    given = {"a": first}
    for label, changed in (("b", 20), ("c", 5)):
        files = [{"person": f"{'b' if i < changed else 'a'}{i:03}"} for i in range(20)]
        given[label] = [x.model_copy(update={"files": y}) for x, y in zip(images(20, 2, 0.5, 0), files, strict=True)]
    paths = {label: str(write_run(tmp_path / label, rows)) for label, rows in given.items()}
    for label, shared in (("b", 0), ("c", 15)):
        results = compare([paths["a"], paths[label]], how=FEW)
        assert one(results, level="image", figure="ssim", of=ALL).images == shared
        assert f"data of paired images: {20 - shared} of 20 that all name were made of other files" in results.unlike[0]
    assert not unlike(read_runs([paths["a"]]))


def test_figures_of_sets_by_several_networks_are_told(tmp_path: Path) -> None:
    rows = [row("x", kind="unpaired", imacs_g=1.0)]
    sets = {name: {"unpaired": {"fid": OfSet(value=1, n=10, network=name)}} for name in ("first", "second")}
    given = [str(write_run(tmp_path / label, rows, sets[name])) for label, name in (("a", "first"), ("b", "second"))]
    assert unlike(read_runs(given)) == ["network of fid, unpaired: a first, b second"]
    page = write(compare(given, how=FEW), tmp_path / "out")[2].read_text(encoding="utf-8")
    assert "Networks: fid, unpaired: a first, b second." in page
    alone = str(write_run(tmp_path / "c", rows))
    assert not unlike(read_runs([given[0], alone]))


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    first = str(write_run(tmp_path / "a" / "run", [row("x", ssim=1.0)]))
    second = str(write_run(tmp_path / "b" / "run", [row("x", ssim=1.0)]))
    with pytest.raises(EvaluationError, match=r"two runs are called 'run'; name them"):
        compare([first, second])
    assert [x.label for x in read_runs([first, f"other={second}"])] == ["run", "other"]
    with pytest.raises(EvaluationError, match="nothing to compare"):
        compare([])
    with pytest.raises(EvaluationError, match="holds no row yet"):
        compare([str(write_run(tmp_path / "empty", []))])
    with pytest.raises(EvaluationError, match=r"there is no .*run\.json"):
        compare([str(tmp_path)])


def test_with_the_data_set_persons_references_and_masks_stand_beside_the_maps(tmp_path: Path) -> None:
    write_demo_folder(tmp_path / "data", 0, 2, 0)
    names = [pair.name for pair in open_data_set(tmp_path / "data").pairs("paired")]
    rows = [row(name, imacs_g=i) for i, name in enumerate([*names, "of no data set"])]
    given = [str(write_run(tmp_path / "a", rows, pictures=True))]
    plain, found = (
        {x.row.name: x.pictures for x in compare(given, how=FEW, data=data).examples["a"]}
        for data in (None, open_data_set(tmp_path / "data"))
    )
    assert all(list(found[name]) == ["person", "reference", "generated", "R2G", "G2R"] for name in names)
    assert list(found["of no data set"]) == ["generated", "R2G", "G2R"]
    assert found[names[0]]["generated"].tobytes() == plain[names[0]]["generated"].tobytes()
    assert found[names[0]]["R2G"].tobytes() != plain[names[0]]["R2G"].tobytes()  # the mask's edge is drawn


def test_folders_that_would_be_mixed_up_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = str(write_run(tmp_path / "a", images(8, 0, 0.5, -0.5)))
    for command, said in (
        (["compare", given, "--out", given], "which holds an evaluation"),
        (["compare", given, "--out", str(tmp_path / "out"), "--data", str(tmp_path / "no")], "there is no folder"),
        (["evaluate", str(tmp_path), "--out", str(tmp_path / "out")], "which lies in the data set"),
    ):
        assert main(command) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["compare", "evaluate"])
def test_a_folder_that_cannot_be_is_refused_before_the_time_is_spent(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = write_run(tmp_path / "a", images(8, 0, 0.5, -0.5))
    assert main([command, str(given), "--out", str(tmp_path / ("x" * 300))]) == 2
    told = capsys.readouterr().err
    assert "which no folder can be called (File name too long); give another" in told
    assert told.count("\n") == 1
    assert "x" * 100 not in told
    (tmp_path / "file").write_text("")
    assert main([command, str(given), "--out", str(tmp_path / "file" / "out")]) == 2
    assert "is no folder; give another folder" in capsys.readouterr().err
