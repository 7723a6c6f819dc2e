"""The figures of what cuts cost are of cuts that were made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from i2am.bench.cuts import CUTS, TARGETS, attend, measure_cuts
from i2am.bench.joint import Block
from i2am.commands.cli import main
from i2am.demo.card.cost_text import cuts_text

SMALL = Block((16, 16), ((16, 16), (8, 16)), 8, 4, 16, measured=4, tokens_in=1)


@pytest.mark.parametrize("name", CUTS)
def test_each_cut_changes_the_attention(name: str) -> None:
    q, k, v = SMALL.tensors(4, torch.device("cpu"))
    sequence = SMALL.sequence()
    assert not torch.allclose(attend(q, k, v, sequence, CUTS[name]), attend(q, k, v, sequence, None), atol=1e-3)


def test_every_cut_has_its_figures_and_a_target() -> None:
    figures = measure_cuts(SMALL, torch.device("cpu"), 1)
    assert set(figures) == set(CUTS) == set(TARGETS)
    assert all(figure["of_attention"] > 0 and figure["of_block"] > 0 for figure in figures.values())


def test_the_command_writes_every_figure_and_the_page_tells_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads, file = torch.get_num_threads(), tmp_path / "new" / "cuts.json"
    try:
        assert main(["bench", "--cuts", "--tiny", "--steps", "1", "--json", str(file)]) == 0
    finally:
        torch.set_num_threads(threads)
    found = json.loads(file.read_text())
    assert set(found["cuts"]) == set(CUTS)
    assert found["setup"]["threads"] == 1
    said = capsys.readouterr().out
    text = cuts_text({**found, "cuts": {**found["cuts"], "by head": {"of_block": 1.125, "of_attention": 1.25}}})
    for name in CUTS:
        assert name in said
        assert f"{name} " in text
    assert "by head 1.12 (aim: at most 1.15; of the attention call alone 1.25)" in text
    assert cuts_text({}) == ""


@pytest.mark.parametrize("option", [["--joint"], ["--memory"], ["--tokens", "256"]])
def test_options_of_the_other_benchmarks_are_refused(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--cuts", *option]) == 2
    assert f"{option[0]} cannot be used with --cuts" in capsys.readouterr().err
