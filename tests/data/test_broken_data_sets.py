"""Broken data sets, each a real folder: what is wrong is counted and listed, and the run can go on with the others."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2am.data.demo_folder import write_demo_folder
from i2am.data.findings import PROBLEMS
from i2am.data.kinds import open_data_set
from i2am.errors import DatasetError

NEEDS = ("person", "agnostic", "inpaint_mask", "densepose", "reference", "reference_mask")
TAKES = ("hands_mask",)
NAMES = [f"{10_000_000 + i}_00" for i in range(4)]
SECOND = NAMES[1]

Spoil = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """A broken data set.

    Attributes:
        spoil: breaks the whole folder ``test/``.
        found: how many pairs have a problem, by its kind and the picture.
        out: which of `NAMES` are left out.
        said: a regular expression of what is told.
        which: pairs.
    """

    spoil: Spoil
    found: dict[str, dict[str, int]]
    out: list[str]
    said: str
    which: str = "paired"


def file(root: Path, picture: str, name: str = SECOND) -> Path:
    folder, ending = {
        "person": ("image", ".jpg"),
        "agnostic": ("agnostic-v3.2", ".jpg"),
        "inpaint_mask": ("agnostic-mask", "_mask.png"),
        "densepose": ("image-densepose", ".jpg"),
        "reference": ("cloth", ".jpg"),
        "reference_mask": ("cloth-mask", ".jpg"),
        "hands_mask": ("image-parse-agnostic-v3.2", ".png"),
        "warped": ("cloth-warp", ".jpg"),
        "warped_mask": ("cloth-warp-mask", ".jpg"),
    }[picture]
    return root / folder / f"{name}{ending}"


def copied(root: Path, picture: str, other: str) -> None:
    Image.open(file(root, other)).save(file(root, picture))


def changed(picture: str, change: Callable[[Image.Image], Image.Image], **how: object) -> Spoil:
    def spoil(root: Path) -> None:
        path = file(root, picture)
        change(Image.open(path)).save(path, **how)

    return spoil


def written(picture: str, content: bytes) -> Spoil:
    return lambda root: file(root, picture).write_bytes(content)


def half(root: Path) -> None:
    path = file(root, "person")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def in_a_folders_place(root: Path) -> None:
    path = file(root, "person")
    path.unlink()
    path.mkdir()


def to_be_turned(root: Path) -> None:
    path, exif = file(root, "person"), Image.Exif()
    exif[0x0112] = 6
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)


def turned_though_upright(root: Path) -> None:
    path, exif = file(root, "person"), Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, quality=95, exif=exif)


def huge(root: Path) -> None:
    Image.new("1", (20000, 10000)).save(file(root, "inpaint_mask"))


def parse_maps(labels: np.ndarray) -> Spoil:
    def spoil(root: Path) -> None:
        file(root, "hands_mask").parent.mkdir()
        for name in NAMES:
            good = np.full((128, 96), 5, np.uint8)
            good[:, :20] = 14
            Image.fromarray(labels if name == SECOND else good).save(file(root, "hands_mask", name))

    return spoil


def masks_of(swap: Callable[[int], int], picture: str) -> Spoil:
    """Every file of a picture by the name of another pair."""

    def spoil(root: Path) -> None:
        content = [file(root, picture, name).read_bytes() for name in NAMES]
        for i, name in enumerate(NAMES):
            file(root, picture, name).write_bytes(content[swap(i)])

    return spoil


def listing(*lines: str, file: str = "test_pairs.txt") -> Spoil:
    return lambda root: (root.parent / file).write_text("\n".join(lines), encoding="utf-8")


def renamed(name: str) -> Spoil:
    """The second pair's pictures, and its line in the list, by another name."""

    def spoil(root: Path) -> None:
        for path in [path for path in root.rglob(f"{SECOND}*") if path.is_file()]:
            path.rename(path.with_name(path.name.replace(SECOND, name)))
        names = root.parent / "test_pairs.txt"
        names.write_text(names.read_text().replace(SECOND, name))

    return spoil


def in_capitals(root: Path) -> None:
    """Pictures of one pair by the name of another but for the letters' case."""
    for path in [path for path in root.rglob(f"{SECOND}*") if path.is_file()]:
        shutil.copy(path, path.with_name(path.name.replace(SECOND, "anna")))
    for path in [path for path in root.rglob(f"{NAMES[2]}*") if path.is_file()]:
        shutil.copy(path, path.with_name(path.name.replace(NAMES[2], "Anna")))
    listing(f"anna.jpg {NAMES[0]}.jpg", f"Anna.jpg {NAMES[0]}.jpg")(root)


def inverted(picture: Image.Image) -> Image.Image:
    return picture.convert("L").point(lambda x: 255 - x)


def grey_photo(root: Path) -> None:
    """A mask that is a photo without colours, mostly neither black nor white."""
    rng = np.random.default_rng(0)
    shades = rng.integers(60, 200, (128, 96)).astype(np.uint8)
    shades[:20] = 255
    Image.fromarray(shades).save(file(root, "inpaint_mask"))


def both(*spoils: Spoil) -> Spoil:
    return lambda root: [spoil(root) for spoil in spoils]


NONE = {"missing, optional": {"hands_mask": 4}}  # the drawn world has no parse maps

CASES: dict[str, Case] = {
    # ------------------------------------------------------------------------------------------------- missing files
    "a picture is missing": Case(
        lambda root: file(root, "densepose").unlink(),
        {"missing": {"densepose": 1}, **NONE}, [SECOND],
        rf"1 of 4; first {SECOND}: there is no .*image-densepose.{SECOND}\.jpg",
    ),
    "a folder is missing": Case(
        lambda root: shutil.rmtree(root / "agnostic-v3.2"),
        {"missing": {"agnostic": 4}, **NONE}, NAMES, rf"4 of 4; first {NAMES[0]}: there is no .*agnostic-v3\.2.{NAMES[0]}\.jpg",
    ),
    "a folder is empty": Case(
        lambda root: [path.unlink() for path in (root / "cloth").iterdir()],
        {"missing": {"reference": 4}, **NONE}, NAMES, r"missing \(reference\): 4 of 4",
    ),
    "masks have another name": Case(
        lambda root: [path.rename(path.with_stem(path.stem + "-old")) for path in (root / "agnostic-mask").iterdir()],
        {"missing": {"inpaint_mask": 4}, **NONE}, NAMES, rf"agnostic-mask.{NAMES[0]}_mask\.png",
    ),
    "garments of the list are missing": Case(
        lambda root: (root / "cloth" / f"{SECOND}.jpg").unlink(),
        {"missing": {"reference": 1}, **NONE}, [f"{NAMES[0]}+{SECOND}"],
        rf"first {NAMES[0]}\+{SECOND}: there is no .*cloth.{SECOND}", "unpaired",
    ),
    # ---------------------------------------------------------------------------------------------- unreadable files
    "a picture is no picture": Case(
        written("person", b"<html>404 Not Found</html>"),
        {"unreadable": {"person": 1}, **NONE}, [SECOND], "is not a picture that can be read",
    ),
    "a picture is empty": Case(
        written("reference", b""),
        {"unreadable": {"reference": 1}, **NONE}, [SECOND], "is not a picture that can be read",
    ),
    "a picture is half there": Case(
        half, {"unreadable": {"person": 1}, **NONE}, [SECOND], "cannot be read as a picture .*truncated",
    ),
    "a folder is called like a picture": Case(
        in_a_folders_place, {"unreadable": {"person": 1}, **NONE}, [SECOND], "is a folder; give a picture file",
    ),
    "a mask would fill the memory": Case(
        huge, {"unreadable": {"inpaint_mask": 1}, **NONE}, [SECOND], "too large to open safely",
    ),
    # --------------------------------------------------------------------------------------------------------- sizes
    "a picture lies on its side in EXIF": Case(
        to_be_turned, {**NONE, "turned": {"person": 1}}, [], "is to be turned, as its EXIF data says",
    ),
    "a picture is upright, but EXIF turns it": Case(
        turned_though_upright,
        {
            "another shape": {"agnostic": 1, "densepose": 1, "inpaint_mask": 1},
            **NONE, "odd size": {"person": 1}, "turned": {"person": 1},
        },
        [SECOND], "the agnostic is 96 x 128 pixels, but the picture of the person is 128 x 96",
    ),
    "a picture is smaller than the others": Case(
        changed("reference", lambda p: p.resize((56, 80))),
        {**NONE, "odd size": {"reference": 1}}, [], "is 56 x 80 pixels, 3 of 4 are 112 x 160",
    ),
    "a picture is an icon": Case(
        changed("person", lambda p: p.resize((12, 16))),
        {"too small": {"person": 1}, **NONE}, [SECOND], "is 12 x 16 pixels; expected 32 at least",
    ),
    "a densepose has another shape": Case(
        changed("densepose", lambda p: p.resize((128, 96))),
        {"another shape": {"densepose": 1}, **NONE, "odd size": {"densepose": 1}}, [SECOND], "the densepose is 128 x 96 pixels",
    ),
    "a mask is cropped": Case(
        changed("reference_mask", lambda p: p.crop((0, 16, 112, 144))),
        {**NONE, "stretched": {"reference_mask": 1}, "odd size": {"reference_mask": 1}}, [],
        "if it was cropped instead, it lies wrong",
    ),
    "a warped garment and its mask are of two sizes": Case(
        both(
            lambda root: [(root / f).mkdir() for f in ("cloth-warp", "cloth-warp-mask")],
            lambda root: [shutil.copy(file(root, "person", n), file(root, "warped", n)) for n in NAMES],
            lambda root: [Image.new("L", (96, 128), 255).save(file(root, "warped_mask", n)) for n in NAMES],
            lambda root: Image.new("L", (96, 118), 255).save(file(root, "warped_mask")),
        ),
        {"another shape": {"warped": 1}, **NONE}, [SECOND], "is 96 x 128 pixels, its mask 96 x 118",
    ),
    # --------------------------------------------------------------------------------------------------------- masks
    "agnostic photos lie in place of masks": Case(
        lambda root: [shutil.copy(file(root, "agnostic", name), file(root, "inpaint_mask", name)) for name in NAMES],
        {"no mask": {"inpaint_mask": 4}, **NONE}, NAMES, r"4 of 4; .*not a mask.*is this the agnostic picture",
    ),
    "a mask is a photo without colours": Case(
        grey_photo, {"mismatched picture": {"inpaint_mask": 1}, **NONE, "doubtful mask": {"inpaint_mask": 1}}, [SECOND],
        "neither black nor white",
    ),
    "an inpainting mask is inverted": Case(
        changed("inpaint_mask", inverted), {"inverted mask": {"inpaint_mask": 1}, **NONE}, [SECOND],
        r"is it inverted\? White = to repaint",
    ),
    "all garments' masks are inverted": Case(
        lambda root: [inverted(Image.open(path)).save(path) for path in (root / "cloth-mask").iterdir()],
        {"inverted mask": {"reference_mask": 4}, **NONE}, NAMES, r"4 of 4.*is it inverted\? White = the object",
    ),
    "an inpainting mask is all black": Case(
        changed("inpaint_mask", lambda p: p.point(lambda _: 0)), {"empty mask": {"inpaint_mask": 1}, **NONE}, [SECOND],
        "all black: nothing is to be repainted",
    ),
    "an inpainting mask is all white": Case(
        changed("inpaint_mask", lambda p: p.point(lambda _: 255)), {"full mask": {"inpaint_mask": 1}, **NONE}, [SECOND],
        "all white: nothing of the picture would stay",
    ),
    "a garment's mask is all black": Case(
        changed("reference_mask", lambda p: p.point(lambda _: 0)), {"empty mask": {"reference_mask": 1}, **NONE}, [SECOND],
        "reference_mask is all black",
    ),
    "a garment's mask is all white": Case(
        changed("reference_mask", lambda p: p.point(lambda _: 255)), {**NONE, "full reference mask": {"reference_mask": 1}},
        [], "these pairs have no IMACS_r",
    ),
    "a mask is too dark": Case(
        changed("inpaint_mask", lambda p: p.point(lambda x: x // 4)), {"no mask": {"inpaint_mask": 1}, **NONE}, [SECOND],
        "nowhere white: its brightest value is 63",
    ),
    "a parse map is a picture in colours": Case(
        parse_maps(np.zeros((128, 96, 3), np.uint8)), {"no mask": {"hands_mask": 1}}, [SECOND], "is not a parse map",
    ),
    "a parse map shows no arm": Case(
        parse_maps(np.full((128, 96), 5, np.uint8)), {"doubtful mask": {"hands_mask": 1}}, [], "shows no arm",
    ),
    # -------------------------------------------------------------------------------------------- mixed-up pictures
    "photos of other persons": Case(
        masks_of(lambda i: 3 - i, "person"), {"mismatched picture": {"agnostic": 4}, **NONE}, NAMES,
        "differs from the photo of the person on",
    ),
    "masks of other persons": Case(
        masks_of(lambda i: 3 - i, "inpaint_mask"), {"mismatched picture": {"inpaint_mask": 4}, **NONE}, NAMES,
        r"the inpaint_mask leaves out \d+ % of the grey",
    ),
    "an agnostic picture shows the garment": Case(
        lambda root: copied(root, "agnostic", "person"), {"mismatched picture": {"agnostic": 1}, **NONE}, [SECOND],
        "the garment is still there",
    ),
    "photos of persons in place of garments": Case(
        lambda root: [shutil.copy(file(root, "person", name), file(root, "reference", name)) for name in NAMES],
        {"same picture": {"reference": 4}, **NONE}, NAMES, "shows the same as the person",
    ),
    "a photo in place of a densepose": Case(
        lambda root: copied(root, "densepose", "person"), {"same picture": {"densepose": 1}, **NONE}, [SECOND],
        "shows the same as the person",
    ),
    "a picture shows nothing": Case(
        changed("densepose", lambda p: Image.new("RGB", p.size)), {"one colour": {"densepose": 1}, **NONE}, [SECOND],
        "of one colour: it shows nothing",
    ),
    # --------------------------------------------------------------------------------------------------------- lists
    "a paired list gives another's garment": Case(
        listing(*(f"{NAMES[i]}.jpg {NAMES[max(i, 2) if i else 0]}.jpg" for i in range(4)), file="test_pairs_paired.txt"),
        {"mismatched pair": {"": 1}, **NONE}, [f"{SECOND}+{NAMES[2]}"],
        rf"line 2, gives {SECOND} the garment {NAMES[2]} of another",
    ),
    "an unpaired list gives someone their own garment": Case(
        listing(*(f"{NAMES[i]}.jpg {NAMES[j]}.jpg" for i, j in ((0, 1), (1, 1), (2, 3), (3, 0)))),
        {"mismatched pair": {"": 1}, **NONE}, [SECOND], f"line 2, gives {SECOND} their own garment", "unpaired",
    ),
    "a list names a pair twice": Case(
        listing(*(f"{NAMES[i]} {NAMES[i ^ 1]}" for i in (0, 1, 2, 0, 3))),
        {**NONE, "listed twice": {"": 1}}, [], "names it again in line 4; it is taken once", "unpaired",
    ),
    "a name that Windows keeps for a device": Case(
        renamed("aux"), {"unfit name": {"": 1}} | NONE, ["aux"], r"'aux' is a name that Windows keeps for a device; rename",
    ),
    "a name that ends with a dot": Case(
        renamed("anna."), {"unfit name": {"": 1}} | NONE, ["anna."], r"'anna\.' begins with a dot or a space, or ends with one",
    ),
    "a name that leaves no place for an ending": Case(
        renamed("x" * 220), {"unfit name": {"": 1}} | NONE, ["x" * 220], r"'x+' has 220 bytes, 200 at most",
    ),
    "names that differ in letter case alone": Case(
        in_capitals, {"unfit name": {"": 1}, "missing, optional": {"hands_mask": 2}}, ["Anna"],
        r"'Anna' and 'anna' differ in letter case alone: they would be one file",
    ),
    "a list names someone who is not there": Case(
        listing(*(f"{name}.jpg {name}.jpg" for name in (*NAMES[:3], "00891_00"))),
        {"missing": dict.fromkeys(NEEDS, 1), "missing, optional": {"hands_mask": 4}}, ["00891_00"],
        r"there is no .*image.00891_00\.jpg",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_folder(tmp_path_factory.mktemp("whole"), 0, 4)


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "data"))


def test_there_are_enough_kinds_and_each_kind_of_problem_is_among_them() -> None:
    assert len(CASES) >= 20
    assert {kind for case in CASES.values() for kind in case.found} == set(PROBLEMS)


def test_a_whole_data_set_has_no_problem_but_the_pictures_it_can_do_without(folder: Path) -> None:
    for which in ("paired", "unpaired"):
        data = open_data_set(folder)
        findings = data.check(data.pairs(which), NEEDS, TAKES)
        assert findings.counts() == NONE
        assert findings.left_out == ()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_broken_is_counted_and_listed_and_the_run_goes_on(
    folder: Path, caplog: pytest.LogCaptureFixture, case: Case
) -> None:
    case.spoil(folder / "test")
    data = open_data_set(folder)
    pairs = data.pairs(case.which)
    takes = (*TAKES, *(name for name in ("warped",) if name in pairs[0].files))
    with caplog.at_level(logging.WARNING, "i2am"):
        findings = data.check(pairs, NEEDS, takes)
    assert not caplog.text  # it stands in the findings
    told = "\n".join(findings.lines())
    assert findings.counts() == case.found, told
    assert re.search(case.said, told), told
    assert list(findings.left_out) == case.out
    kept = [pair.name for pair in pairs if pair.name not in case.out]
    if not case.out:
        assert findings.keep(pairs) == pairs
    else:
        with pytest.raises(DatasetError, match=case.said if kept else "no pair can be used"):
            findings.keep(pairs)
    if kept:
        assert [pair.name for pair in findings.keep(pairs, go_on=True)] == kept
        for pair in findings.keep(pairs, go_on=True):
            assert set(pair.open(NEEDS)) == set(NEEDS)
    else:
        with pytest.raises(DatasetError, match="no pair can be used"):
            findings.keep(pairs, go_on=True)
