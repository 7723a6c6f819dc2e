"""VITON-HD's layout: which pairs there are, where their pictures lie, and what is said about lists that are none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2am.data.demo_folder import write_demo_folder
from i2am.data.kinds import open_data_set
from i2am.data.pairs import Pair
from i2am.errors import DatasetError


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_folder(tmp_path_factory.mktemp("viton-hd"), 0, 3)


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "zalando"))


@pytest.fixture
def names(folder: Path) -> list[str]:
    return [path.stem for path in sorted((folder / "test" / "image").iterdir())]


def unpaired(folder: Path, names: list[str]) -> list[tuple[str, str]]:
    """Write a list in which each wears the next one's."""
    lines = list(zip(names, names[1:] + names[:1], strict=True))
    (folder / "test_pairs.txt").write_text("".join(f"{a}.jpg {b}.jpg\n" for a, b in lines), encoding="utf-8")
    return lines


def test_paired_pairs_are_the_persons_of_the_list_in_their_own_garments(folder: Path, names: list[str]) -> None:
    unpaired(folder, names)
    data = open_data_set(folder)
    pairs = data.pairs("paired", "test")
    assert data.title == "VITON-HD (zalando)"
    assert [(p.name, p.person, p.garment, p.paired, dict(p.odd)) for p in pairs] == [(n, n, n, True, {}) for n in names]
    root = folder / "test"
    assert pairs[1].files == {
        "person": root / "image" / f"{names[1]}.jpg",
        "agnostic": root / "agnostic-v3.2" / f"{names[1]}.jpg",
        "inpaint_mask": root / "agnostic-mask" / f"{names[1]}_mask.png",
        "densepose": root / "image-densepose" / f"{names[1]}.jpg",
        "reference": root / "cloth" / f"{names[1]}.jpg",
        "reference_mask": root / "cloth-mask" / f"{names[1]}.jpg",
    }
    assert pairs[1].lacks["hands_mask"] == root / "image-parse-agnostic-v3.2" / f"{names[1]}.png"


def test_unpaired_pairs_take_the_garment_of_their_line(folder: Path, names: list[str]) -> None:
    lines = unpaired(folder, names)
    pairs = open_data_set(folder).pairs("unpaired", "test")
    assert [(p.name, p.person, p.garment, p.paired) for p in pairs] == [(f"{a}+{b}", a, b, False) for a, b in lines]
    assert pairs[0].files["reference"].stem == pairs[0].files["reference_mask"].stem == names[1]
    assert pairs[0].files["person"].stem == pairs[0].files["densepose"].stem == names[0]


def test_pictures_are_opened_upright_in_their_modes(folder: Path, names: list[str]) -> None:
    pair = open_data_set(folder).pairs()[0]
    parse = folder / "test" / "image-parse-agnostic-v3.2" / f"{names[0]}.png"
    parse.parent.mkdir()
    labels = np.zeros((128, 96), np.uint8)
    labels[:, :10], labels[:, 40:] = 14, 5
    Image.fromarray(labels).save(parse)
    pair = open_data_set(folder).pairs()[0]
    opened = pair.open(["person", "inpaint_mask", "reference_mask", "hands_mask"])
    assert {name: (picture.mode, picture.size) for name, picture in opened.items()} == {
        "person": ("RGB", (96, 128)),
        "inpaint_mask": ("L", (96, 128)),
        "reference_mask": ("L", (112, 160)),
        "hands_mask": ("L", (96, 128)),
    }
    assert (np.asarray(opened["hands_mask"]) == (labels == 14) * 255).all()
    with pytest.raises(DatasetError, match=r"lacks its warped: there is no .*cloth-warp.*; add it"):
        pair.open(["warped"])
    with pytest.raises(DatasetError, match="no picture 'cloth'; a pair's pictures are person, agnostic"):
        pair.open(["cloth"])


def test_warped_garments_are_cut_out_and_laid_on_grey(folder: Path, names: list[str]) -> None:
    unpaired(folder, names)
    for title, shade in (("cloth-warp", 200), ("unpaired-cloth-warp", 100)):
        (folder / "test" / title).mkdir()
        (folder / "test" / f"{title}-mask").mkdir()
        Image.new("RGB", (96, 128), (shade, 0, 0)).save(folder / "test" / title / f"{names[0]}.png")
        half = np.zeros((128, 96), np.uint8)
        half[:64] = 255
        Image.fromarray(half).save(folder / "test" / f"{title}-mask" / f"{names[0]}.png")
    for which, shade in (("paired", 200), ("unpaired", 100)):
        warped = np.asarray(open_data_set(folder).pairs(which)[0].open(["warped"])["warped"])
        assert warped[0, 0].tolist() == [shade, 0, 0]
        assert warped[-1, 0].tolist() == [128, 128, 128]


def test_a_list_of_its_own_may_mix_both_and_name_paths(folder: Path, names: list[str]) -> None:
    lines = f"\ufefftest\\image\\{names[0]}.jpg test/cloth/{names[0]}.jpg\r\n{names[1]} {names[2]}\r\n\r\n{names[2]}\r\n"
    (folder / "mine.txt").write_text(lines, encoding="utf-8")
    expected = [(names[0], True), (f"{names[1]}+{names[2]}", False), (names[2], True)]
    for which in ("mine.txt", folder / "mine.txt"):
        assert [(p.name, p.paired) for p in open_data_set(folder).pairs(which)] == expected
    with pytest.raises(DatasetError, match=r"no list of pairs yours\.txt"):
        open_data_set(folder).pairs("yours.txt")


def test_remarks_and_empty_lines_are_passed_over_and_tabs_part_names_with_spaces(folder: Path, names: list[str]) -> None:
    for kind, name in (("image", "Ann at home"), ("cloth", "red, no sleeves")):
        (folder / "test" / kind / f"{names[0]}.jpg").rename(folder / "test" / kind / f"{name}.jpg")
    lines = f"# person\tgarment\n\n  \nAnn at home.jpg\tred, no sleeves.jpg\n\t{names[1]}.jpg\t\t{names[2]}.jpg\t\n"
    (folder / "test_pairs.txt").write_text(lines)
    pairs = open_data_set(folder).pairs("unpaired")
    assert [(pair.person, pair.garment) for pair in pairs] == [("Ann at home", "red, no sleeves"), (names[1], names[2])]
    assert [pair.path(name).stem for pair in pairs for name in ("person", "reference")] == [
        *("Ann at home", "red, no sleeves"),
        *(names[1], names[2]),
    ]


def test_lists_of_paired_and_unpaired_pairs_stand_before_the_general_one(folder: Path, names: list[str]) -> None:
    (folder / "test_pairs_paired.txt").write_text(f"{names[2]}.jpg {names[2]}.jpg\n{names[1]}.jpg {names[0]}.jpg\n")
    (folder / "test_pairs_unpaired.txt").write_text(f"{names[0]}.jpg {names[1]}.jpg\n{names[1]}.jpg {names[1]}.jpg\n")
    paired, other = (open_data_set(folder).pairs(which) for which in ("paired", "unpaired"))
    assert [pair.name for pair in paired] == [names[2], f"{names[1]}+{names[0]}"]
    assert odd(paired) == {f"{names[1]}+{names[0]}": ["mismatched pair"]}
    assert odd(other) == {names[1]: ["mismatched pair"]}


def test_a_pair_that_is_listed_twice_is_taken_once(folder: Path, names: list[str]) -> None:
    (folder / "test_pairs.txt").write_text(f"{names[0]} {names[1]}\n{names[0]} {names[1]}\n{names[0]} {names[2]}\n")
    pairs = open_data_set(folder).pairs("unpaired")
    assert [pair.name for pair in pairs] == [f"{names[0]}+{names[1]}", f"{names[0]}+{names[2]}"]
    assert odd(pairs) == {pairs[0].name: ["listed twice"]}
    assert [pair.name for pair in open_data_set(folder).pairs("paired")] == [names[0]]


def odd(pairs: list[Pair]) -> dict[str, list[str]]:
    return {pair.name: list(pair.odd) for pair in pairs if pair.odd}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no pair"),
        ("a.jpg b.jpg c.jpg\n", "line 1, .* holds 3 names; expected .* a tab where names hold spaces"),
        ("a.jpg,b.jpg\n", r"line 1, 'a\.jpg,b\.jpg', is separated by commas; expected .* such as 00006_00\.jpg 08909_00\.jpg"),
        ("# mine\na.jpg, b.jpg\n", "line 2, .* is separated by commas"),
        ("a.jpg ;b.jpg\n", "is separated by semicolons"),
        ("a.jpg b.jpg\nc.jpg\n", r"line 2, 'c\.jpg', holds one name; expected a person's and a garment's picture on each line"),
        ("# a.jpg b.jpg\n\n", "names no pair"),
        ("a.jpg a.jpg\n", "every person their own garment, so it names no unpaired pair"),
    ],
)
def test_a_list_that_is_none_is_refused(folder: Path, text: str, said: str) -> None:
    (folder / "test_pairs.txt").write_text(text)
    with pytest.raises(DatasetError, match=said):
        open_data_set(folder).pairs("unpaired")


def test_a_list_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "test_pairs.txt").write_bytes(b"\x89PNG\x00\xff")
    with pytest.raises(DatasetError, match="is not a text file"):
        open_data_set(folder).pairs()


def test_folders_that_are_none_are_refused_with_what_they_hold(folder: Path, tmp_path: Path) -> None:
    data = open_data_set(folder)
    with pytest.raises(DatasetError, match=r"no train_pairs\.txt in"):
        data.pairs("paired", "train")
    with pytest.raises(DatasetError, match="no split 'val'; take train or test"):
        data.pairs("paired", "val")
    with pytest.raises(DatasetError, match=r"there is no folder .*nowhere"):
        open_data_set(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no kind of data set 'coco'; take auto, dress-code, viton-hd, csv"):
        open_data_set(folder, "coco")
    with pytest.raises(DatasetError, match=r"holds: agnostic-mask, .*looks like VITON-HD: give that folder"):
        open_data_set(folder / "test")
    (folder / "test").rename(folder / "validation")
    with pytest.raises(DatasetError, match=r"there is no folder .*test with image"):
        data.pairs()
