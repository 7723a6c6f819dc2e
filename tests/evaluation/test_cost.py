"""What an evaluation adds to sampling: measured on its own path, and told on the page of costs from the file."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
import torch

from i2am.commands.cli import main
from i2am.demo.card.cost_text import evaluation_text
from i2am.evaluation.metrics.names import OF_MAPS


def test_both_ways_take_turns_and_the_file_tells_what_was_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads, file = torch.get_num_threads(), tmp_path / "new" / "cost.json"
    try:
        assert main(["bench", "--evaluation", "--tiny", "--steps", "2", "--threads", "1", "--json", str(file)]) == 0
    finally:
        torch.set_num_threads(threads)
    found = json.loads(file.read_text())
    assert found["setup"]["steps"] == 4
    assert (found["setup"]["every"], found["setup"]["threads"], found["setup"]["pairs"]) == (1, 1, 2)
    assert found["setup"]["values"] >= len(OF_MAPS)  # every map is scored
    turns = found["turns"]
    assert len(turns) == 2
    assert found["added"] == pytest.approx(statistics.median(whole / alone - 1 for alone, whole in turns))
    assert found["alone"] == pytest.approx(statistics.median(alone for alone, _ in turns))
    assert found["recording"] > 0
    assert found["scoring"] > 0
    assert found["whole"] > found["alone"]  # at four steps, all of them recorded, it is far more
    assert f"added: {found['added']:.1%}" in capsys.readouterr().out
    assert f"added {100 * found['added']:.1f} % to the processor time of sampling alone" in evaluation_text(found)


def test_the_page_says_nothing_of_what_was_not_measured() -> None:
    assert evaluation_text({}) == ""


@pytest.mark.parametrize("option", [("--joint",), ("--memory",), ("--width", "64"), ("--device", "cuda")])
def test_options_of_the_other_benchmarks_are_refused(option: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--evaluation", *option]) == 2
    assert f"{option[0]}" in capsys.readouterr().err
