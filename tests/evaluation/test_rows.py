"""Rows survive kills and merge by name; a run folder gives back what was written, and refuses what is damaged."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

from i2am.errors import I2AMError
from i2am.evaluation.errors import EvaluationError
from i2am.evaluation.facts import Mean, OfKind, OfSet, Row, Run, Summary
from i2am.evaluation.rows import RowWriter, read_rows
from i2am.evaluation.run_folder import RunFolder, missing_of

FACTS = {
    "model": "weights", "family": "demo", "sha256": "0" * 64, "data": "VITON-HD (drawn)", "split": "test",
    "seed": 0, "sampler": "ddim", "steps": 4, "cfg": 5.0,
}  # fmt: skip


def row(name: str, kind: str = "paired", **values: float) -> Row:
    return Row(
        name=name,
        kind=kind,
        person=name,
        garment=name,
        seconds={"sample": 1.25},
        values=values,
        unavailable={"lpips": "no network"},
        by_threshold={"imacs_g.default": {"0.4": (0.1 + 0.2, 1 / 3)}},
    )


def test_a_row_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    rows = [row("a", ssim=0.1 + 0.2), row("ä+b", "unpaired", imacs=-1e-300)]
    writer = RowWriter(tmp_path / "rows" / "0.jsonl")
    for one in rows:
        writer.add(one)
    assert read_rows(tmp_path / "rows") == rows


@pytest.mark.parametrize("lost", [1, 2, 40])
def test_a_line_that_a_kill_cut_short_is_passed_over_and_then_cut_off(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "0.jsonl"
    writer = RowWriter(path)
    writer.add(row("a", ssim=1))
    writer.add(row("b", ssim=2))
    path.write_bytes(path.read_bytes()[:-lost])
    assert [x.name for x in read_rows(tmp_path)] == ["a"]
    RowWriter(path).add(row("c", ssim=3))
    assert [x.name for x in read_rows(tmp_path)] == ["a", "c"]
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("tail", [b"\n", b"\n \r\n\n", b"\0\0\n"])
def test_empty_lines_are_passed_over(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "0.jsonl"
    writer = RowWriter(path)
    writer.add(row("a"))
    path.write_bytes(b"\n" + path.read_bytes() + tail)
    assert [x.name for x in read_rows(tmp_path)] == ["a"]
    writer.add(row("b"))
    RowWriter(path).add(row("c"))
    assert [x.name for x in read_rows(tmp_path)] == ["a", "b", "c"]


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n\n", b"\0" * 30, b"\0" * 30 + b"\n"])
@pytest.mark.parametrize("kept", [0, 1, 25])
def test_a_last_line_is_cut_short_whatever_stands_behind_it(tmp_path: Path, kept: int, tail: bytes) -> None:
    path = tmp_path / "0.jsonl"
    RowWriter(path).add(row("a"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept] + tail)
    assert [x.name for x in read_rows(tmp_path)] == ["a"]
    RowWriter(path).add(row("b"))
    assert [x.name for x in read_rows(tmp_path)] == ["a", "b"]
    assert path.read_bytes().startswith(whole)
    assert path.read_bytes().count(b"\n") == 2


def test_a_file_of_one_torn_line_holds_no_row(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_bytes(b'{"name": "a')
    assert read_rows(tmp_path) == []
    RowWriter(tmp_path / "0.jsonl").add(row("b"))
    assert [x.name for x in read_rows(tmp_path)] == ["b"]


def test_the_rows_of_all_processes_merge_by_kind_and_name(tmp_path: Path) -> None:
    first, second = RowWriter(tmp_path / "0.jsonl"), RowWriter(tmp_path / "1.jsonl")
    first.add(row("b", ssim=1, lpips=1))
    first.add(row("a", "unpaired", ssim=2))
    second.add(row("a", ssim=3))
    second.add(row("b", ssim=4))  # fewer values: made before a network was there
    second.add(row("a", ssim=5))
    found = read_rows(tmp_path)
    assert [(x.kind, x.name, x.values["ssim"]) for x in found] == [("paired", "a", 5), ("paired", "b", 1), ("unpaired", "a", 2)]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    RowWriter(tmp_path / "0.jsonl").add(row("a"))
    text = (tmp_path / "0.jsonl").read_text()
    (tmp_path / "0.jsonl").write_text("{torn\n" + text)
    with pytest.raises(EvaluationError, match=r"0\.jsonl, line 1 is no row.*delete this line"):
        read_rows(tmp_path)


def test_a_last_line_that_is_whole_and_no_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_text('{"name": "a"}\n')
    with pytest.raises(EvaluationError, match=r"0\.jsonl, line 1 is no row"):
        read_rows(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_cannot_be_a_value(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        row("a", ssim=value)


def test_a_folder_gives_back_what_was_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    assert not folder.exists
    run = Run.model_validate({**FACTS, "presets": ("default", "paper"), "kinds": ("paired",)})
    summary = Summary(
        kinds={"paired": OfKind(images=2, values={"ssim": Mean(mean=0.5, n=2)}, sets={"fid": OfSet(value=3, n=2)})}
    )
    folder.write_run(run)
    assert folder.summary() is None
    folder.write_summary(summary)
    maps = {"R2G": torch.rand(3, 2).T, "G2R": torch.rand(4, 5)}
    folder.write_maps(("paired", "a"), maps)
    assert folder.exists
    assert folder.run() == run
    assert folder.summary() == summary
    assert {side: x.tolist() for side, x in folder.maps(("paired", "a")).items()} == {s: x.tolist() for s, x in maps.items()}
    assert folder.maps(("unpaired", "a")) == {}
    assert not list(folder.path.rglob("*.part"))


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "out").held():
        with pytest.raises(EvaluationError, match=r"another `i2am evaluate` is at work in .*out; wait for its end"):
            RunFolder(tmp_path / "out").held().__enter__()
        with RunFolder(tmp_path / "other").held():
            pass
    with RunFolder(tmp_path / "out").held():
        pass


def test_on_a_drive_without_locks_a_run_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with RunFolder(tmp_path).held():
        assert "start no second evaluation in it" in caplog.text


def test_images_without_a_row_or_a_picture_are_missing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    keys = [("paired", name) for name in "dabc"]
    for key in (keys[1], keys[3]):
        folder.sample(key).parent.mkdir(parents=True, exist_ok=True)
        folder.sample(key).touch()
    assert missing_of([row("a"), row("b")], keys, folder) == [keys[0], keys[2], keys[3]]


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(I2AMError, match="leads out"):
        RunFolder(tmp_path).sample(("paired", "../../x"))


@pytest.mark.parametrize(
    ("change", "said"),
    [({"format": 2}, "install a newer one"), ({"seed": "x"}, "seed"), ({"kinds": ["both"]}, "kinds")],
)
def test_a_run_that_cannot_be_read_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps(FACTS | change))
    with pytest.raises(EvaluationError, match=said):
        RunFolder(tmp_path).run()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"there is no .*run\.json"):
        RunFolder(tmp_path).run()
