"""`i2am evaluate` goes on where it stopped, with the same model, networks and files alone."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_run import PAIRS, evaluated, samples, untimed
from feature_networks import Features, Twice, scripted
from PIL import Image
from safetensors.torch import load_file, save_file

from i2am.commands.cli import main
from i2am.evaluation.rows import RowWriter
from i2am.evaluation.run_folder import RunFolder
from i2am.evaluation.samplers.tryon import TryOnSampler
from i2am.models.demo.family import WEIGHTS


def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    data: Path, given: list[str], whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    add, added = RowWriter.add, []

    def stop(self: RowWriter, row: Any) -> None:
        if len(added) == 2:  # the picture of the third image is there, its row is not
            raise KeyboardInterrupt
        add(self, row)
        added.append(row)

    out, options = tmp_path / "out", ["--steps", "2", "--limit", "2", *given]
    with monkeypatch.context() as patched:
        patched.setattr(RowWriter, "add", stop)
        assert main(["evaluate", str(data), "--out", str(out), *options]) == 130
    assert "--resume goes on" in capsys.readouterr().out
    folder, rows = RunFolder(out), out / "rows" / "0.jsonl"
    assert folder.summary() is None
    folder.sample(added[0].key).unlink()
    rows.write_bytes(rows.read_bytes()[:-30])  # as if the machine had gone down in the second row
    assert main(["evaluate", str(data), "--out", str(out), *options]) == 2
    assert "go on with it by --resume" in capsys.readouterr().err
    again = evaluated(data, out, "--limit", "2", "--resume", *given)
    expected = {key: row for key, row in untimed(whole.rows()).items() if key in untimed(again.rows())}
    assert len(expected) == 4
    assert untimed(again.rows()) == expected
    assert rows.read_bytes().count(b"\n") == 5  # one image was made twice, and counts once
    files = samples(whole)
    assert samples(again) == {name: files[name] for name in samples(again)}
    assert not list(out.rglob("*.part"))


def test_what_has_become_available_is_added_without_sampling_again(
    data: Path, given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    options = ["--limit", "2", "--without-maps"]
    folder = evaluated(data, tmp_path / "out", *options)
    told = capsys.readouterr().out
    summary = folder.summary()
    assert summary is not None
    for name, kind in (("lpips", "paired"), ("fid", "unpaired"), ("kid", "unpaired")):
        lacking = summary.kinds[kind].unavailable[name]
        assert lacking.file.startswith(str(tmp_path / "hub" / "checkpoints"))
        assert lacking.reason in told
    assert "the run was not recorded" in folder.rows()[0].unavailable["imacs_g.default"]
    assert folder.maps(folder.rows()[0].key) == {}
    with monkeypatch.context() as patched:
        patched.setattr(TryOnSampler, "sample", None)  # calling it would fail
        evaluated(data, tmp_path / "out", *options, "--resume", *given)
    summary = folder.summary()
    assert summary is not None
    assert all("lpips" in row.values and "lpips" not in row.unavailable for row in folder.rows())
    assert summary.kinds["unpaired"].sets.keys() == {"fid", "kid"}
    assert "lpips" not in summary.kinds["paired"].unavailable


def test_more_pairs_and_kinds_join_what_is_there(data: Path, given: list[str], whole: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole.path, out)
    rows = [line for line in (out / "rows" / "0.jsonl").read_text().splitlines() if '"unpaired"' not in line][:2]
    (out / "rows" / "0.jsonl").write_text("\n".join(rows) + "\n")
    evaluated(data, out, "--pairs", "paired", "--limit", "3", "--resume", *given)
    summary, full = RunFolder(out).summary(), whole.summary()
    assert summary is not None
    assert full is not None
    assert summary.kinds["paired"].images == 3
    assert summary.kinds["unpaired"] == full.kinds["unpaired"]  # what was not asked for stays


def test_another_run_is_not_mixed_in(data: Path, tmp_path: Path, whole: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole.path, out)
    state = load_file(WEIGHTS / "unet.safetensors")
    key = next(key for key in state if key.endswith("attn2.to_k.weight"))
    save_file({**state, key: state[key] + 0.1}, tmp_path / "noisy.safetensors")
    noisy = ["--family", "demo", "--model", str(tmp_path / "noisy.safetensors")]
    for options, said in (
        (["--seed", "1"], "seed was 0, now 1"),
        (["--cfg", "2"], "cfg was 5.0, now 2.0"),
        (["--without-maps"], "presets was"),
        (noisy, "sha256 was"),
    ):
        assert main(["evaluate", str(data), "--steps", "2", "--resume", "--out", str(out), *options]) == 2
        assert said in capsys.readouterr().err
    assert RunFolder(out).run() == whole.run()


def test_networks_are_facts_of_a_run(
    data: Path, given: list[str], tmp_path: Path, whole: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = whole.run().networks
    assert networks.keys() == {"lpips", "features"}
    out = tmp_path / "out"
    shutil.copytree(whole.path, out)
    resume = ["evaluate", str(data), "--steps", "2", "--resume", "--out", str(out)]
    others = {"lpips": scripted(Twice(), tmp_path / "twice.pt"), "features": scripted(Features(1), tmp_path / "other.pt")}
    for name, file in others.items():
        assert main([*resume, *given, f"--{name}", str(file)]) == 2
        told = capsys.readouterr().err
        assert f"network of {name} was {networks[name]}, now {file.name} (" in told
        assert told.count("\n") == 1
    run = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**run, "networks": {}}))  # as earlier versions wrote it
    assert main([*resume, *given]) == 2
    assert f"network of lpips was one that is not named, now {networks['lpips']}" in capsys.readouterr().err
    (out / "run.json").write_text(json.dumps(run))
    assert main(resume) == 0  # without networks the rows keep what they have, and the run its networks
    assert RunFolder(out).run().networks == networks
    assert all("lpips" in row.values for row in RunFolder(out).rows())


def test_a_second_start_in_one_folder_is_refused(
    data: Path, given: list[str], tmp_path: Path, whole: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["evaluate", str(data), "--steps", "2", "--out", str(out), "--resume", *given]
    first = subprocess.Popen([sys.executable, "-m", "i2am", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not list(out.glob("rows/*.jsonl")) and first.poll() is None:
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)  # or it might be done before the second looks
        assert main(command) == 2
        told = capsys.readouterr().err
        first.send_signal(signal.SIGCONT)
        assert first.wait(400) == 0
    finally:
        first.kill()
    assert f"another `i2am evaluate` is at work in {out}" in told
    assert told.count("\n") == 1
    expected = untimed(whole.rows())
    found = untimed(RunFolder(out).rows())
    assert found.keys() == expected.keys()
    for key, row in found.items():  # another process may round otherwise
        assert row.values == pytest.approx(expected[key].values, rel=1e-3, abs=1e-4)
    assert (out / "rows" / "0.jsonl").read_bytes().count(b"\n") == 2 * PAIRS


def _black_on_top(mask: Path) -> None:
    values = np.array(Image.open(mask))
    values[: np.flatnonzero(values.any(1))[0] + 3] = 0
    Image.fromarray(values).save(mask)


OTHER_DATA: dict[str, tuple[str, str]] = {
    "mended mask": ("agnostic-mask/*", "its inpaint_mask"),
    "other photo": ("image/*", "its person"),
    "gone": ("cloth-mask/*", "its reference_mask is gone; there is no"),
    "other list": ("", "the list of pairs does not name it any more"),
}


@pytest.mark.parametrize("case", OTHER_DATA)
def test_a_run_does_not_go_on_with_other_files_in_a_folder_of_the_same_name(
    data: Path, tmp_path: Path, whole: RunFolder, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    shutil.copytree(whole.path, tmp_path / "out")
    other, first = tmp_path / "other" / data.name, whole.rows()[0].name
    shutil.copytree(data, other)
    paths, said = OTHER_DATA[case]
    (path,) = [path for path in other.glob(f"test/{paths}") if path.name.startswith(first)] if paths else [other]
    if case == "mended mask":
        _black_on_top(path)
    elif case == "other photo":
        Image.fromarray(np.array(Image.open(path))[:, ::-1]).save(path)
    elif case == "gone":
        path.unlink()
    else:
        lines = (other / "test_pairs.txt").read_text().splitlines(keepends=True)
        (other / "test_pairs.txt").write_text("".join(line for line in lines if not line.startswith(first)))
    options = ["evaluate", str(other), "--steps", "2", "--resume", "--skip-broken", "--out", str(tmp_path / "out")]
    assert main([*options, "--pairs", "paired"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"that were made of other files than {other} holds now" in told
    assert f"first paired {first}: " in told
    assert said in told
    assert RunFolder(tmp_path / "out").rows() == whole.rows()


def test_a_run_of_an_earlier_version_goes_on_and_says_what_is_not_checked(
    data: Path, given: list[str], tmp_path: Path, whole: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole.path, tmp_path / "out")
    rows = tmp_path / "out" / "rows" / "0.jsonl"
    old = [json.loads(line) for line in rows.read_text().splitlines()]
    rows.write_text("".join(json.dumps({key: row[key] for key in row if key != "files"}) + "\n" for row in old))
    assert main(["evaluate", str(data), "--steps", "2", "--resume", "--out", str(tmp_path / "out"), *given]) == 0
    assert f"{2 * PAIRS} of {2 * PAIRS} rows in {tmp_path / 'out'} do not say which files" in capsys.readouterr().out
