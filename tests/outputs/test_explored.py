"""What pins give: the library's own maps, masks over their patches, and a table of true figures."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from edit_run import SHAPES, edit_run
from PIL import Image
from report_case import PICTURES, SHIRT, record

from i2am.errors import I2AMError, UnavailableError
from i2am.geometry.pins import Pin, pins_of
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam
from i2am.levels.patch import sram
from i2am.levels.share import share
from i2am.maps.value import AttributionMaps
from i2am.outputs.explored import Explored, explore
from i2am.pictures.pointed import patch_heat

PINS = (
    '[{"name": "logo", "x": 20, "y": 30}, {"name": "left", "on": "reference 1", "x": 0, "y": 10, "width": 20, "height": 20},'
    '{"name": "toe", "on": "reference 2", "x": 30, "y": 10}]'
)
LEFT = [(1, 0), (1, 1), (2, 0), (2, 1)]
"""Patches of 10 x 10 pixels."""


@pytest.fixture(scope="module")
def maps() -> AttributionMaps:
    return record()


@pytest.fixture(scope="module")
def found(maps: AttributionMaps) -> Explored:
    return explore(maps, *PICTURES, pins_of(PINS))


def test_each_pin_has_the_librarys_map_on_each_picture_that_it_is_seen_on(maps: AttributionMaps, found: Explored) -> None:
    expected = [
        sram(maps, (3, 2)),
        sram(maps, (3, 2), choice=Choice(reference=1)),
        sram(maps, LEFT, "generated"),
        sram(maps, (1, 3), "generated", Choice(reference=1)),
    ]
    assert len(found.heats) == len(expected)
    for heat, own in zip(found.heats, expected, strict=True):
        assert torch.equal(heat.values, own.values)
        assert (heat.side, heat.picture, heat.size) == (own.side, own.picture, own.size)
    assert [heat.labels for heat in found.heats] == [
        ("logo · patch 20, 28 (row 3, column 2)",),
        ("logo · patch 20, 28 (row 3, column 2)",),
        ("left · mean of 4 patches",),
        ("toe · patch 35, 15 (row 1, column 3)",),
    ]
    generated, (shirt, shoe) = PICTURES
    assert [picture is own for picture, own in zip(found.pictures, (shirt, shoe, generated, generated), strict=True)] == [
        True
    ] * 4


def test_points_and_masks_are_those_of_the_pins(maps: AttributionMaps, found: Explored) -> None:
    assert (found.points, found.at) == ([(20.0, 30.0)], (20, 30))
    assert found.region.nonzero().amin(0).tolist() == [24, 16]
    assert found.region.sum() == 64  # the patch of 8 x 8 pixels
    assert tuple(found.reference_region.shape) == (50, 40)
    assert found.reference_region[10:30, :20].min() == 1
    assert found.reference_region.sum() == 400
    other = explore(maps, *PICTURES, pins_of(PINS), Choice(reference=1)).reference_region
    assert (tuple(other.shape), int(other.sum())) == ((30, 60), 100)


def test_the_table_has_the_true_figures(maps: AttributionMaps) -> None:
    mask = torch.zeros(50, 40)
    mask[:30] = 1
    found = explore(maps, *PICTURES, pins_of(PINS), reference_mask=mask)
    lines = found.table.splitlines()
    assert [re.split(r"  +", line)[0] for line in lines] == ["pin", "logo", "logo", "left", "toe"]
    values = sram(maps, (3, 2)).values[0].double()
    p = values / values.sum()
    row, column = divmod(int(p.argmax()), SHIRT.columns)
    entropy = float(-(p * p.log()).sum())
    expected = ["logo", "generated", "20", "30", "reference 1", f"{column * 10 + 5}", f"{row * 10 + 5}", f"{p.max() * 20:.1f}"]
    expected += [f"{entropy:.2f} of {math.log(20):.2f}", f"{p[:3].sum():.1%}"]
    assert re.split(r"  +", lines[1])[: len(expected)] == expected
    assert "%" not in lines[3]  # no inpainting mask was given


def test_shares_are_those_of_the_pins_patches() -> None:
    maps = edit_run(SHAPES[:2], steps=2)
    sizes = [reference.grid.picture or (8, 8) for reference in maps.references]
    height, width = maps.generated_size
    pictures = Image.new("RGB", (width, height)), [Image.new("RGB", (w, h)) for h, w in sizes]
    pin = Pin("all", "#ffffff", 0, 0, width, height)
    lines = explore(maps, *pictures, [pin]).table.splitlines()
    for line, panel in zip(lines[1:], share(maps).values, strict=False):
        assert f"{panel.mean():.1%}" in line


def test_without_pins_there_is_the_map_of_the_whole_picture(maps: AttributionMaps) -> None:
    found = explore(maps, *PICTURES, [])
    assert torch.equal(found.heats[0].values, ulam(maps, "R2G-balanced").values)
    assert (found.points, found.at, float(found.region.sum())) == ([], (24, 32), 0)
    assert found.table.startswith("no pins")
    assert explore(record(None), *PICTURES, []).heats


def test_pins_are_drawn_in_their_colours(maps: AttributionMaps, found: Explored) -> None:
    plain = explore(maps, *PICTURES, [])
    changed = (np.asarray(found.marked) != np.asarray(plain.marked)).any(-1)
    seen = {tuple(colour) for colour in np.asarray(found.marked)[changed]}
    assert {(0x56, 0xB4, 0xE9), (0xF0, 0xE4, 0x42), (0xCC, 0x79, 0xA7)} <= seen


def test_what_cannot_be_looked_up_is_said(maps: AttributionMaps) -> None:
    with pytest.raises(I2AMError, match=r"pin 'a' lies on reference 3, but the run had 2 reference"):
        explore(maps, *PICTURES, pins_of('[{"name": "a", "on": "reference 3", "x": 1, "y": 1}]'))
    with pytest.raises(I2AMError, match=r"pin 'a' on the generated picture: .*48 x 64"):
        explore(maps, *PICTURES, pins_of('[{"name": "a", "x": 48, "y": 1}]'))
    with pytest.raises(UnavailableError, match=r"pin 'a' cannot be looked up: .*pairwise"):
        explore(record(None), *PICTURES, pins_of('[{"name": "a", "x": 8, "y": 1}]'))


def test_patch_map_takes_pins_as_they_are(maps: AttributionMaps) -> None:
    more = PINS.replace("]", ', {"name": "hem", "x": 0, "y": 56, "width": 48, "height": 8}]')
    heat, _ = patch_heat(maps, "reference", (0, 0), pins=more, points="[[1, 1]]")
    bottom = [(7, column) for column in range(6)]
    assert torch.equal(heat.values, torch.cat([sram(maps, (3, 2)).values, sram(maps, bottom).values]))
    assert [label.split(" · ")[0] for label in heat.labels] == ["logo", "hem"]
    assert all("× uniform" in label for label in heat.labels)
    mirror, _ = patch_heat(maps, "generated", (0, 0), Choice(reference=1), pins=more)
    assert torch.equal(mirror.values, sram(maps, (1, 3), "generated", Choice(reference=1)).values)
    alone = '[{"name": "toe", "on": "reference 2", "x": 30, "y": 10}]'
    with pytest.raises(I2AMError, match=r"none of the pins lies on the generated picture \('toe' on reference 2\)"):
        patch_heat(maps, "reference", (0, 0), pins=alone)
