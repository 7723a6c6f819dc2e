"""The viewer's file: whole, small enough, and as exact as it says."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from large_maps import large
from report_case import PICTURES, picture, read_file, record, unpack

from i2am.geometry.resample import area
from i2am.outputs.embedded import in_blocks
from i2am.outputs.explored import MOST, explorer_file
from i2am.outputs.second import SecondRun
from i2am.outputs.viewer_data import viewer_data
from i2am.outputs.viewer_file import LARGEST, MAGIC, viewer_file


def test_the_file_says_what_the_data_is() -> None:
    data = viewer_data(record(), *PICTURES)
    raw = viewer_file(data)
    assert raw[:8] == MAGIC
    assert struct.unpack("<I", raw[8:12]) == (data["version"],)
    assert read_file(raw) == data


def test_a_mean_map_of_the_promised_size_takes_at_most_eight_megabytes_and_is_as_exact_as_it_says() -> None:
    maps = large(1)
    pictures = picture(384, 512), [picture(512, 512, 1), picture(512, 512, 2)]
    raw = explorer_file(maps, *pictures)
    assert len(raw) <= 8_000_000
    data = read_file(raw)
    assert "8 bits for patch maps" in data["quantisation"]
    assert not any("keep this small" in note for note in data["notes"])
    for entry in data["pairwise"]:
        expected = maps.pairwise("layer", reference=entry["reference"])[0].numpy()
        values, off = unpack(entry["values"])
        assert (np.abs(values - expected) <= off).all()
        assert off.max() <= 0.51 * expected.max() / 255 * 1.01


def test_more_is_coarsened_until_it_fits_and_says_so() -> None:
    raw = explorer_file(large(5), picture(384, 512), [picture(512, 512, 1), picture(512, 512, 2)])
    assert len(raw) <= LARGEST
    data = read_file(raw)
    assert {entry["values"]["shape"][0] for entry in data["pairwise"]} == {1}
    assert any("mean over all steps" in note for note in data["notes"])


def test_two_large_runs_share_the_room_of_one() -> None:
    maps, pictures = large(1), (picture(384, 512), [picture(512, 512, 1), picture(512, 512, 2)])
    raw = explorer_file(maps, *pictures, second=SecondRun(maps, pictures[0]))
    assert len(raw) <= LARGEST
    data = read_file(raw)
    for run in (data, data["second"]):
        assert [entry["grids"]["reference"] for entry in run["pairwise"]] == [[32, 32], [32, 32]]
        size = sum(len(entry["values"]["data"]) + len(entry["values"]["scales"]) for entry in run["pairwise"])
        assert size <= MOST // 2
    small = viewer_data(maps, *pictures, second=SecondRun(maps, pictures[0]), fine=0, most=1_000_000)
    assert {entry["grids"]["reference"][0] for run in (small, small["second"]) for entry in run["pairwise"]} == {16}


def test_the_only_layer_is_kept_in_blocks() -> None:
    data = viewer_data(large(1), *(picture(384, 512), [picture(32, 32), picture(32, 32)]), fine=0, most=500_000)
    assert [entry["grids"]["reference"] for entry in data["pairwise"]] == [[16, 16], [16, 16]]
    assert [entry["values"]["shape"] for entry in data["pairwise"]] == [[1, 1, 768, 256]] * 2
    assert any("blocks of about 2 x 2 patches" in note for note in data["notes"])


def test_blocks_are_means_of_queries_and_sums_of_keys() -> None:
    values = np.random.default_rng(0).random((2, 3, 5 * 4, 1 + 6 * 7)).astype(np.float32)
    values /= values.sum(-1, keepdims=True)
    grids = {"generated": [5, 4], "reference": [6, 7], "leading": 1}
    out, new = in_blocks(values, grids, 2)
    assert new == {"generated": [3, 2], "reference": [3, 4], "leading": 1}
    np.testing.assert_allclose(out.sum(-1), 1, rtol=1e-5)  # rows stay distributions
    np.testing.assert_allclose(out.mean(2)[..., 0], values.mean(2)[..., 0], rtol=1e-5)
    left = values.reshape(2, 3, 5, 4, 43)[:, :, :, :2].mean(3)  # the first column of two
    rows = (left[:, :, 0] + left[:, :, 1] * 2 / 3) / (5 / 3)  # the first five thirds of five rows
    keys = area(torch.from_numpy(rows[..., 1:]).reshape(-1, 6, 7), (3, 4)).flatten(1).numpy() * 42 / 12
    np.testing.assert_allclose(out[:, :, 0, 1:].reshape(6, 12), keys, rtol=1e-5)


@pytest.mark.parametrize("most", [24_000, 18_000])
def test_maps_of_the_whole_picture_are_coarsened_too(most: int) -> None:
    maps = record("heads")
    whole = viewer_data(maps, *PICTURES)
    data = viewer_data(maps, *PICTURES, most=most)
    size = sum(len(e["values"]["data"]) + len(e["values"]["scales"]) for e in data["marginals"])
    assert size <= most / 3 < sum(len(e["values"]["data"]) for e in whole["marginals"])
    assert {e["values"]["shape"][1] for e in data["marginals"]} == {1}
    assert any("maps of the whole picture are embedded as their mean over heads" in note for note in data["notes"])
