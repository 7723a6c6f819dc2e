"""A table that grows row by row: several writers, people's edits and broken files lose nothing."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from i2am.errors import I2AMError
from i2am.outputs.locked import locked
from i2am.outputs.running_table import append_row
from i2am.outputs.table_picture import MOST, table_lines, table_picture, table_text

WRITER = """
import sys
from pathlib import Path
from i2am.outputs.running_table import append_row
for i in range(40):
    append_row(Path(sys.argv[1]), {"name": f"{sys.argv[2]}{i}", "imacs_g": i / 8, sys.argv[3]: i})
"""


def rows(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8-sig", newline=""), delimiter=delimiter))


def test_rows_come_back_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "I2AM" / "scores.csv"
    values = [0.1 + 0.2, -1e-300, 3]
    for i, value in enumerate(values):
        table = append_row(path, {"name": f'pair, "{i}"', "imacs_g": value})
    assert [float(row["imacs_g"]) for row in rows(path)] == values
    assert [row["name"] for row in rows(path)] == [f'pair, "{i}"' for i in range(3)]
    assert table.rows == tuple(tuple(row.values()) for row in rows(path))


def test_what_is_no_number_leaves_a_cell_empty_and_counts_in_no_mean(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    for value in (1.0, math.nan, None, math.inf, 2.0):
        table = append_row(path, {"name": "x", "imacs_g": value})
    assert [row["imacs_g"] for row in rows(path)] == ["1.0", "", "", "", "2.0"]
    assert table.numbers(1) == [1.0, 2.0]
    assert table_lines(table)[-1] == ["mean of 5", "1.500"]


def test_two_processes_at_once_lose_and_mix_nothing(tmp_path: Path) -> None:
    """The second has another column, so that the table is also written anew while the first adds to it."""
    path = tmp_path / "scores.csv"
    both = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, column], cwd=Path(__file__).parents[2])
        for name, column in (("a", "first"), ("b", "second"))
    ]
    assert [one.wait(120) for one in both] == [0, 0]
    found = rows(path)
    assert sorted(row["name"] for row in found) == sorted(f"{name}{i}" for name in "ab" for i in range(40))
    for row in found:
        own, other = ("first", "second") if row["name"][0] == "a" else ("second", "first")
        assert (row[own], row[other] or "") == (row["name"][1:], "")
        assert float(row["imacs_g"]) == int(row["name"][1:]) / 8


def test_a_held_table_is_waited_for_and_then_told(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with locked(path), pytest.raises(I2AMError, match=r"another run has been writing to scores\.csv"), locked(path, 0.1):
        pass
    append_row(path, {"name": "x"})


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("name,mine,imacs_g\na,good,1\n", ","),
        ("name;mine;imacs_g\r\na;good;1\r\n", ";"),  # as a European spreadsheet saves it
        ("\ufeffname\tmine\timacs_g\na\tgood\t1", "\t"),  # with a mark, and without an end of its last line
        ("mine,,imacs_g,name\ngood,,1,a\n\n\n", ","),  # columns moved, one without a name, empty lines
    ],
)
def test_a_table_that_was_edited_stays_as_it_was_made(tmp_path: Path, text: str, delimiter: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes(text.encode())
    table = append_row(path, {"imacs_g": 2.5, "name": "b"})
    assert path.read_bytes().startswith(text.encode())
    assert [(r["name"], r["mine"] or "", r["imacs_g"]) for r in rows(path, delimiter) if r["name"]] == [
        ("a", "good", "1"), ("b", "", "2.5"),
    ]  # fmt: skip
    assert len(table.rows) == 2
    assert table.notes == ()


def test_other_columns_are_added_at_the_end_and_ragged_rows_stay(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("name,imacs_g\na\nb,1,2,3\n")
    table = append_row(path, {"name": "c", "ssim": 0.5, "imacs_g": 4})
    assert path.read_text().splitlines() == ["name,imacs_g,ssim", "a", "b,1,2,3", "c,4,0.5"]
    assert table.columns == ("name", "imacs_g", "ssim")
    assert table.notes == ("the column ssim was added",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"some notes of mine\n", "no line of columns"),
        (b'name,imacs_g\n"a,1\n', "quotes that do not end"),
        (b"name\0,imacs_g\n", "not a text file"),
        ("name,x\nä,1\n".encode("latin-1"), "UTF-8"),
        ("name,x\n".encode("utf-16"), "UTF-8"),
        (b"\n\n", "no line of columns"),
    ],
)
def test_what_is_no_table_is_set_aside_whole(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "scores.csv"
    for number in (1, 2):
        path.write_bytes(content)
        table = append_row(path, {"name": "x", "imacs_g": 1})
        assert (tmp_path / f"scores (set aside {number}).csv").read_bytes() == content
        assert said in table.notes[0]
        assert f"scores (set aside {number}).csv" in table.notes[0]
        assert len(rows(path)) == 1


def test_a_folder_in_its_place_is_set_aside_and_an_empty_file_begun(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").mkdir()
    assert "is no file" in append_row(tmp_path / "scores.csv", {"name": "x"}).notes[0]
    (tmp_path / "new.csv").touch()
    assert append_row(tmp_path / "new.csv", {"name": "x"}).notes == ()


def test_no_name_is_a_formula_or_more_than_a_line(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    for name in ("=HYPERLINK(1)", "+1", "@x", "two\nlines\0", "half\ud800"):
        append_row(path, {"name": name})
    assert [row["name"] for row in rows(path)] == ["'=HYPERLINK(1)", "'+1", "'@x", "two lines", "half?"]


def test_no_column_is_a_formula_either(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    for value in (0.5, 0.25):
        table = append_row(path, {"name": "x", "=HYPERLINK(1)": value, "half\ud800": value})
    assert table.columns == ("name", "'=HYPERLINK(1)", "half?")
    assert table.numbers(1) == [0.5, 0.25]


def test_the_last_rows_and_the_means_of_all_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    for i in range(MOST + 5):
        table = append_row(path, {"name": f"n{i}", "seed": i, "imacs_g": -i / 4, "empty": None})
    lines = table_lines(table, ("seed",))
    assert lines[0] == ["name", "seed", "imacs_g"]
    assert [line[0] for line in lines[1:-1]] == [f"n{i}" for i in range(5, MOST + 5)]
    assert lines[-1] == [f"mean of {MOST + 5}", "", "−3.000"]
    text = table_text(table, "scores.csv: 25 rows", ("seed",))
    assert text.startswith("scores.csv: 25 rows\nname")
    assert "−3.000" in text


def test_the_picture_has_room_for_all_of_it(tmp_path: Path) -> None:
    small = append_row(tmp_path / "a.csv", {"name": "x", "imacs_g": 0.5})
    wide = append_row(tmp_path / "b.csv", {"name": "x" * 500, **{f"column {i}": i for i in range(12)}})
    first, second = table_picture(small, "a"), table_picture(wide, "b" * 500)
    assert first.mode == "RGB"
    assert first.width < second.width < 4000
    for picture in (first, second):
        edge = Image.new("RGB", (8, picture.height), (255, 255, 255))
        assert picture.crop((picture.width - 8, 0, picture.width, picture.height)).tobytes() == edge.tobytes()
