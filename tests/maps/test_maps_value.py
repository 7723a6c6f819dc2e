"""Recorded maps are a value: once made they stay as they are, whatever is done to what was handed in or out."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filled_maps import FIELDS, LAYERS, assert_equal, example, recording
from torch import Tensor

from i2am.errors import RecordingError
from i2am.levels.choice import Choice
from i2am.levels.heat import Heat
from i2am.levels.marginal import hlam, tlam, ulam
from i2am.levels.patch import sram
from i2am.maps.facts import LayerInfo
from i2am.maps.kinds import tensor_kinds
from i2am.maps.value import AttributionMaps
from i2am.pictures.look import Look
from i2am.recording.recorder import Recorder
from i2am.scores.imacs import Score, imacs


def spoil(tensor: Tensor) -> None:
    tensor.fill_(7)


def test_a_returned_tensor_is_a_copy() -> None:
    maps, _ = recording()
    untouched = {key: t.clone() for key, t in maps._tensors.items()}
    for name, kind in tensor_kinds("step").items():
        if kind.calls != "joint":
            spoil(maps.marginal(name, "down.0"))
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
        ulam(maps, "R2G", Choice(steps=(1, 3), heads=[0]), preset="paper"),
        tlam(maps, "G2R", Choice(steps=(1, 3)), groups=1),
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


# ------------------------------------------------------------------------------------------------------ copies and equals

COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda value: pickle.loads(pickle.dumps(value))}


def heat() -> Heat:
    return hlam(example(), "mass", preset="paper")


def score() -> Score:
    mask = torch.zeros(8, 8)
    mask[:4] = 1
    return imacs(heat().panel(0), mask)


VALUES: dict[str, Callable[[], Any]] = {
    "maps": example,
    "heat": heat,
    "choice": lambda: Choice(layers=["a*"], heads=[1], steps=(0, 2)),
    "look": lambda: Look(threshold=0.4, contour=True),
    "score": score,
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("name", VALUES)
def test_a_copy_equals_what_was_copied(name: str, way: str) -> None:
    value = VALUES[name]()
    again = COPIES[way](value)
    assert again is not value
    assert again == value
    assert hash(again) == hash(value)


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_of_maps_is_whole_and_its_own(way: str, tmp_path: Path) -> None:
    maps = AttributionMaps.load(example().save(tmp_path / "maps.safetensors"))
    again = COPIES[way](maps)
    assert_equal(maps, again)
    next(iter(again._tensors.values())).fill_(7)
    assert again != maps
    assert_equal(maps, example())


def test_a_pickle_of_loaded_maps_holds_each_number_once(tmp_path: Path) -> None:
    maps = AttributionMaps.load(example().save(tmp_path / "maps.safetensors"))
    assert len(pickle.dumps(maps)) < maps.nbytes + 40_000


@pytest.mark.parametrize("part", ["a tensor", "the mask", "no mask", "a picture", "a fact", "a note"])
def test_maps_that_differ_are_not_equal(part: str) -> None:
    maps, other = recording()[0], copy.deepcopy(recording()[0])
    assert maps == other
    if part == "a tensor":
        other._tensors["r2g", "down.0", "cond", 0].view(-1)[0] += 1
    elif part == "the mask":
        other._mask[0, 0, 0] += 1  # type: ignore[index]
    elif part == "no mask":
        object.__setattr__(other, "_mask", None)
    elif part == "a picture":
        other = other.with_thumbnails({"person": torch.zeros(2, 2, 3).byte()})
    elif part == "a fact":
        object.__setattr__(other, "run", replace(other.run, seed=1))
    else:
        object.__setattr__(other, "notes", (*other.notes, "more"))
    assert maps != other


def test_heats_that_differ_are_not_equal() -> None:
    one = heat()
    assert one != replace(one, values=one.values + 1)
    assert one != replace(one, threshold=0.4)
    assert one != one.panel(0)
    assert one != "a heat"


def test_steps_are_counted_in_half_open_ranges() -> None:
    maps = example()  # steps 1 and 2 of three
    assert [maps.steps_seen(steps) for steps in ((0, 3), (0, 1), (1, 2), (1, 3), (2, 2))] == [2, 0, 1, 2, 0]
    assert maps.steps_seen((0, 3), reference=1) == 2
