"""The HTML report: one file that needs nothing else, and holds the recorded values."""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from joint_run import JointRun, flux_like
from PIL import Image
from report_case import PICTURES, SHIRT, UNEVEN, data_of, picture, read, record, unpack

from i2am.errors import I2AMError, UnavailableError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.maps.value import AttributionMaps
from i2am.outputs.packing import pack
from i2am.outputs.report import write_report
from i2am.outputs.viewer_data import viewer_data
from i2am.recording.recorder import Recorder

HOSTILE = """</script><script>alert("x")</script> & 'ünï' <!-- {{data}}"""


@pytest.fixture(scope="module")
def maps() -> AttributionMaps:
    return record()


def test_the_page_is_one_file_that_asks_for_nothing(maps: AttributionMaps, tmp_path: Path) -> None:
    path = write_report(tmp_path / "new" / "report.html", maps, *PICTURES, images={"mask": picture(9, 9)}, scores={"x": 1.0})
    page = path.read_text(encoding="utf-8")
    found = read(path)
    modules = json.loads(found.scripts["importmap"])["imports"]
    sources = {name: base64.b64decode(url.split(",", 1)[1]).decode() for name, url in modules.items()}
    assert set(sources) >= {"i2am/viewer.js", "i2am/maths.js", "i2am/page.js"}
    assert found.loads == []  # pictures are in the data, modules in the import map
    assert all(p["type"] == "image/png" and p["src"].startswith(b"\x89PNG") for p in data_of(path)["pictures"])
    for text in (page, *sources.values()):
        assert not re.search(r"https?://|\bfetch\(|XMLHttpRequest|WebSocket|\beval\(|new Function|importScripts|@import", text)
        assert not re.search(r"""url\(\s*["']?(?!data:)""", text)
    imported = {name for text in sources.values() for name in re.findall(r'from\s+"([^"]+)"', text)}
    assert imported <= set(sources)
    assert "default-src 'none'" in page


def test_the_viewer_does_nothing_when_it_is_merely_loaded() -> None:
    folder = Path(__file__).resolve().parents[2] / "web" / "viewer"
    files = sorted(folder.glob("*.js"))
    assert files
    declares = re.compile(r"(import|export|const|let|function|async function|class|//|/\*|\*| |\}|\]|\)|$)")
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            assert declares.match(line), f"{file.name}:{number} runs when loaded: {line}"
            assert not re.match(r"(export )?(const|let) \w+ = (document|window|new (?!Map|Set))", line), f"{file.name}:{number}"


def test_embedded_maps_are_the_recorded_ones_within_the_stated_rounding(maps: AttributionMaps) -> None:
    data = viewer_data(maps, *PICTURES)
    names = [layer["name"] for layer in data["layers"]]
    groups = [(g["start"], g["stop"]) for g in data["groups"]]
    assert groups == [(0, 2), (2, 4), (4, 7)]
    kinds = {"R2G": "r2g", "R2G-balanced": "balanced", "mass": "mass", "G2R": "g2r"}
    seen = set()
    for entry in data["marginals"]:
        recorded = maps.marginal(kinds[entry["side"]], names[entry["layer"]], reference=entry["reference"])[0].double()
        expected = torch.stack([recorded[a:b].mean(0) for a, b in groups])
        values, off = unpack(entry["values"])
        assert (np.abs(values - expected.numpy()) <= off).all()
        seen.add((entry["side"], entry["reference"], entry["layer"]))
    assert seen == {(side, reference, layer) for side in kinds for reference in (0, 1) for layer in range(3)}
    assert len(data["pairwise"]) == 6
    for entry in data["pairwise"]:
        expected = maps.pairwise(names[entry["layer"]], reference=entry["reference"])[0].numpy()
        values, off = unpack(entry["values"])
        assert entry["values"]["dtype"] == "uint16"
        assert (np.abs(values - expected) <= off).all()
    assert f"{100 / 65535 / 2:.2g} %" in data["quantisation"]
    assert "16 bits for patch maps" in data["quantisation"]


def test_layers_of_uneven_grids_keep_their_own_and_the_page_says_so() -> None:
    data = viewer_data(record(layers=UNEVEN), *PICTURES)
    assert (data["generated"]["grid"], data["references"][0]["grid"]) == ([9, 13], [5, 4])
    assert [x["grid"] for x in data["layers"]] == [[9, 13], [5, 7], [3, 13], [4, 26]]
    assert [x["references"][0]["grid"] for x in data["layers"]] == [[5, 4], [3, 2], [7, 2], [5, 4]]
    assert [e["values"]["shape"] for e in data["pairwise"] if e["reference"] == 0] == [
        [3, 1, 117, 21],
        [3, 1, 35, 7],
        [3, 1, 39, 15],
        [3, 1, 104, 21],
    ]
    assert any("3×13, 4×26, 5×7 patches are resized to the common grid of 9×13" in note for note in data["notes"])


def test_large_patch_maps_are_rounded_more_then_coarsened_and_the_page_says_so() -> None:
    maps = record("heads")
    fine = viewer_data(maps, *PICTURES)
    size = sum(len(e["values"]["data"]) + len(e["values"]["scales"]) for e in fine["pairwise"])
    coarse = viewer_data(maps, *PICTURES, fine=size - 1)
    assert {e["values"]["dtype"] for e in coarse["pairwise"]} == {"uint8"}
    assert "8 bits for patch maps" in coarse["quantisation"]
    assert coarse["notes"] == fine["notes"]
    for entry in coarse["pairwise"]:
        expected = maps.pairwise(coarse["layers"][entry["layer"]]["name"], reference=entry["reference"])[0].numpy()
        values, off = unpack(entry["values"])
        assert (np.abs(values - expected) <= off).all()
    mean = viewer_data(maps, *PICTURES, fine=0, most=size // 4)
    assert {e["values"]["shape"][1] for e in mean["pairwise"]} == {1}
    assert any("mean over heads" in note for note in mean["notes"])
    least = viewer_data(maps, *PICTURES, fine=0, most=2000)
    assert {e["values"]["shape"][0] for e in least["pairwise"]} == {1}
    assert 0 < len(least["pairwise"]) < 6
    assert any("patch maps of layer in.0 are left out" in note for note in least["notes"])


def test_the_page_of_a_run_of_the_demos_size_stays_small(tmp_path: Path) -> None:
    grid = TokenGrid(20, 14, leading=1)
    recorder = Recorder(Layout.of(grid), steps=5, pairwise="mean", generated_size=(128, 96))
    random = torch.Generator().manual_seed(0)
    for step in range(5):
        for i, size in enumerate([(16, 12)] * 4 + [(32, 24)]):
            q, k = (torch.randn(1, 8, n, 16, generator=random) for n in (size[0] * size[1], grid.tokens))
            recorder.observe(f"layer.{i}", size, step, "cond", q, k, None, scale=0.3)
        recorder.end_step(step)
    path = write_report(tmp_path / "report.html", recorder.finish(), picture(96, 128), [picture(112, 160)])
    assert path.stat().st_size < 10_000_000
    data = data_of(path)
    assert [e["values"]["shape"] for e in data["pairwise"]] == [[5, 1, 192, 281]] * 4 + [[5, 1, 768, 281]]


def test_texts_cannot_break_out_of_the_page(maps: AttributionMaps, tmp_path: Path) -> None:
    nasty = {"imacs": {HOSTILE: {"g": {"score": math.nan, "notes": [HOSTILE]}}}, "seconds": np.float32(2.5)}
    path = write_report(tmp_path / "r.html", maps, *PICTURES, title=HOSTILE, scores=nasty, images={HOSTILE: picture(5, 5)})
    found = read(path)
    assert set(found.scripts) == {"importmap", "data", "module"}
    data = data_of(path)
    assert data["title"] == HOSTILE
    assert data["scores"]["imacs"][HOSTILE]["g"] == {"score": None, "notes": [HOSTILE]}
    assert data["scores"]["seconds"] == 2.5
    assert [p["name"] for p in data["pictures"]] == [HOSTILE]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_token_without_a_place_does_not_make_the_others_coarse(bits: int) -> None:
    rows = np.random.default_rng(0).random((4, 21)).astype(np.float32) * 1e-4
    rows[:, 0] = 0.95
    values, off = unpack(pack(rows, bits, leading=1))
    assert (np.abs(values - rows) <= off).all()
    assert (off[:, 1:] <= 0.51 * rows[:, 1:].max() / (2**bits - 1) * 1.01).all()
    assert (values[:, 1:].argmax(1) == rows[:, 1:].argmax(1)).all()


def test_a_run_that_started_late_shows_only_its_own_steps() -> None:
    late = record(first=3)
    data = viewer_data(late, *PICTURES)
    assert [(g["start"], g["stop"], g["steps"]) for g in data["groups"]] == [(2, 4, 1), (4, 7, 3)]
    entry = next(e for e in data["marginals"] if e["side"] == "R2G" and e["layer"] == 0 and e["reference"] == 0)
    recorded = late.marginal("r2g", "in.0")[0]
    values, off = unpack(entry["values"])
    assert (np.abs(values - torch.stack([recorded[3], recorded[4:].mean(0)]).numpy()) <= off).all()


def test_what_cannot_be_shown_is_named_with_its_reason() -> None:
    none = viewer_data(record(None), *PICTURES)
    assert none["pairwise"] == []
    assert "pairwise" in none["references"][0]["unavailable"]["SRAM"]
    recorder = Recorder(Layout.of(TokenGrid(1, 1)), steps=1, generated_size=(32, 32))
    recorder.observe("a", (4, 4), 0, "cond", torch.randn(1, 2, 16, 4), torch.randn(1, 2, 1, 4), None, scale=0.5)
    recorder.end_step(0)
    single = viewer_data(recorder.finish(), picture(32, 32), [picture(16, 16)])
    assert {e["side"] for e in single["marginals"]} == {"R2G"}
    assert set(single["references"][0]["unavailable"]) == {"R2G-balanced", "mass", "G2R", "SRAM", "mirror"}
    assert any("cannot affect the picture" in note for note in single["notes"])


def test_mass_over_a_reference_that_fills_all_keys_leaves_the_unplaced_out() -> None:
    recorder = Recorder(Layout.of(SHIRT), steps=1, generated_size=(32, 32))
    recorder.observe("a", (4, 4), 0, "cond", torch.randn(1, 2, 16, 4), torch.randn(1, 2, SHIRT.tokens, 4), None, scale=1.0)
    recorder.end_step(0)
    maps = recorder.finish()
    data = viewer_data(maps, picture(32, 32), [picture(16, 16)])
    values, off = unpack(next(e["values"] for e in data["marginals"] if e["side"] == "mass"))
    assert (np.abs(values[0] - maps.marginal("mass_placed", "a")[0, 0].numpy()) <= off).all()
    assert "without a place" in data["references"][0]["remarks"]["mass"]


def test_true_places_are_averaged_over_each_patch(maps: AttributionMaps) -> None:
    truth = torch.full((2, 64, 48), torch.nan)
    truth[:, :8, :8] = torch.tensor([10.0, 25.0]).view(2, 1, 1)
    truth[:, :3, 8:16] = 1.0  # three rows of eight: too few for a patch
    places = viewer_data(maps, *PICTURES, truth=truth)["truth"]
    assert len(places) == 48
    assert places[0] == [0.25, 0.5]
    assert places[1:] == [None] * 47


def test_pictures_that_do_not_fit_are_refused(maps: AttributionMaps) -> None:
    with pytest.raises(I2AMError, match=r"2 reference\(s\), but 1 picture"):
        viewer_data(maps, PICTURES[0], PICTURES[1][:1])
    with pytest.raises(I2AMError, match=r"truth is \(2, H, W\)"):
        viewer_data(maps, *PICTURES, truth=torch.zeros(3, 64, 48))


def test_the_objects_mask_names_its_patches(maps: AttributionMaps) -> None:
    mask = torch.zeros(100, 80)
    mask[20:60, 20:80] = 1  # over patches of 20 x 20 pixels
    references = viewer_data(maps, *PICTURES, reference_mask=mask)["references"]
    assert references[0]["object"] == [5, 6, 7, 9, 10, 11]
    assert references[1]["object"] is None
    assert viewer_data(maps, *PICTURES)["references"][0]["object"] is None
    assert viewer_data(record(None), *PICTURES, reference_mask=mask)["references"][0]["object"] is None
    empty = viewer_data(maps, *PICTURES, reference_mask=torch.zeros(100, 80))
    assert empty["references"][0]["object"] is None
    assert any(note.startswith("Where the object went is not shown: the reference mask is empty") for note in empty["notes"])


@pytest.fixture(scope="module")
def joint() -> AttributionMaps:
    """Of 2 images, 64 x 96 pixels, with references of 64 x 80 and 48 x 32."""
    return JointRun({"cond": flux_like(3)}).record()


PICTURE, REFERENCES = picture(64, 96), [picture(64, 80, 1), picture(48, 32, 2)]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"branch": "uncond"}, UnavailableError, "branch 'uncond' was not recorded; recorded: cond"),
        ({"image": 5}, UnavailableError, "image 5 does not exist; the run had 2, counted from 0"),
        ({"image": -1}, UnavailableError, "image -1 does not exist"),
        ({"image": 1.0}, UnavailableError, "image 1.0 does not exist"),
        ({"references": REFERENCES[0]}, I2AMError, r"has 2 reference\(s\), but 1 picture\(s\)"),
        ({"references": ["a.png", "b.png"]}, I2AMError, "the picture of a reference is a Pillow picture, got a str, 'a.png'"),
        ({"references": REFERENCES[::-1]}, I2AMError, "picture of reference 1 is 48 x 32 pixels, but .* 64 x 80"),
        ({"generated": "a.png"}, I2AMError, "the generated picture is a Pillow picture, got a str, 'a.png'; Image.open"),
        ({"generated": np.zeros((96, 64, 3), np.uint8)}, I2AMError, "Pillow picture, got a ndarray"),
        ({"generated": [PICTURE] * 3}, I2AMError, r"3 pictures were given, but the run had 2 image\(s\)"),
        ({"generated": picture(300, 60)}, I2AMError, "picture is 300 x 60 pixels, but the recorded generated image is 64 x 96"),
        ({"reference_mask": torch.ones(20, 300)}, I2AMError, "reference mask is 300 x 20 pixels, but .* 64 x 80"),
        ({"reference_mask": torch.ones(3, 80, 64)}, I2AMError, "reference mask holds 3 masks"),
        ({"reference_mask": "mask.png"}, I2AMError, "reference mask is a str, expected a Pillow picture"),
        ({"scores": [1]}, I2AMError, "scores is a dict, by captions, got a list"),
        ({"images": [PICTURE]}, I2AMError, "images is a dict"),
        ({"images": {"mask": "mask.png"}}, I2AMError, "the picture 'mask' is a Pillow picture, got a str"),
        ({"maps": PICTURE}, I2AMError, "the maps of a recording, such as recording.maps, got a Image"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    joint: AttributionMaps, tmp_path: Path, given: dict[str, Any], error: type[Exception], said: str
) -> None:
    named = {"maps": joint, "generated": PICTURE, "references": REFERENCES} | given
    with pytest.raises(error, match=said):
        write_report(tmp_path / "new" / "report.html", **named)
    assert not (tmp_path / "new").exists()


def test_a_folder_is_no_file_to_write(joint: AttributionMaps, tmp_path: Path) -> None:
    with pytest.raises(I2AMError, match=r"is a folder; name the file to write, such as .*report\.html"):
        write_report(tmp_path, joint, PICTURE, REFERENCES)


def test_what_pipelines_and_people_have_is_taken(joint: AttributionMaps, tmp_path: Path) -> None:
    """Lists of pictures, a single reference without a list, none, and masks of every form."""
    mask = np.zeros((80, 64), np.uint8)
    mask[:40] = 255
    plain = write_report(
        tmp_path / "a.html", joint, picture(64, 96, 4), REFERENCES, reference_mask=torch.from_numpy(mask / 255)
    )
    several = write_report(
        tmp_path / "b.html",
        joint,
        [PICTURE, picture(64, 96, 4)],
        REFERENCES,
        reference_mask=Image.fromarray(mask),
        image=1,
    )
    first, second = data_of(plain), data_of(several)
    assert first["references"][0]["object"] == second["references"][0]["object"] != []
    assert second["generated"]["src"] == first["generated"]["src"]
    none = data_of(write_report(tmp_path / "c.html", joint, PICTURE))
    assert [reference["name"] for reference in none["references"]] == ["shirt", "shoes"]
    one = record_of_one()
    bare = data_of(write_report(tmp_path / "d.html", one, picture(32, 32), picture(16, 16)))
    assert len(bare["references"]) == 1


def record_of_one() -> AttributionMaps:
    recorder = Recorder(Layout.of(SHIRT), steps=1, generated_size=(32, 32))
    recorder.observe("a", (4, 4), 0, "cond", torch.randn(1, 2, 16, 4), torch.randn(1, 2, SHIRT.tokens, 4), None, scale=1.0)
    recorder.end_step(0)
    return recorder.finish()
