"""Text files that people wrote in another encoding are refused with what they seem to be, wherever one is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from i2am.data.csv_folder import csv_pairs
from i2am.data.lists import read_lines
from i2am.data.text import not_utf8, read_text
from i2am.demo.card.card import main as write_cards
from i2am.errors import DatasetError, I2AMError
from i2am.evaluation.facts import Row, Run
from i2am.evaluation.rows import read_rows
from i2am.evaluation.run_folder import RunFolder
from i2am.outputs.running_table import append_row

LATIN = "is not UTF-8 (line 2 holds the byte 0xeb), but perhaps Latin-1 or Windows-1252; save it as UTF-8"
ENCODINGS = {
    "utf-16": "is a text file in UTF-16 (“Unicode” in some editors); save it as UTF-8",
    "utf-16-le": "is a text file in UTF-16 without a mark; save it as UTF-8",
    "utf-32": "is a text file in UTF-32",
    "latin-1": LATIN,
    "cp1252": LATIN,
}
ROW = Row(name="Zoë", kind="paired", person="Zoë", garment="b").model_dump(mode="json")
RUN = Run(model="Zoë", family="demo", sha256="", data="d", split="test", seed=0, sampler="ddim", steps=1, cfg=1)


def csv(path: Path) -> object:
    return csv_pairs(path.parent, path.name, "test")


def run(path: Path) -> object:
    return RunFolder(path.parent).run()


READERS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "list": ("mine.txt", "a b\nZoë.jpg b.jpg\n", read_lines),
    "csv": ("pairs.csv", "person,reference\nZoë.jpg,b.jpg\n", csv),
    "run": ("run.json", "{\n" + json.dumps(RUN.model_dump(mode="json"), ensure_ascii=False)[1:], run),
    "comparison": ("results.json", '{\n"ë": 1}', lambda path: write_cards(["--check", "--compared", str(path)])),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("reader", READERS)
def test_another_encoding_is_refused_with_what_to_do(tmp_path: Path, reader: str, encoding: str) -> None:
    name, text, read = READERS[reader]
    path = tmp_path / name
    path.write_text(text, encoding=encoding, newline="")
    with pytest.raises(I2AMError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert ENCODINGS[encoding] in str(caught.value)


@pytest.mark.parametrize("reader", ["list", "csv", "run"])
def test_a_mark_of_utf8_is_passed_over(tmp_path: Path, reader: str) -> None:
    name, text, read = READERS[reader]
    (tmp_path / name).write_text(text, encoding="utf-8")
    plain = read(tmp_path / name)
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert read(tmp_path / name) == plain


@pytest.mark.parametrize(("encoding", "said"), [("utf-16", "UTF-16"), ("latin-1", "line 1 is no row (is not UTF-8")])
def test_rows_in_another_encoding_are_refused(tmp_path: Path, encoding: str, said: str) -> None:
    text = "".join(json.dumps({**ROW, "name": name}, ensure_ascii=False) + "\n" for name in ("Zoë", "a"))
    path = tmp_path / "0.jsonl"
    path.write_text(text, encoding)
    before = path.read_bytes()
    with pytest.raises(I2AMError) as caught:
        read_rows(tmp_path)
    assert said in str(caught.value)
    assert "save it as UTF-8" in str(caught.value)
    assert path.read_bytes() == before
    path.write_text(text, "utf-8-sig")
    assert [row.name for row in read_rows(tmp_path)] == ["Zoë", "a"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_running_table_in_another_encoding_is_set_aside_with_the_reason(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("name,imacs_g\nZoë,1\n", encoding=encoding, newline="")
    (note,) = append_row(path, {"name": "a", "imacs_g": 1}).notes
    assert ENCODINGS[encoding] in note


def test_what_is_no_text_or_not_there_is_told(tmp_path: Path) -> None:
    for content in (b"\x89PNG\r\n\x00\x1a\xff", b"\xff\xfe\x00", b"abcdefgh\0"):
        assert not_utf8(content) == "is not a text file; save it as UTF-8"
    assert not_utf8(b"") == ""
    with pytest.raises(DatasetError, match=r"none\.txt cannot be read \(No such file .*; expected a list"):
        read_text(tmp_path / "none.txt", "a list")
