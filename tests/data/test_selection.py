"""Some pairs of a list, opened as tensors: what is missing keeps its reason, and batches have one size."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2am import DatasetError, Pair, open_data_set
from i2am.data.demo_folder import write_demo_folder
from i2am.data.selection import select


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_folder(tmp_path_factory.mktemp("drawn"), 0, 3)


@pytest.fixture
def pairs(drawn: Path, tmp_path: Path) -> list[Pair]:
    return open_data_set(shutil.copytree(drawn, tmp_path / "data")).pairs("unpaired")


def test_pictures_come_in_order_as_numbers_or_reasons(pairs: list[Pair]) -> None:
    chosen = select(pairs, 1, 9)
    assert chosen.pairs == pairs[1:]
    assert chosen.findings.problems == ()
    assert [tuple(one.shape) for one in chosen.pictures["person"]] == [(1, 128, 96, 3)] * 2
    mask = torch.from_numpy(np.asarray(Image.open(pairs[2].files["inpaint_mask"]).convert("L")) / 255).float()
    assert torch.equal(chosen.pictures["inpaint_mask"][1][0], mask)
    assert chosen.pictures["warped"][0] == f"{pairs[1].name} has no warped: there is no {pairs[1].lacks['warped']}"
    batch = chosen.stacked()
    assert torch.equal(batch["reference"], torch.cat(chosen.pictures["reference"]))
    assert batch["warped"] == chosen.pictures["warped"][0]


def test_an_optional_picture_that_one_pair_lacks_is_told_and_no_error(pairs: list[Pair], tmp_path: Path) -> None:
    pairs[1].files["densepose"].unlink()
    chosen = select(open_data_set(tmp_path / "data").pairs("unpaired"), 0, 3)
    assert [isinstance(one, str) for one in chosen.pictures["densepose"]] == [False, True, False]
    assert chosen.findings.counts() == {"missing, optional": {"densepose": 1}}
    assert "image-densepose" in chosen.stacked()["densepose"]


def test_broken_pairs_can_be_kept_as_far_as_they_can_be_opened(pairs: list[Pair]) -> None:
    path = pairs[0].files["inpaint_mask"]
    Image.open(path).convert("L").point(lambda x: 255 - x).save(path)
    pairs[0].files["agnostic"].write_bytes(b"")
    with pytest.raises(DatasetError, match="no pair can be used: unreadable"):
        select(pairs, 0)
    kept = select(pairs, 0, broken="keep")
    assert set(kept.findings.counts()) == {"unreadable", "inverted mask"}
    assert isinstance(kept.pictures["inpaint_mask"][0], torch.Tensor)
    assert "is not a picture that can be read" in kept.pictures["agnostic"][0]
    assert select(pairs, 0, 3, "leave out").pairs == pairs[1:]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ((3, 1, "stop"), "index 3 was asked for, but there are 3 pairs"),
        ((-1, 1, "stop"), "index -1 was asked for"),
        ((0, 0, "stop"), "0 pairs were asked for; expected at least 1"),
        ((0, 1, "ignore"), "broken pairs are to stop, leave out or keep, got 'ignore'"),
    ],
)
def test_what_there_is_not_cannot_be_selected(pairs: list[Pair], how: tuple[int, int, str], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        select(pairs, *how)
