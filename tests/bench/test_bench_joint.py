"""`i2am bench --joint`, tiny: every figure is there, a whole run's maps fit, and what cannot be asked for is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from i2am.bench import joint, joint_peak
from i2am.bench.joint import FLUX, MODES, TARGETS, TINY, measure, planned
from i2am.commands.cli import main

CPU = torch.device("cpu")


def test_every_mode_has_its_ratios() -> None:
    modes = measure(TINY, CPU, 1)
    assert tuple(modes) == MODES == ("default", "all", "pairwise", "keep_all")
    for figures in modes.values():
        assert 0 < figures["of_step"] < figures["of_attention"]
        assert figures["seconds"] > 0
    assert set(TARGETS) < set(MODES)


def test_the_block_is_fluxs() -> None:
    sequence = FLUX.sequence()
    assert (sequence.generated.grid.placed, sequence.keys, FLUX.heads, FLUX.width) == (4096, 12_800, 24, 128)


@pytest.mark.parametrize("options", list(joint.RECORDED.values()))
def test_a_whole_run_is_planned_within_the_budget(options: dict[str, object]) -> None:
    run = planned(FLUX, **options)  # type: ignore[arg-type]
    assert (run["blocks"], run["steps"]) == (57, 28)
    assert 0 < run["bytes"] <= run["budget"] == 300_000_000


@pytest.mark.slow
def test_the_command_writes_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads, file = torch.get_num_threads(), tmp_path / "new" / "joint.json"
    try:
        assert main(["bench", "--joint", "--tiny", "--steps", "1", "--memory", "--json", str(file)]) == 0
    finally:
        torch.set_num_threads(threads)
    found = json.loads(file.read_text())
    assert set(found["modes"]) == set(MODES)
    assert all({"of_attention", "of_step", "added_bytes"} <= set(figures) for figures in found["modes"].values())
    assert found["setup"]["threads"] == 1
    assert found["memory"]["held"]
    assert "57 blocks" in capsys.readouterr().out


def test_a_proof_that_does_not_hold_is_told_by_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peaks = {"unwatched": 10**9, "run": 2 * 10**9}
    monkeypatch.setattr(joint_peak, "_of_each", lambda names, *_: {name: peaks.get(name, 10**9) for name in names})
    threads = torch.get_num_threads()
    try:
        assert main(["bench", "--joint", "--tiny", "--steps", "1", "--memory"]) == 1
    finally:
        torch.set_num_threads(threads)
    assert "added 1000 MB to the process, working room included: NOT HELD" in capsys.readouterr().out


def test_options_of_the_other_benchmark_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--joint", "--tokens", "256", "--width", "64"]) == 2
    assert "--width, --tokens cannot be used with --joint" in capsys.readouterr().err
