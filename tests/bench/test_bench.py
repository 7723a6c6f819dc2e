"""`i2am bench`, tiny: every mode and figure is there, recording changes nothing, and the memory proofs hold and can fail."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from i2am.bench.memory import PeakMemory, prove_layer
from i2am.bench.modes import MODES
from i2am.commands.cli import main

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a tiny benchmark writes."""
    file = tmp_path_factory.mktemp("bench") / "new" / "bench.json"
    assert main(["bench", "--tiny", "--steps", "1", "--memory", "--json", str(file)]) == 0
    return json.loads(file.read_text())  # type: ignore[no-any-return]


def test_every_mode_has_every_figure(measured: dict[str, Any]) -> None:
    modes = measured["modes"]
    assert tuple(modes) == MODES
    assert set(MODES) == {"none", "marginals", "pairwise", "pairwise_per_head", "keep_all", "recompute_hook"}
    for figures in modes.values():
        assert figures["ratio"] > 0
        assert figures["seconds_per_step"] >= figures["seconds_minimum"] > 0
    assert modes["none"]["ratio"] == 1
    assert (modes["none"]["added_bytes"], modes["none"]["recording_bytes"]) == (0, 0)
    assert all(modes[m]["added_bytes"] > 0 for m in MODES if m != "none")
    assert all(0 < modes[m]["recorder_share"] < 10 for m in ("marginals", "pairwise", "pairwise_per_head"))
    sizes = [modes[m]["recording_bytes"] for m in ("marginals", "pairwise", "pairwise_per_head", "keep_all")]
    assert sizes == sorted(set(sizes))
    assert measured["setup"]["schedule"] == 50


def test_recording_leaves_the_output_as_it_was(measured: dict[str, Any]) -> None:
    same = {name for name, figures in measured["modes"].items() if figures["identical_output"]}
    assert same >= {"none", "marginals", "pairwise", "pairwise_per_head", "recompute_hook"}


def test_memory_stays_within_its_bounds(measured: dict[str, Any]) -> None:
    budgets, layers = measured["memory"]["budget"], measured["memory"]["layer"]
    assert len(budgets) == len(layers) == 3
    assert all(proof["held"] for proof in (*budgets, *layers))
    assert all(proof["recording_bytes"] <= proof["budget_bytes"] for proof in budgets)
    assert not budgets[0]["notes"]
    assert all(proof["notes"] for proof in budgets[1:])  # the smaller budgets were felt
    assert [(proof["pairwise"], proof["kept"]) for proof in layers] == [(None, None), ("mean", "mean"), ("heads", "mean")]


def test_a_proof_fails_where_the_block_exists() -> None:
    small = {"grid": (24, 16), "reference": (16, 16)}
    assert not prove_layer(CPU, **small, pairwise="heads")["held"]  # the budget allows all of it
    assert prove_layer(CPU, **small, budget=400_000, chunk_bytes=1 << 16, width=2)["held"]


def test_the_meter_counts_what_lives_at_once() -> None:
    meter = PeakMemory(CPU)
    kept = torch.zeros(1000)
    with meter.watch():
        for _ in range(3):
            room = torch.ones(2000)  # 8000 bytes, freed at the next turn
            kept += room[:1000]
        del room
        both = torch.ones(500), torch.ones(500)
    del both
    assert 8000 <= meter.bytes <= 16000


def test_a_proof_that_does_not_hold_is_told_by_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = prove_layer(CPU, (24, 16), (16, 16), pairwise="heads")
    monkeypatch.setattr("i2am.bench.run.measure", lambda *_: {})
    monkeypatch.setattr("i2am.bench.run.prove", lambda *_, **__: {"budget": [], "layer": [proof]})
    assert main(["bench", "--tiny", "--memory"]) == 1
    assert "NOT HELD" in capsys.readouterr().out
