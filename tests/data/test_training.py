"""A folder as training samples and on the command line: what is read of it, and what is said about a wrong one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

pytest.importorskip("accelerate")
pytest.importorskip("transformers")

import train_case as case

from i2am.data.demo_folder import write_demo_folder
from i2am.data.kinds import open_data_set
from i2am.data.training import TrainingPairs
from i2am.drawn.draw import draw_pairs
from i2am.drawn.spec import PICTURE, draw_pair
from i2am.errors import DatasetError
from i2am.models.pictures import to_size
from i2am.models.tryon.checkpoint import sort_checkpoint
from i2am.models.weights.file import read_weights
from i2am.train import __main__ as command
from i2am.train import errors
from i2am.train.__main__ import main
from i2am.train.errors import plain


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_folder(tmp_path_factory.mktemp("viton-hd"), 3, 1)


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "viton-hd"))


def names_of(folder: Path) -> list[str]:
    return [pair.name for pair in open_data_set(folder).pairs("paired", "train")]


# ------------------------------------------------------------------------------------------------------- the folder


def test_a_sample_is_the_pair_that_was_drawn(drawn: Path) -> None:
    pair = draw_pairs([draw_pair(1)])
    got = TrainingPairs(drawn, (128, 64), 56, masks=True)[1]
    for name, picture in (("person", pair.person), ("agnostic", pair.agnostic), ("densepose", pair.densepose)):
        assert got[name].shape == (3, 128, 64)
        assert float((got[name] - to_size(picture.movedim(1, -1), (128, 64))[0]).abs().mean()) < 0.02, name
    assert got["cloth"].shape == (3, 56, 56)
    assert float((got["cloth"] - to_size(pair.reference.movedim(1, -1), (56, 56))[0]).abs().mean()) < 0.02
    for name, mask in (("inpaint_mask", pair.inpaint_mask), ("cloth_mask", pair.reference_mask)):
        assert got[name].shape == (1, 128, 64)
        assert float(got[name].mean()) == pytest.approx(float((mask >= 0.5).float().mean()), abs=0.01)
    assert int(got["index"]) == 1
    assert PICTURE == (128, 96)


def test_masks_are_read_only_where_they_are_needed_and_a_missing_cloth_mask_is_all_cloth(folder: Path) -> None:
    shutil.rmtree(folder / "train" / "cloth-mask")
    assert bool((TrainingPairs(folder, case.SIZE, masks=True)[0]["cloth_mask"] == 1).all())
    shutil.rmtree(folder / "train" / "agnostic-mask")
    assert "inpaint_mask" not in TrainingPairs(folder, case.SIZE)[0]
    with pytest.raises(DatasetError, match=r"inpaint_mask\): 3 of 3.*agnostic-mask.*the attention losses need the masks"):
        TrainingPairs(folder, case.SIZE, masks=True)


def test_other_names_and_endings_and_the_test_split_are_known(folder: Path) -> None:
    (folder / "train" / "agnostic-v3.2").rename(folder / "train" / "agnostic")
    for path in (folder / "train" / "cloth").iterdir():
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    assert len(TrainingPairs(folder, case.SIZE)) == 3
    assert TrainingPairs(folder, case.SIZE)[2]["cloth"].shape == (3, 224, 224)
    assert len(TrainingPairs(folder, case.SIZE, split="test")) == 1


def test_training_is_paired_whatever_the_pairs_file_says_second(folder: Path) -> None:
    before = TrainingPairs(folder, case.SIZE)[0]
    names = names_of(folder)
    text = f"{names[0]}.jpg {names[2]}.jpg\n\n{names[1]}.jpg\n{names[0]}.jpg {names[1]}.jpg\n"
    (folder / "train_pairs.txt").write_text(text, encoding="utf-8")
    assert names_of(folder) == names[:2]
    assert torch.equal(TrainingPairs(folder, case.SIZE)[0]["cloth"], before["cloth"])


def test_pictures_and_masks_that_are_none_are_named_when_they_are_read(folder: Path) -> None:
    name = names_of(folder)[0]
    mask = folder / "train" / "agnostic-mask" / f"{name}_mask.png"
    for shade, said in ((0, "all black"), (255, "all white")):
        Image.new("L", (96, 128), shade).save(mask)
        with pytest.raises(DatasetError, match=f"{name}_mask.png is {said}"):
            TrainingPairs(folder, case.SIZE, masks=True)[0]
    (folder / "train" / "image" / f"{name}.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=f"{name}.jpg is not a picture that can be read"):
        TrainingPairs(folder, case.SIZE)[0]


def test_pictures_are_turned_and_contiguous_and_masks_may_hold_0_and_1(folder: Path) -> None:
    name, before = names_of(folder)[0], TrainingPairs(folder, case.SIZE, masks=True)[0]
    person = folder / "train" / "image" / f"{name}.jpg"
    stored, exif = Image.open(person).transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    stored.save(person, quality=100, subsampling=0, exif=exif)
    mask = folder / "train" / "agnostic-mask" / f"{name}_mask.png"
    Image.open(mask).convert("L").point(lambda x: int(x >= 128)).save(mask)
    after = TrainingPairs(folder, case.SIZE, masks=True)[0]
    assert float((after["person"] - before["person"]).abs().mean()) < 0.01
    assert torch.equal(after["inpaint_mask"], before["inpaint_mask"])
    assert all(value.is_contiguous() for value in after.values())
    Image.new("RGB", (96, 128), (200, 30, 30)).save(mask)
    with pytest.raises(DatasetError, match=f"{name}_mask.png is a picture in colours, not a mask"):
        TrainingPairs(folder, case.SIZE, masks=True)[0]


def test_an_error_from_another_process_is_told_in_one_line() -> None:
    told = 'Caught DatasetError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File "x"\n'
    assert plain(DatasetError(f"{told}i2am.train.errors.DatasetError: the mask x: bad\n")) == "the mask x: bad"
    assert plain(DatasetError("the mask x: bad")) == "the mask x: bad"


# ------------------------------------------------------------------------------------------------- the command line


def lacking_folder(folder: Path) -> list[str]:
    shutil.rmtree(folder / "train" / "image-densepose")
    return []


def lacking_picture(folder: Path) -> list[str]:
    next((folder / "train" / "cloth").iterdir()).unlink()
    return []


def empty_pairs(folder: Path) -> list[str]:
    (folder / "train_pairs.txt").write_text("\n")
    return []


def long_line(folder: Path) -> list[str]:
    (folder / "train_pairs.txt").write_text("my person.jpg cloth.jpg\n")
    return []


def no_vision(folder: Path) -> list[str]:
    save_file(case.stable_diffusion(), folder / "start.safetensors")
    return []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: ["--data", str(f / "nowhere")], "there is no folder"),
        (lambda f: ["--data", str(f / "train")], "is no data set .*looks like VITON-HD: give that folder"),
        (lacking_folder, r"missing \(densepose\): 3 of 3; first 00000000_00: there is no .*image-densepose/00000000_00.jpg"),
        (lacking_picture, r"missing \(reference\): 1 of 3; first .*cloth/"),
        (empty_pairs, "names no pair"),
        (long_line, "line 1, .* holds 3 names; expected"),
        (lambda f: ["--size", "500", "384"], "500 x 384 does not divide by 64; take for example 512 384"),
        (lambda f: ["--rate", "0"], "--rate is 0; expected more than 0"),
        (lambda f: ["--drop", "2"], "--drop is 2; expected 0 to 1"),
        (lambda f: ["--tv-weight", "-1"], "--tv-weight is -1"),
        (lambda f: ["--save-every", "0"], "--save-every is 0; expected at least 1"),
        (lambda f: ["--steps", "0"], "--steps is 0"),
        (lambda f: [], "there is no file .*start.safetensors"),
        (no_vision, "give a CLIP vision model with --vision"),
    ],
)
def test_bad_input_is_told_in_one_line_with_status_2(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], spoil: object, words: str
) -> None:
    given = spoil(folder)  # type: ignore[operator]
    start = ["--start", str(folder / "start.safetensors"), "--out", str(tmp_path / "out"), "--size", "64", "64"]
    assert main(["--data", str(folder), *start, *given]) == 2
    told = capfd.readouterr().err.strip()
    assert told.startswith("i2am: ")
    assert "\n" not in told
    assert re.search(words, told), told
    assert not list((tmp_path / "out").glob("*"))


def test_without_data_or_extras_it_says_what_to_give(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--out", str(tmp_path)]) == 2
    assert "--small to try it" in capfd.readouterr().err
    monkeypatch.setattr(errors, "find_spec", lambda name: None if name == "accelerate" else object())
    assert main(["--small", "--out", str(tmp_path)]) == 2
    assert capfd.readouterr().err == ("i2am: training needs accelerate, not installed here; run: pip install 'i2am[train]'\n")


def test_the_small_way_goes_from_nothing_to_a_checkpoint(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "DEMO_PAIRS", 4)
    given = [
        "--small",
        "--out",
        str(tmp_path),
        "--size",
        "64",
        "64",
        "--epochs",
        "1",
        "--batch",
        "2",
        "--alignment-weight",
        "1",
    ]
    assert main([*given, "--steps", "1"]) == 0
    assert "stopped after 1 steps" in capfd.readouterr().out
    assert main(given) == 0
    assert "wrote" in capfd.readouterr().out
    assert sort_checkpoint(read_weights(tmp_path / "custom.safetensors")).family.name == "custom"
    assert main([*given, "--seed", "1"]) == 2
    assert "seed was 0, now 1" in capfd.readouterr().err


def test_files_go_to_a_checkpoint_and_stay_as_they_are(folder: Path, tmp_path: Path) -> None:
    start, vision, out = folder / "start.safetensors", folder / "clip.safetensors", tmp_path / "out"
    save_file(case.stable_diffusion(), start)
    save_file(case.clip(), vision)
    files = ["--data", str(folder), "--start", str(start), "--vision", str(vision), "--out", str(out)]
    assert main([*files, "--size", "64", "64", "--epochs", "1", "--batch", "3", "--workers", "0", "--half"]) == 0
    before, after = case.stable_diffusion(), read_weights(out / "custom.safetensors")
    assert after[case.FIRST].dtype == torch.float16
    assert bool((after[case.FIRST][:, 4:] != 0).any())
    assert all(torch.equal(value, before[key]) for key, value in read_weights(start).items())


def test_a_list_of_ones_own_says_whom_to_train_on(folder: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = [path.stem for path in sorted((folder / "train" / "image").iterdir())]
    (folder / "mine.txt").write_text(f"# some\n{names[2]}.jpg {names[2]}.jpg\n{names[0]}.jpg {names[0]}.jpg\n")
    data = TrainingPairs(folder, case.SIZE, kind="viton-hd", pair_list=Path("mine.txt"))
    assert [pair.person for pair in data.pairs] == [names[2], names[0]]
    (folder / "mine.txt").write_text(f"{names[2]}.jpg {names[2]}.jpg\n{names[0]}.jpg {names[1]}.jpg\n")
    start = ["--start", "x", "--out", str(tmp_path / "out"), "--size", "64", "64", "--pair-list", "mine.txt"]
    assert main(["--data", str(folder), *start]) == 2
    assert f"gives 1 of 2 persons another's garment, first {names[0]}+{names[1]}" in capfd.readouterr().err
    assert main(["--small", *start]) == 2
    assert "--pair-list is of a data set: give its folder by --data" in capfd.readouterr().err
