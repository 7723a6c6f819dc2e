"""I2AM_ScoreTable: every run of the queue adds its row, beside whatever people and other runs do to the table."""

from __future__ import annotations

import csv
import math
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import pytest
from host_tests.maps_case import GENERATED, REFERENCE, box, defaults, library, planted


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty output folder for one test."""
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    (tmp_path / "output").mkdir()
    return tmp_path / "output"


@pytest.fixture
def table(pack_nodes: dict[str, Any]) -> Any:
    node = pack_nodes["I2AM_ScoreTable"]
    return lambda **inputs: node.execute(**{**defaults(node), **inputs}).args


def rows(output: Path, name: str = "I2AM/scores.csv") -> list[dict[str, str]]:
    return list(csv.DictReader((output / name).open(encoding="utf-8", newline="")))


def scored(pack_nodes: dict[str, Any], name: Any) -> dict[str, Any]:
    """Planted maps, their IMACS, and a row of both."""
    inputs = {"side": "mass", "maps": ["give_maps", 0], "inpaint_mask": ["give_mask", 0], "reference_mask": ["give_object", 0]}
    numbers = {"imacs_g": ["score", 0], "imacs_r": ["score", 1], "maps": ["give_maps", 0], "name": name}
    return {
        "score": {"class_type": "I2AM_IMACS", "inputs": {**defaults(pack_nodes["I2AM_IMACS"]), **inputs}},
        "table": {"class_type": "I2AM_ScoreTable", "inputs": {**defaults(pack_nodes["I2AM_ScoreTable"]), **numbers}},
    }


def test_every_run_of_the_queue_adds_a_row_also_when_nothing_changed(
    run_graph: Any, pack: ModuleType, pack_nodes: dict[str, Any], output: Path
) -> None:
    given = {"maps": planted(pack), "mask": box(GENERATED, 0, 0, 1, 0.5), "object": box(REFERENCE, 0, 0, 1, 0.5)}
    watch = {"g": ("score", 0), "r": ("score", 1), "text": ("table", 1), "path": ("table", 2)}
    for count in (1, 2, 3):
        out = run_graph(scored(pack_nodes, "00891_00"), give=given, watch=watch)
        found = rows(output)
        assert len(found) == count
        assert "table" in out.executed
        assert len(out.ui["table"]["images"]) == 1
    assert "score" in out.cached
    assert [float(found[-1][name]) for name in ("imacs_g", "imacs_r")] == [out["g"], out["r"]]
    assert (found[-1]["name"], found[-1]["steps"]) == ("00891_00", "4")
    assert out["path"] == "I2AM/scores.csv"
    assert f"{out['g']:.3f}".replace("-", "−") in out["text"]
    assert "mean of 3" in out["text"]


def test_a_list_of_names_makes_a_row_each(run_graph: Any, pack: ModuleType, pack_nodes: dict[str, Any], output: Path) -> None:
    import nodes

    class Names:
        CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_IS_LIST = "I2AM tests", "give", ("STRING",), (True,)

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {}}

        def give(self) -> tuple[list[str]]:
            return (["a", "b", "c"],)

    nodes.NODE_CLASS_MAPPINGS["I2AMTest_Names"] = Names
    try:
        given = {"maps": planted(pack), "mask": box(GENERATED, 0, 0, 1, 0.5), "object": box(REFERENCE, 0, 0, 1, 0.5)}
        prompt = scored(pack_nodes, ["names", 0])
        prompt["names"] = {"class_type": "I2AMTest_Names", "inputs": {}}
        run_graph(prompt, give=given)
    finally:
        del nodes.NODE_CLASS_MAPPINGS["I2AMTest_Names"]
    assert [row["name"] for row in rows(output)] == ["a", "b", "c"]


def test_a_score_that_does_not_exist_leaves_its_cell_empty(table: Any, output: Path) -> None:
    table(imacs_g=0.5, imacs_r=math.nan, name="a")
    _, text, _ = table(imacs_g=0.25, imacs_r=math.nan, name="b", value=0.875, value_name=" ssim ")
    assert [(row["imacs_g"], row["imacs_r"], row["ssim"] or "") for row in rows(output)] == [
        ("0.5", "", ""), ("0.25", "", "0.875"),
    ]  # fmt: skip
    assert "the column ssim was added" in text


def test_runs_at_once_and_a_broken_table_lose_nothing(table: Any, output: Path) -> None:
    (output / "I2AM").mkdir()
    (output / "I2AM" / "scores.csv").write_text('name,imacs_g\n"never ends,1\n')
    at_once = [threading.Thread(target=table, kwargs={"imacs_g": i / 4, "name": f"n{i}"}) for i in range(12)]
    for one in at_once:
        one.start()
    for one in at_once:
        one.join()
    assert sorted((row["name"], float(row["imacs_g"])) for row in rows(output)) == sorted((f"n{i}", i / 4) for i in range(12))
    assert (output / "I2AM" / "scores (set aside 1).csv").read_text() == 'name,imacs_g\n"never ends,1\n'


def test_columns_of_ones_own_stay(table: Any, output: Path) -> None:
    (output / "mine.csv").write_text("remark,imacs_g,name\ngood,1,a\n")
    _, text, path = table(imacs_g=2.0, name="b", filename="mine.csv")
    assert path == "mine.csv"
    assert [(row["remark"], row["name"]) for row in rows(output, "mine.csv")] == [("good", "a"), ("", "b")]
    assert "good" in text


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, ["no score", "connect imacs_g"]),
        ({"imacs_g": 1.0, "filename": "../scores"}, ["leads out of the output folder"]),
        ({"imacs_g": 1.0, "filename": ".csv"}, ["file name prefix"]),
        ({"value": 1.0, "value_name": "seed"}, ["'seed'", "choose another"]),
    ],
)
def test_what_cannot_be_meant_is_said(
    pack: ModuleType, table: Any, output: Path, inputs: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(library(pack, "errors").I2AMError) as caught:
        table(**inputs)
    assert [word for word in words if word not in str(caught.value)] == []
    assert [*output.rglob("*.csv")] == []
