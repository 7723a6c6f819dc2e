"""DressCode's layout: categories, the numbers of its files, and its lists."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from i2am.data.demo_folder import write_demo_folder
from i2am.data.kinds import open_data_set
from i2am.data.training import TrainingPairs
from i2am.errors import DatasetError

IDS = {"upper_body": ["000000", "000001", "000002"], "dresses": ["020714", "020715", "020716"]}
NEEDS = ("person", "inpaint_mask", "densepose", "reference", "reference_mask")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn pairs under DressCode's names."""
    drawn = write_demo_folder(tmp_path_factory.mktemp("drawn"), 0, 6) / "test"
    names = iter(sorted(path.stem for path in (drawn / "image").iterdir()))
    root = tmp_path_factory.mktemp("DressCode")
    for category, ids in IDS.items():
        for number in ids:
            name = next(names)
            for source, target in (
                (f"image/{name}.jpg", f"images/{number}_0.jpg"),
                (f"cloth/{name}.jpg", f"images/{number}_1.jpg"),
                (f"agnostic-mask/{name}_mask.png", f"agnostic_masks/{number}_0.png"),
                (f"agnostic-v3.2/{name}.jpg", f"agnostic/{number}_0.jpg"),
                (f"image-densepose/{name}.jpg", f"image-densepose/{number}_0.jpg"),
                (f"cloth-mask/{name}.jpg", f"masks/{number}_1.jpg"),
            ):
                (root / category / target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(drawn / source, root / category / target)
        listed(root / category / "test_pairs_paired.txt", [(a, a) for a in ids])
        listed(root / category / "test_pairs_unpaired.txt", list(zip(ids, ids[1:] + ids[:1], strict=True)))
        listed(root / category / "train_pairs.txt", [(a, a) for a in ids[:2]])
    return root


def listed(path: Path, pairs: list[tuple[str, str]]) -> None:
    path.write_text("".join(f"{a}_0.jpg\t{b}_1.jpg\n" for a, b in pairs))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "DressCode"))


def test_pairs_of_all_categories_are_read_by_their_numbers(folder: Path) -> None:
    data = open_data_set(folder)
    assert data.title == "DressCode (DressCode)"
    paired, other = data.pairs("paired"), data.pairs("unpaired")
    assert [p.name for p in paired] == [f"{c}-{n}_0" for c, ids in IDS.items() for n in ids]
    assert [p.name for p in other][:2] == ["upper_body-000000_0+000001_1", "upper_body-000001_0+000002_1"]
    assert all(p.paired for p in paired)
    assert not any(p.paired for p in other)
    root = folder / "upper_body"
    assert other[0].files == {
        "person": root / "images" / "000000_0.jpg",
        "agnostic": root / "agnostic" / "000000_0.jpg",
        "inpaint_mask": root / "agnostic_masks" / "000000_0.png",
        "densepose": root / "image-densepose" / "000000_0.jpg",
        "reference": root / "images" / "000001_1.jpg",
        "reference_mask": root / "masks" / "000001_1.jpg",
    }
    for pairs in (paired, other):
        assert data.check(pairs, NEEDS, ("agnostic",)).problems == ()


def test_one_category_is_a_data_set_too(folder: Path) -> None:
    data = open_data_set(folder / "dresses")
    assert data.kind.name == "dress-code"
    assert [p.name for p in data.pairs()] == [f"dresses-{n}_0" for n in IDS["dresses"]]


def test_warped_garments_are_those_that_persons_wear(folder: Path) -> None:
    for name, source in (
        ("warped_cloth/000000_0.jpg", "images/000000_0.jpg"),
        ("warped_mask/000000_0.png", "agnostic_masks/000000_0.png"),
    ):
        (folder / "upper_body" / name).parent.mkdir()
        shutil.copy(folder / "upper_body" / source, folder / "upper_body" / name)
    data = open_data_set(folder)
    assert data.pairs("paired")[0].open(["warped"])["warped"].getpixel((0, 0)) == (128, 128, 128)
    assert "warped" not in data.pairs("unpaired")[0].files


def test_a_list_of_its_own_may_name_categories(folder: Path) -> None:
    (folder / "mine.txt").write_text("020714_0.jpg 020716_1.jpg dresses\n000001_0.jpg 000001_1.jpg\n")
    assert [(p.name, p.paired) for p in open_data_set(folder).pairs("mine.txt")] == [
        ("upper_body-000001_0", True),
        ("dresses-020714_0+020716_1", False),
    ]
    (folder / "mine.txt").write_text("020714_0.jpg 020716_1.jpg shoes\n")
    with pytest.raises(DatasetError, match="line 1, names the category 'shoes'; expected one of upper_body, dresses"):
        open_data_set(folder).pairs("mine.txt")


def test_training_takes_it(folder: Path) -> None:
    data = TrainingPairs(folder, (64, 64), masks=True)
    assert len(data) == 4
    assert data[3]["cloth"].shape == (3, 224, 224)
    assert 0 < float(data[3]["cloth_mask"].mean()) < 1


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "upper_body" / "agnostic_masks")
    data = open_data_set(folder)
    told = data.check(data.pairs(), NEEDS).lines()
    assert len(told) == 1
    assert "missing (inpaint_mask): 3 of 6; first upper_body-000000_0: there is no " in told[0]
    assert str(Path("upper_body", "agnostic_masks", "000000_0.png")) in told[0]
    (folder / "dresses" / "test_pairs_paired.txt").unlink()
    with pytest.raises(DatasetError, match=r"no test_pairs\.txt in .*dresses; expected a category of DressCode"):
        data.pairs()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"there is none of upper_body, lower_body, dresses with a folder images"):
        open_data_set(tmp_path / "empty", "dress-code").pairs()
