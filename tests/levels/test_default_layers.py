"""The layers that a run's model names for its maps: what is not chosen by layer is made from those alone, and they are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from edit_run import SHAPES, edit_run

from i2am.levels.choice import Choice
from i2am.levels.heat import Heat
from i2am.levels.marginal import hlam, llam, tlam, ulam
from i2am.levels.patch import sram
from i2am.levels.share import share, which_reference
from i2am.maps.value import AttributionMaps
from i2am.models.edit.family import BLOCKS, LATE
from i2am.outputs.viewer_data import viewer_data
from i2am.pictures.backdrop import backdrop
from i2am.scores.imacs import map_on_generated

HOW: dict[str, Callable[[AttributionMaps, Choice], Heat]] = {
    "ulam": lambda maps, choice: ulam(maps, "mass", choice),
    "tlam": lambda maps, choice: tlam(maps, "G2R", choice, groups=2),
    "hlam": lambda maps, choice: hlam(maps, "R2G", choice),
    "paper": lambda maps, choice: ulam(maps, "R2G", choice, preset="paper"),
    "official": lambda maps, choice: ulam(maps, "R2G-balanced", choice, preset="official"),
    "share": share,
    "which": lambda maps, choice: which_reference(maps, choice, groups=2),
    "sram": lambda maps, choice: sram(maps, (3, 4), choice=choice),
    "mirror": lambda maps, choice: sram(maps, [(3, 4), (5, 5)], "generated", choice),
}


def recorded(names: tuple[str, ...] = LATE, **given: object) -> AttributionMaps:
    return edit_run(SHAPES[:2], steps=3, default_layers=names, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("reference", [0, 1])
@pytest.mark.parametrize("how", HOW)
def test_a_map_without_a_choice_of_layers_is_that_of_the_default_ones(how: str, reference: int) -> None:
    maps = recorded()
    heat = HOW[how](maps, Choice(reference=reference))
    assert torch.equal(heat.values, HOW[how](maps, Choice(reference=reference, layers=LATE)).values)
    every = HOW[how](maps, Choice(reference=reference, layers="*"))
    assert not torch.equal(heat.values, every.values)
    assert torch.equal(every.values, HOW[how](recorded(()), Choice(reference=reference)).values)


def test_scores_take_them_too() -> None:
    mask = torch.zeros(128, 96)
    mask[40:80, 20:60] = 1
    score = map_on_generated(recorded(), mask).score()
    assert score == map_on_generated(recorded(), mask, choice=Choice(layers=LATE)).score()
    assert score.layers == LATE
    assert score.score != map_on_generated(recorded(()), mask).score().score


def test_per_layer_all_are_shown() -> None:
    maps = recorded()
    assert [label.split(" · ")[0] for label in llam(maps, "mass").labels] == list(BLOCKS)
    for i, layer in enumerate(BLOCKS):
        assert torch.equal(llam(maps, "mass").values[i], ulam(maps, "mass", Choice(layers=layer)).values[0])
    assert len(llam(maps, "mass", Choice(layers="double.*")).labels) == 2


def test_which_reference_per_layer() -> None:
    maps = recorded()
    heat = which_reference(maps, one_by_one=True)
    assert (heat.level, heat.parts, len(heat.labels)) == ("LLAM", 2, 2 * len(BLOCKS))
    assert heat.labels[2:4] == ("reference 1 · double.1", "reference 2 · double.1")
    for i, layer in enumerate(BLOCKS):
        assert torch.equal(heat.values[2 * i : 2 * i + 2], which_reference(maps, Choice(layers=layer)).values)
    torch.testing.assert_close(
        share(maps, one_by_one=True).values.unflatten(0, (len(BLOCKS), -1)).mean(0), share(maps, Choice(layers="*")).values
    )


def test_what_was_not_recorded_cannot_be_the_default() -> None:
    early = recorded(layers="double.*")
    assert torch.equal(ulam(early).values, ulam(early, choice=Choice(layers="*")).values)
    some = recorded(layers=["double.*", "single.3"])
    assert torch.equal(ulam(some).values, ulam(some, choice=Choice(layers="single.3")).values)


def test_they_are_kept_in_a_file(tmp_path: Path) -> None:
    maps = recorded()
    again = AttributionMaps.load(maps.save(tmp_path / "maps.safetensors"))
    assert again == maps
    assert [x.name for x in again.default_layers] == list(LATE)


def test_the_page_knows_them() -> None:
    maps = recorded()
    pictures = [backdrop(maps, "reference", i, r.grid.picture or (8, 8)) for i, r in enumerate(maps.references)]
    data = viewer_data(maps, backdrop(maps, "generated", 0, maps.generated_size), pictures)
    assert {x["name"]: x["default"] for x in data["layers"]} == {name: name in LATE for name in BLOCKS}
