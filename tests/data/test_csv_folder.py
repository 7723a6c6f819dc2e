"""A plain folder with a CSV: its columns in every form that people write them in, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from i2am.data.demo_folder import write_demo_folder
from i2am.data.kinds import open_data_set
from i2am.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos of persons, two of garments, a mask."""
    for name in ("people/ann.jpg", "people/bea.jpg", "people/cleo.jpg", "clothes/ann.png", "clothes/shirt.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (48, 64), (200, 30, 30)).save(tmp_path / name)
    Image.new("L", (48, 64), 255).save(tmp_path / "mask.png")
    return tmp_path


def write(folder: Path, text: str, name: str = "pairs.csv", encoding: str = "utf-8") -> None:
    (folder / name).write_text(text, encoding=encoding)


def test_a_drawn_data_set_can_be_listed_in_a_csv(tmp_path: Path) -> None:
    root = write_demo_folder(tmp_path / "drawn", 0, 3) / "test"
    names = sorted(path.stem for path in (root / "image").iterdir())
    rows = ["person,agnostic,mask,densepose,garment,garment_mask"]
    rows += [
        f"image/{n}.jpg,agnostic-v3.2/{n}.jpg,agnostic-mask/{n}_mask.png,image-densepose/{n}.jpg,cloth/{n}.jpg,cloth-mask/{n}.jpg"
        for n in names
    ]
    write(root, "\n".join(rows), "list.csv")
    data = open_data_set(root, "csv")
    pairs = data.pairs()
    assert data.title == "a folder with a CSV (test)"
    assert [pair.name for pair in pairs] == names
    needs = ("person", "agnostic", "inpaint_mask", "densepose", "reference", "reference_mask")
    assert data.check(pairs, needs).problems == ()
    with pytest.raises(DatasetError, match=r"names no unpaired pair .*among 3; a column 'paired' with yes or no"):
        data.pairs("unpaired")


@pytest.mark.parametrize(
    ("separator", "encoding", "end"), [(",", "utf-8", "\n"), (";", "utf-8-sig", "\r\n"), ("\t", "utf-8", "\n")]
)
def test_separators_marks_and_blank_lines(folder: Path, separator: str, encoding: str, end: str) -> None:
    rows = [
        "Person ;Reference;Mask",
        " people\\ann.jpg;clothes/ann.png;mask.png",
        ";;",
        "people/bea.jpg;clothes/shirt.png;",
        "",
    ]
    write(folder, end.join(rows).replace(";", separator), encoding=encoding)
    data = open_data_set(folder)
    paired, other = data.pairs("paired")[0], data.pairs("unpaired")[0]
    assert (paired.name, other.name) == ("ann", "bea+shirt")
    assert paired.files["inpaint_mask"] == folder / "mask.png"
    assert "inpaint_mask" not in {*other.files, *other.lacks}
    with pytest.raises(DatasetError, match="bea\\+shirt lacks its inpaint_mask: the data set names no file for it"):
        other.open(["inpaint_mask"])
    assert "missing (inpaint_mask): 1 of 1; first bea+shirt" in data.check([other], ["inpaint_mask"]).lines()[0]


def test_columns_say_names_splits_and_which_are_paired(folder: Path) -> None:
    write(
        folder,
        "name,person,reference,paired,split\n"
        "first,people/ann.jpg,clothes/shirt.png,yes,test\n"
        "second,people/bea.jpg,clothes/shirt.png,No,test\n"
        "third,people/cleo.jpg,clothes/shirt.png,TRUE,train\n",
    )
    data = open_data_set(folder)
    assert [p.name for p in data.pairs("paired", "test")] == ["first"]
    assert [p.name for p in data.pairs("unpaired", "test")] == ["second"]
    assert [p.name for p in data.pairs("paired", "train")] == ["third"]
    assert [(p.name, p.paired) for p in data.pairs("pairs.csv", "test")] == [("first", True), ("second", False)]


def test_files_of_one_stem_in_two_folders_have_names_of_their_own(folder: Path) -> None:
    for i in (1, 2):
        (folder / f"take{i}").mkdir()
        Image.new("RGB", (48, 64)).save(folder / f"take{i}" / "front.jpg")
    write(folder, "person,reference\ntake1/front.jpg,clothes/shirt.png\ntake2/front.jpg,clothes/shirt.png\n")
    assert [p.name for p in open_data_set(folder).pairs("unpaired")] == ["take1-front+shirt", "take2-front+shirt"]


def test_a_parse_map_gives_the_hands(folder: Path) -> None:
    Image.new("L", (48, 64), 14).save(folder / "parse.png")
    write(folder, "person,reference,parse\npeople/ann.jpg,clothes/ann.png,parse.png\n")
    assert open_data_set(folder).pairs()[0].open(["hands_mask"])["hands_mask"].getextrema() == (255, 255)


def test_a_row_twice_and_files_that_are_missing_are_told(folder: Path) -> None:
    write(folder, "person,reference\n" + "people/ann.jpg,clothes/ann.png\n" * 2 + "people/dora.jpg,clothes/dora.png\n")
    data = open_data_set(folder)
    pairs = data.pairs()
    assert [pair.name for pair in pairs] == ["ann", "dora"]
    told = data.check(pairs, ("person", "reference")).lines()
    assert f"missing (person): 1 of 2; first dora: there is no {folder / 'people' / 'dora.jpg'}" in told[0]
    assert "listed twice: 1 of 2; first ann: pairs.csv names it again in line 3" in told[-1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; expected a row of column names"),
        (
            "who,what\na,b\n",
            r"no column person and reference; its columns are who, what; expected person, ",
        ),
        ("person,image,reference\na,b,c\n", "several columns for person; keep one"),
        ("person,reference\n", "names no pair of the split 'test'"),
        ("person,reference\na.jpg\n", "line 2, names no reference"),
        ("person,reference\na.jpg,b.jpg,c.jpg\n", "line 2, has 3 cells for 2 columns"),
        ("person,reference,paired\na.jpg,b.jpg,perhaps\n", "line 2, has 'perhaps' in the column paired; expected yes or no"),
        ("person,reference,split\na.jpg,b.jpg,val\n", "names no pair of the split 'test'"),
        ("name,person,reference\n../x,a.jpg,a.jpg\n", "line 2: '../x' is no name for files"),
        ("name,person,reference\naux.1,a.jpg,a.jpg\n", "line 2: 'aux.1' is no name for files, since it is a name that Windows"),
        ("name,person,reference\nann.,a.jpg,a.jpg\n", "line 2: 'ann.' is no name for files, since it begins with a dot or a"),
        (f"name,person,reference\n{'ä' * 101},a.jpg,a.jpg\n", "is no name for files, since it has 202 bytes"),
        ("name,person,reference\nAnn,a.jpg,a.jpg\nann,b.jpg,b.jpg\n", "pairs 'Ann' and 'ann', which differ in letter case"),
        ("name,person,reference\nx,a.jpg,a.jpg\nx,b.jpg,b.jpg\n", "line 3, names a second pair 'x'"),
        ('person,reference\n"a.jpg,b.jpg\n' + "x" * 200_000, "is no CSV"),
    ],
)
def test_lists_that_are_none_are_refused(folder: Path, text: str, said: str) -> None:
    write(folder, text)
    with pytest.raises(DatasetError, match=said):
        open_data_set(folder).pairs()


def test_what_is_no_text_or_not_there_is_refused(folder: Path) -> None:
    (folder / "pairs.csv").write_bytes(b"\x89PNG\x00\xff")
    data = open_data_set(folder)
    with pytest.raises(DatasetError, match=r"is not a text file; save it as UTF-8; expected a CSV with the columns person"):
        data.pairs()
    with pytest.raises(DatasetError, match=r"there is no CSV other\.csv"):
        data.pairs("other.csv")
    with pytest.raises(DatasetError, match="no split 'all'"):
        data.pairs("paired", "all")
    (folder / "pairs.csv").rename(folder / "a.csv")
    write(folder, "", "b.csv")
    with pytest.raises(DatasetError, match=r"is no data set of a kind that is known .*pairs\.csv, with the columns person and"):
        open_data_set(folder)
    with pytest.raises(DatasetError, match=r"there is no pairs\.csv in"):
        open_data_set(folder, "csv").pairs()


def test_a_csv_is_not_hidden_by_a_folder_that_is_named_as_viton_hds(tmp_path: Path) -> None:
    (tmp_path / "test" / "image").mkdir(parents=True)
    (tmp_path / "pairs.csv").write_text("person,reference\ntest/image/a.jpg,b.jpg\n")
    assert open_data_set(tmp_path).kind.name == "csv"
    (tmp_path / "test_pairs.txt").write_text("a.jpg b.jpg\n")
    assert open_data_set(tmp_path).kind.name == "viton-hd"
