"""Maps as a file: nothing is lost, nothing foreign is taken for maps, and a value once made stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from i2am import files
from i2am.errors import MapsFileError, RecordingError
from i2am.layout import Layout, Reference, TokenGrid
from i2am.levels import tlam, ulam
from i2am.maps import MARGINALS, AttributionMaps, LayerInfo, RunInfo
from i2am.patches import sram
from i2am.recorder import Recorder

SHIRT = Reference(TokenGrid(4, 3, 1, picture=(64, 48), rect=(0.0, 0.125, 1.0, 0.875)), 2, "shirt, left: “ü”")
SHOES = Reference(TokenGrid(2, 5, picture=(32, 80), rect=None), 16, "shoes")
LAYERS = {"down.0": ((6, 4), 2, Layout((SHIRT, SHOES), keys=27)), "mid|dle": ((3, 2), 4, Layout((SHIRT, SHOES), keys=30))}
INFO = {
    "seed": 2**53 + 1,
    "sampler": "DDIM",
    "cfg": 7.5,
    "timesteps": (981.0, 501.0, 21.0),
    "sigmas": (14.6146, 0.1 + 0.2, 1e-7),
    "model": "tiny",
    "host": "test",
    "extra": {"hash": "ab12", "sizes": [64, 48], "nested": {"on": True, "none": None, "name": "ü"}},
}


FIELDS = (
    *("layers", "references", "branches", "images", "run", "bins", "groups", "recorded", "generated_size", "notes"),
    "null_branches",
)


def recording(
    names: tuple[str, ...] = ("down.0",), pairwise: str | None = "heads", masked: bool = True, **info: Any
) -> tuple[AttributionMaps, dict[str, Any]]:
    """A recording of random calls, and the objects that were handed in for it."""
    mask = torch.zeros(2, 12, 8)
    mask[0, 2:9, 1:6] = 1
    mask[1, 4:5] = 0.5
    given = {
        "mask": mask,
        "thumbnails": {
            "garment | left": torch.arange(60, dtype=torch.uint8).view(4, 5, 3),
            "person": torch.ones(2, 2, 3).byte(),
        },
        "info": {**INFO, **info},
    }
    recorder = Recorder(
        lambda name: LAYERS[name][2],
        steps=3,
        images=2,
        branches=("uncond", "cond"),
        pairwise=pairwise,
        groups=2,
        inpaint_mask=mask if masked else None,
        generated_size=(96, 64),
        budget=72_000 if len(names) == 1 and pairwise == "heads" else 10**9,  # a little short: that leaves a note
    )
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 3):
        for branch in ("uncond", "cond"):
            for name in names:
                grid, heads, layout = LAYERS[name]
                n, s = grid[0] * grid[1], layout.key_count
                q, k, v = (torch.randn(2, heads, count, 4, generator=generator) for count in (n, s, s))
                recorder.observe(name, grid, step, branch, q, k, v, scale=0.5, middle=name.startswith("mid"))
        recorder.end_step(step)
    run = RunInfo(steps=3, **given["info"])
    return recorder.finish(run, given["thumbnails"] if masked else None), given


@cache
def example() -> AttributionMaps:
    return recording()[0]


def described(maps: AttributionMaps) -> dict[str, Any]:
    """All that maps say of themselves, but for their tensors."""
    return {name: getattr(maps, name) for name in (*FIELDS, "nbytes", "pairwise_heads")}


def assert_equal(a: AttributionMaps, b: AttributionMaps) -> None:
    assert described(a) == described(b)
    assert type(a.run.timesteps) is type(b.run.timesteps) is tuple
    assert a._tensors.keys() == b._tensors.keys()
    for key, tensor in a._tensors.items():
        assert tensor.dtype == b._tensors[key].dtype
        assert torch.equal(tensor, b._tensors[key]), key
    assert (a.inpaint_mask is None) == (b.inpaint_mask is None)
    if a.inpaint_mask is not None:
        assert torch.equal(a.inpaint_mask, b.inpaint_mask)
    assert a.thumbnails.keys() == b.thumbnails.keys()
    for name, picture in a.thumbnails.items():
        assert b.thumbnails[name].dtype == torch.uint8
        assert torch.equal(picture, b.thumbnails[name])


# ---------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("pairwise", [None, "mean", "heads"])
@pytest.mark.parametrize("masked", [False, True])
def test_everything_comes_back(tmp_path: Path, pairwise: str | None, masked: bool) -> None:
    maps, _ = recording(pairwise=pairwise, masked=masked)
    if pairwise == "heads":
        assert maps.notes  # something to say was kept too
    path = maps.save(tmp_path / "maps.safetensors")
    assert path == tmp_path / "maps.safetensors"
    loaded = AttributionMaps.load(path)
    assert_equal(maps, loaded)
    assert (loaded.inpaint_mask is not None) == masked
    assert loaded.run.seed == 2**53 + 1
    assert loaded.run.sigmas == (14.6146, 0.1 + 0.2, 1e-7)
    assert loaded.references[1].grid.rect is None
    again = AttributionMaps.load(loaded.save(tmp_path / "again.safetensors"))
    assert_equal(maps, again)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.safetensors", "maps.safetensors"]


def test_heats_of_loaded_maps_are_the_same(tmp_path: Path) -> None:
    maps = example()
    loaded = AttributionMaps.load(str(maps.save(str(tmp_path / "maps.safetensors"))))
    pairs = [
        (ulam(m, "R2G-balanced", image=1, branch="uncond"), tlam(m, "G2R", 1, steps=(1, 3), reference=1), ulam(m, "mass"))
        for m in (maps, loaded)
    ]
    for a, b in zip(*pairs, strict=True):
        assert torch.equal(a.values, b.values)
        assert (a.labels, a.notes, a.unplaced, a.rect, a.size) == (b.labels, b.notes, b.unplaced, b.rect, b.size)
    rows = [sram(m, [(1, 2), (5, 3)], each=True, heads=[1]) for m in (maps, loaded)]
    assert torch.equal(rows[0].values, rows[1].values)
    assert (rows[0].queries, rows[0].labels, rows[0].notes) == (rows[1].queries, rows[1].labels, rows[1].notes)


def test_layer_names_of_any_kind(tmp_path: Path) -> None:
    maps, _ = recording(tuple(LAYERS))
    assert [x.name for x in maps.layers] == ["down.0", "mid|dle"]
    assert_equal(maps, AttributionMaps.load(maps.save(tmp_path / "maps")))


def test_the_file_is_one_safetensors_file_with_versioned_json(tmp_path: Path) -> None:
    path = example().save(tmp_path / "maps.safetensors")
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["i2am"])
        size = sum(file.get_tensor(name).nbytes for name in file.keys())  # noqa: SIM118 (not a dict)
    assert about["format"] == files.FORMAT
    assert about["version"] == files.VERSION == 1
    assert size >= example().nbytes


# ---------------------------------------------------------------------------------------------------- bad files


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return example().save(tmp_path / "maps.safetensors")


def refused(path: Path, *parts: str) -> str:
    with pytest.raises(MapsFileError) as caught:
        AttributionMaps.load(path)
    text = str(caught.value)
    for part in (str(path), *parts):
        assert part in text, text
    return text


def test_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors", "no file")
    refused(tmp_path, "no file")


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 0.5, 0.99, -1])
def test_a_truncated_file(good: Path, kept: float) -> None:
    data = good.read_bytes()
    part = data[: int(len(data) * kept)] if isinstance(kept, float) else data[:kept]
    assert len(part) < len(data)
    good.write_bytes(part)
    refused(good, "truncated")


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "notes.safetensors"
    for text in ("these are my notes\n" * 50, "{}", "\x00" * 64, "\xff" * 64):
        path.write_text(text, encoding="latin-1")
        refused(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"i2am": '{"format": "other", "version": 1}'}, {"i2am": "[1]"}])
def test_a_safetensors_file_of_something_else(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata)
    refused(path, "not of I2AM maps")


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], None]) -> Path:
    """The same file with another description or other tensors."""
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["i2am"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    change(about, tensors)
    save_file(tensors, path, {"i2am": json.dumps(about)})
    return path


def test_rewriting_alone_changes_nothing(good: Path) -> None:
    assert_equal(AttributionMaps.load(rewritten(good, lambda _about, _tensors: None)), example())


@pytest.mark.parametrize("version", [2, 99])
def test_a_newer_file(good: Path, version: int) -> None:
    refused(rewritten(good, lambda about, _: about.update(version=version)), f"version {version}", "reads version 1", "update")


@pytest.mark.parametrize("version", [0, None, "1"])
def test_a_file_of_no_known_version(good: Path, version: object) -> None:
    refused(rewritten(good, lambda about, _: about.update(version=version)), f"version {version!r}")


def test_a_description_that_is_not_json(good: Path) -> None:
    with safe_open(good, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        text = file.metadata()["i2am"]
    save_file(tensors, good, {"i2am": text[:-20]})
    refused(good, "description is damaged")


@pytest.mark.parametrize(
    "name",
    FIELDS,
)
@pytest.mark.parametrize("value", ["gone", None, 5, [5]])
def test_a_damaged_description(good: Path, name: str, value: object) -> None:
    def change(about: dict[str, Any], _: dict[str, Tensor]) -> None:
        if value == "gone":
            del about[name]
        else:
            about[name] = value

    if (name, value) not in (("notes", [5]), ("null_branches", [5])):  # these may say anything
        refused(rewritten(good, change), "damaged")


DAMAGES: dict[str, Callable[[dict[str, Any], dict[str, Tensor]], object]] = {
    "a field of a layer is gone": lambda about, _: about["layers"][0].pop("grid"),
    "a layer has an unknown field": lambda about, _: about["layers"][0].update(colour=1),
    "a grid without rows": lambda about, _: about["layers"][0]["grid"].update(rows=0),
    "a reference's grid is text": lambda about, _: about["references"][0].update(grid="4 x 3"),
    "a rectangle of three numbers": lambda about, _: about["references"][0]["grid"].update(rect=[0, 0, 1]),
    "a layer without references": lambda about, _: about["layers"][0].update(references=[]),
    "timesteps that are no numbers": lambda about, _: about["run"].update(timesteps=["a"] * 4),
    "sigmas that are no numbers": lambda about, _: about["run"].update(sigmas=[None] * 4),
    "no layers": lambda about, _: about.update(layers=[]),
    "another layer": lambda about, _: about["layers"][0].update(name="up"),
    "one layer more": lambda about, _: about["layers"].append({**about["layers"][0], "name": "up"}),
    "another query grid": lambda about, _: about["layers"][0]["grid"].update(rows=7),
    "another reference grid": lambda about, _: about["layers"][0]["references"][0]["grid"].update(leading=2),
    "more heads": lambda about, _: about["layers"][0].update(heads=3),
    "more images": lambda about, _: about.update(images=3),
    "another branch": lambda about, _: about.update(branches=["cond", "other"]),
    "one branch more": lambda about, _: about["branches"].append("third"),
    "bins that are not as many": lambda about, _: about.update(bins=about["bins"][:-1]),
    "groups that are not as many": lambda about, _: about.update(groups=[[0, 3]]),
    "a tensor of an unknown kind": lambda _, tensors: tensors.update({"r3g|down.0|cond|0": torch.zeros(2)}),
    "a tensor with a name of another form": lambda _, tensors: tensors.update(weight=torch.zeros(2)),
    "a tensor of a reference that is not there": lambda _, tensors: tensors.update(
        {"r2g|down.0|cond|7": tensors["r2g|down.0|cond|0"].clone()}
    ),
    "a marginal is gone": lambda _, tensors: tensors.pop("balanced|down.0|cond|1"),
    "a marginal is cut": lambda _, tensors: tensors.update(
        {"g2r|down.0|cond|0": tensors["g2r|down.0|cond|0"][..., :-1].clone()}
    ),
    "pairwise maps are cut": lambda _, tensors: tensors.update(
        {"pairwise|down.0|cond|0": tensors["pairwise|down.0|cond|0"][:, :, :, :-1].clone()}
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_description_that_does_not_fit_its_tensors(good: Path, damage: str) -> None:
    refused(rewritten(good, lambda about, tensors: (DAMAGES[damage](about, tensors), None)[1]), "damaged")


# ------------------------------------------------------------------------------------------------ saving that fails


def test_a_failed_save_leaves_the_old_file(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = good.read_bytes()

    def half(_tensors: object, path: Path, _metadata: object) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError("disk is full")

    monkeypatch.setattr(files, "save_file", half)
    with pytest.raises(MapsFileError, match=r"could not be written.*disk is full"):
        recording(pairwise=None)[0].save(good)
    assert good.read_bytes() == old
    assert list(good.parent.iterdir()) == [good]
    assert_equal(AttributionMaps.load(good), example())


def test_an_interrupted_save_leaves_the_old_file(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = good.read_bytes()

    def interrupted(_tensors: object, path: Path, _metadata: object) -> None:
        Path(path).write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recording(pairwise=None)[0].save(good)
    assert good.read_bytes() == old
    assert list(good.parent.iterdir()) == [good]


def test_a_new_file_replaces_the_old_one(good: Path) -> None:
    other, _ = recording(pairwise=None)
    other.save(good)
    assert_equal(AttributionMaps.load(good), other)
    assert list(good.parent.iterdir()) == [good]


def test_facts_that_json_cannot_hold_are_refused_by_name(good: Path) -> None:
    old = good.read_bytes()
    maps, _ = recording(extra={"model": object()})
    with pytest.raises(MapsFileError, match="extra"):
        maps.save(good)
    assert good.read_bytes() == old


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MapsFileError, match="nowhere"):
        example().save(tmp_path / "nowhere" / "maps.safetensors")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------------- immutability


def spoil(tensor: Tensor) -> None:
    tensor.fill_(7)


def test_a_returned_tensor_is_a_copy() -> None:
    maps, _ = recording()
    untouched = {key: t.clone() for key, t in maps._tensors.items()}
    for kind in MARGINALS:
        spoil(maps.marginal(kind, "down.0"))
    spoil(maps.pairwise("down.0"))
    for kind in ("entropy", "norm", "peak_value", "peak_index"):
        spoil(maps.grouped(kind, "down.0"))
    mask, pictures = maps.inpaint_mask, maps.thumbnails
    assert mask is not None
    before = mask.clone(), {name: p.clone() for name, p in pictures.items()}
    spoil(mask)
    for picture in pictures.values():
        spoil(picture)
    pictures.clear()
    assert all(torch.equal(maps._tensors[key], t) for key, t in untouched.items())
    assert torch.equal(maps.inpaint_mask, before[0])
    assert maps.thumbnails.keys() == before[1].keys()
    assert all(torch.equal(maps.thumbnails[name], p) for name, p in before[1].items())


def test_a_heat_is_no_view_of_the_maps() -> None:
    maps, _ = recording()
    untouched = {key: t.clone() for key, t in maps._tensors.items()}
    for heat in (
        ulam(maps, "R2G", preset="paper", steps=(1, 3), heads=[0]),
        tlam(maps, "G2R", 1, steps=(1, 3)),
        sram(maps, (0, 0), preset="paper"),
    ):
        spoil(heat.values)
    assert all(torch.equal(maps._tensors[key], t) for key, t in untouched.items())


def test_what_was_handed_in_can_change_afterwards() -> None:
    maps, given = recording()
    before = maps.inpaint_mask.clone(), {n: p.clone() for n, p in maps.thumbnails.items()}, json.dumps(dict(maps.run.extra))
    spoil(given["mask"])
    for picture in given["thumbnails"].values():
        spoil(picture)
    given["thumbnails"]["more"] = torch.zeros(1, 1, 3)
    given["info"]["extra"]["nested"]["on"] = False
    given["info"]["extra"]["more"] = 1
    assert torch.equal(maps.inpaint_mask, before[0])
    assert maps.thumbnails.keys() == before[1].keys()
    assert all(torch.equal(maps.thumbnails[n], p) for n, p in before[1].items())
    assert json.dumps(dict(maps.run.extra)) == before[2]


def test_pictures_added_later_make_another_value() -> None:
    maps, _ = recording()
    picture = torch.full((2, 3, 3), 9, dtype=torch.uint8)
    more = maps.with_thumbnails({"generated": picture})
    spoil(picture)
    assert set(maps.thumbnails) == {"garment | left", "person"}
    assert set(more.thumbnails) == {"garment | left", "person", "generated"}
    assert torch.equal(more.thumbnails["generated"], torch.full((2, 3, 3), 9, dtype=torch.uint8))
    assert all(torch.equal(more._tensors[key], t) for key, t in maps._tensors.items())


def test_facts_about_the_run_cannot_be_changed() -> None:
    maps, _ = recording()
    before = json.dumps(dict(maps.run.extra))
    extra: Any = maps.run.extra
    extra["nested"]["on"] = False
    extra["more"] = 1
    assert json.dumps(dict(maps.run.extra)) == before


@pytest.mark.parametrize(
    "name",
    [*FIELDS, "inpaint_mask", "thumbnails", "nbytes", "pairwise_heads"],
)
def test_attributes_cannot_be_set(name: str) -> None:
    maps, _ = recording(pairwise=None)
    before = getattr(maps, name)
    with pytest.raises(AttributeError):
        setattr(maps, name, None)
    with pytest.raises(AttributeError):
        delattr(maps, name)
    if not isinstance(before, (Tensor, dict)):
        assert getattr(maps, name) == before


def test_parts_of_the_description_cannot_be_set() -> None:
    maps = example()
    layer, reference = maps.layers[0], maps.references[0]
    for part, name in ((maps.run, "steps"), (layer, "heads"), (layer.grid, "rows"), (reference, "start")):
        with pytest.raises(AttributeError):
            setattr(part, name, 99)
    for name in ["layers", "references", "branches", "bins", "groups", "recorded", "notes"]:
        assert isinstance(getattr(maps, name), tuple)
    assert isinstance(maps.layers[0], LayerInfo)


def test_a_mask_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(RecordingError, match="inpainting mask"):
        Recorder(LAYERS["down.0"][2], steps=1, images=2, inpaint_mask=torch.ones(3, 4, 4))
    with pytest.raises(RecordingError, match="empty"):
        Recorder(LAYERS["down.0"][2], steps=1, inpaint_mask=torch.zeros(4, 4))
