"""Maps as a file: nothing is lost, and nothing foreign is taken for maps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filled_maps import FIELDS, LAYERS, assert_equal, example, recording
from joint_run import JointRun, flux_like
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from i2am.errors import MapsFileError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.levels.choice import Choice
from i2am.levels.marginal import tlam, ulam
from i2am.levels.patch import sram
from i2am.levels.share import has_routes
from i2am.maps import file as files
from i2am.maps.facts import LayerInfo, RunInfo
from i2am.maps.kinds import tensor_kinds
from i2am.maps.value import AttributionMaps

# ---------------------------------------------------------------------------------------------------- round trip


def test_a_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    """A shared output folder, or a web server of another user, must be able to read it."""
    other = tmp_path / "other"
    other.touch()
    assert example().save(tmp_path / "maps.safetensors").stat().st_mode == other.stat().st_mode


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
        (
            ulam(m, "R2G-balanced", Choice(image=1, branch="uncond")),
            tlam(m, "G2R", Choice(steps=(1, 3), reference=1), groups=1),
            ulam(m, "mass"),
        )
        for m in (maps, loaded)
    ]
    for a, b in zip(*pairs, strict=True):
        assert torch.equal(a.values, b.values)
        assert (a.labels, a.notes, a.unplaced, a.rect, a.size) == (b.labels, b.notes, b.unplaced, b.rect, b.size)
    rows = [sram(m, [(1, 2), (5, 3)], choice=Choice(heads=[1]), each=True) for m in (maps, loaded)]
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
    assert about["version"] == files.VERSION == 5
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


@pytest.mark.parametrize("version", [6, 99])
def test_a_newer_file(good: Path, version: int) -> None:
    refused(
        rewritten(good, lambda about, _: about.update(version=version)), f"version {version}", "reads versions 1 to 5", "update"
    )


def test_a_file_of_version_1_knows_layers_beside_the_conditioning_by_their_names(tmp_path: Path) -> None:
    def as_version_1(about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        about["version"] = 1
        for layer in about["layers"]:
            layer["name"] = "warp.4"
            del layer["beside"], layer["official"]
        for name in [name for name in tensors if "|down.0|" in name]:
            tensors[name.replace("|down.0|", "|warp.4|")] = tensors.pop(name)

    path = recording()[0].save(tmp_path / "old.safetensors")
    (layer,) = AttributionMaps.load(rewritten(path, as_version_1)).layers
    assert (layer.name, layer.beside, layer.official) == ("warp.4", True, "always")


def test_a_file_of_version_2_is_read_as_it_was(good: Path) -> None:
    def as_version_2(about: dict[str, Any], _tensors: dict[str, Tensor]) -> None:
        about["version"] = 2
        for layer in about["layers"]:
            del layer["branch_keys"]

    assert_equal(AttributionMaps.load(rewritten(good, as_version_2)), example())


def test_a_file_of_version_3_is_read_without_the_route_via_text(tmp_path: Path) -> None:
    def as_version_3(about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        about["version"] = 3
        for layer in about["layers"]:
            del layer["words"], layer["texts"]
        for name in [name for name in tensors if "via_text" in name or name.startswith("words")]:
            del tensors[name]

    maps = JointRun({"cond": flux_like(7), "uncond": flux_like(3)}).record()
    old = AttributionMaps.load(rewritten(maps.save(tmp_path / "old.safetensors"), as_version_3))
    assert not has_routes(old)
    for side in ("mass", "G2R"):
        assert torch.equal(ulam(old, side).values, ulam(maps, side).values)


@pytest.mark.parametrize("version", [0, None, "1", True])
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

    monkeypatch.setattr(files, "save_tensors", half)
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

    monkeypatch.setattr(files, "save_tensors", interrupted)
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


def test_facts_that_contain_themselves_are_refused_by_name(good: Path) -> None:
    extra: dict[str, object] = {}
    extra["itself"] = extra
    maps, _ = recording(extra=extra)
    with pytest.raises(MapsFileError, match=r"not plain data .*`extra`"):
        maps.save(good)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "nul\0inside", "", "."])
def test_names_that_no_file_can_have(good: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    maps = AttributionMaps.load(good)
    monkeypatch.chdir(good.parent)
    with pytest.raises(MapsFileError, match="could not be written"):
        maps.save(name)
    with pytest.raises(MapsFileError, match=r"cannot be read \(File name too long\)|there is no file"):
        AttributionMaps.load(name)
    assert [file.name for file in good.parent.iterdir()] == [good.name]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MapsFileError, match="nowhere"):
        example().save(tmp_path / "nowhere" / "maps.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_run_larger_than_any_is_saved_and_read(tmp_path: Path) -> None:
    """As many layers as SDXL has, eight references, both branches, a thousand steps, and all that a recording may hold."""
    layout = Layout.of(*[TokenGrid(2, 2, 1, picture=(4000, 6000))] * 8)
    layers = tuple(
        LayerInfo(f"down_blocks.{i}.attentions.0.transformer_blocks.0.attn2", TokenGrid(2, 2), 20, False, 40, layout.references)
        for i in range(70)
    )
    last = {"queries": (4,), "tokens": (5,), "pairs": (4, 5)}
    tensors = {
        (name, layer.name, branch, reference): torch.rand(1, 5, 1, *last[kind.along]).to(getattr(torch, kind.dtype))
        for name, kind in tensor_kinds().items()
        if kind.calls != "joint"
        for layer in layers
        for branch in ("cond", "uncond")
        for reference in range(8)
    }
    ranges = tuple((a, a + 200) for a in range(0, 1000, 200))
    maps = AttributionMaps(
        tensors,
        layers=layers,
        references=layout.references,
        branches=("cond", "uncond"),
        images=1,
        run=RunInfo(1000, tuple(map(float, range(1000))), tuple(1 / (i + 3) for i in range(1001)), (2,) * 1000),
        bins=ranges,
        groups=ranges,
        recorded=tuple(range(1000)),
        generated_size=(4096, 6144),
        notes=("no pairwise maps of " + ", ".join(x.name for x in layers),) * 4,
    )
    assert_equal(maps, AttributionMaps.load(maps.save(tmp_path / "maps.safetensors")))
