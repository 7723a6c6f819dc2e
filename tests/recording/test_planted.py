"""Planted attention is recovered exactly, through the diffusers host and through files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from planted import BRANCHES, GRIDS, LATENT, LAYERS, MIDDLE, Plant, Slot
from torch import Tensor

from i2am.hosts.diffusers.record import record
from i2am.levels.choice import Choice
from i2am.levels.marginal import llam, tlam
from i2am.levels.patch import sram
from i2am.maps.value import AttributionMaps

MODES = ("batch", "calls", "none")
HIGH = 40.0  # logits that only the log domain holds
LOW = 15.0  # logits inside fp32's range for exp


@cache
def recorded(mode: str, peak: float = HIGH, order: tuple[str, ...] = BRANCHES) -> tuple[Plant, AttributionMaps]:
    """A planted run; ``order`` is that of the branches as the host is told, the run itself does uncond first."""
    plant = Plant(peak=peak)
    branches = ("cond",) if mode == "none" else order
    recording = record(
        plant.unet,
        plant.layout,
        steps=plant.steps,
        images=plant.images,
        branches=branches,
        keep=branches,
        pairwise="heads",
        groups=plant.steps,
        null_branches=(),
    )
    with recording:
        plant.run(mode)
    return plant, recording.maps


def where(maps: AttributionMaps, slot: Slot) -> Tensor:
    """(N, 2): the (row, column) of the reference at which the recorded row of every query is highest."""
    grid = maps.references[slot.reference].grid
    pairs = maps.pairwise(slot.layer, slot.branch, slot.reference)[slot.image, slot.step, slot.head]
    best = pairs[:, grid.leading :].argmax(1)
    return torch.stack([best // grid.columns, best % grid.columns], 1)


def misplaced(plant: Plant, maps: AttributionMaps) -> list[Slot]:
    """The slots of which not every query is recovered exactly."""
    return [s for s in plant.slots(maps.branches) if not torch.equal(where(maps, s), plant.targets(s))]


def test_the_plant_can_tell_every_slot_from_every_other() -> None:
    plant = Plant()
    for reference in plant.layout.references:
        assert (reference.grid.rows, reference.grid.columns) not in GRIDS.values()
        assert reference.grid.rows != reference.grid.columns
    for reference in range(2):
        slots = [s for s in plant.slots() if s.reference == reference]
        assert len(slots) == 3 * 5 * 2 * 2 * 2
        assert len({plant.displacement(s) for s in slots}) == len(slots)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("peak", [LOW, HIGH])
def test_every_slot_is_recovered_exactly(mode: str, peak: float, tmp_path: Path) -> None:
    plant, maps = recorded(mode, peak)
    assert [x.name for x in maps.layers] == list(LAYERS)
    assert [(x.grid.rows, x.grid.columns) for x in maps.layers] == list(GRIDS.values())
    assert [x.name for x in maps.layers if x.middle] == [MIDDLE]
    assert maps.groups == ((0, 1), (1, 2), (2, 3))
    assert maps.pairwise_heads == "heads"
    assert maps.branches == (("cond",) if mode == "none" else BRANCHES)
    assert misplaced(plant, maps) == []
    loaded = AttributionMaps.load(maps.save(tmp_path / "maps.safetensors"))
    assert misplaced(plant, loaded) == []


@pytest.mark.parametrize("mode", ["batch", "calls"])
def test_cond_may_come_first(mode: str) -> None:
    plant, order = Plant(), ("cond", "uncond")
    options = {"branches": order, "keep": order, "pairwise": "heads", "groups": 3, "null_branches": ()}
    recording = record(plant.unet, plant.layout, steps=plant.steps, images=plant.images, **options)
    with recording:
        plant.run(mode, order)
    assert misplaced(plant, recording.maps) == []


@pytest.mark.parametrize("mode", ["batch", "calls"])
def test_a_wrong_order_of_branches_would_be_noticed(mode: str) -> None:
    plant, maps = recorded(mode, HIGH, ("cond", "uncond"))
    slots = plant.slots()
    assert len(misplaced(plant, maps)) == len(slots)
    for s in slots:
        other = Slot(s.step, s.layer, s.head, "uncond" if s.branch == "cond" else "cond", s.image, s.reference)
        assert torch.equal(where(maps, s), plant.targets(other))


def test_swapped_axes_would_be_noticed() -> None:
    plant, maps = recorded("batch")
    for s in plant.slots():
        grid, (h, w) = maps.references[s.reference].grid, GRIDS[s.layer]
        places, targets = where(maps, s), plant.targets(s)
        column_major = torch.stack([places[:, 1], places[:, 0]], 1)
        assert not torch.equal(column_major, targets)
        flat = places[:, 0] * grid.columns + places[:, 1]
        assert not torch.equal(torch.stack([flat % grid.rows, flat // grid.rows], 1), targets)
        assert not torch.equal(places.view(h, w, 2).transpose(0, 1).reshape(-1, 2), targets)


@pytest.mark.parametrize("mode", MODES)
def test_the_peaks_kept_by_time_group_are_the_planted_ones(mode: str) -> None:
    plant, maps = recorded(mode)
    for s in plant.slots(maps.branches):
        columns = maps.references[s.reference].grid.columns
        index = maps.grouped("peak_index", s.layer, s.branch, s.reference)[s.image, s.step, s.head]
        targets = plant.targets(s)
        assert torch.equal(index.long(), targets[:, 0] * columns + targets[:, 1]), s


def loaded_or_not(through_file: bool, folder: Path) -> tuple[Plant, AttributionMaps]:
    plant, maps = recorded("batch")
    return plant, AttributionMaps.load(maps.save(folder / "maps.safetensors")) if through_file else maps


@pytest.mark.parametrize("through_file", [False, True])
def test_sram_of_every_patch_peaks_where_it_was_planted(through_file: bool, tmp_path: Path) -> None:
    plant, maps = loaded_or_not(through_file, tmp_path)
    everywhere = torch.ones(LATENT, dtype=torch.bool)
    for s in plant.slots():
        if GRIDS[s.layer] != LATENT:  # on a coarser layer a patch is a mix of several queries
            continue
        choice = Choice(s.branch, s.reference, s.image, s.layer, [s.head], (s.step, s.step + 1))
        heat = sram(maps, everywhere, choice=choice, each=True)
        grid = maps.references[s.reference].grid
        assert heat.values.shape == (120, grid.rows, grid.columns)
        assert heat.size == grid.picture
        best = heat.values.flatten(1).argmax(1)
        assert torch.equal(torch.stack([best // grid.columns, best % grid.columns], 1), plant.targets(s)), s


def test_the_mirror_leads_back_to_the_query() -> None:
    plant, maps = recorded("batch")
    for s in plant.slots():
        if GRIDS[s.layer] != LATENT or s.reference == 1:  # reference 1 has fewer rows: several queries share a target
            continue
        cells = [(a, b) for a, b in plant.targets(s).tolist()]
        assert len(set(cells)) == len(cells)
        choice = Choice(s.branch, 0, s.image, s.layer, [s.head], (s.step, s.step + 1))
        heat = sram(maps, cells, "generated", choice, each=True)
        assert torch.equal(heat.values.flatten(1).argmax(1), torch.arange(len(cells))), s


@pytest.mark.parametrize("mode", MODES)
def test_the_marginals_of_a_slot_are_those_of_its_rows(mode: str) -> None:
    plant, maps = recorded(mode)
    for s in plant.slots(maps.branches):
        at = (s.image, s.step, s.head)
        where = (s.layer, s.branch, s.reference)
        rows = maps.pairwise(*where)[at]
        torch.testing.assert_close(maps.marginal("g2r", *where)[at], rows.mean(0), rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(maps.marginal("mass", *where)[at], rows.sum(1), rtol=1e-5, atol=1e-7)
        leading = maps.references[s.reference].grid.leading
        torch.testing.assert_close(maps.marginal("mass_placed", *where)[at], rows[:, leading:].sum(1), rtol=1e-5, atol=1e-7)
        balanced = (rows / rows.sum(0)).mean(1)
        torch.testing.assert_close(maps.marginal("balanced", *where)[at], balanced, rtol=1e-4, atol=1e-7)


def test_panels_of_time_and_layer_hold_the_steps_and_layers_that_they_name() -> None:
    plant, maps = recorded("batch")
    for image in range(plant.images):
        panels = tlam(maps, "G2R", Choice(layers=LAYERS[0], image=image), groups=plant.steps, preset="paper")
        for step, panel in enumerate(panels.values):
            rows = maps.pairwise(LAYERS[0])[image, step].mean((0, 1))[1:]
            torch.testing.assert_close(panel.flatten(), rows, rtol=1e-5, atol=1e-7)
            others = [torch.allclose(panel, p, rtol=1e-3) for p in panels.values]
            assert others == [s == step for s in range(plant.steps)]
        per_layer = llam(maps, "G2R", Choice(image=image, steps=(1, 2)), preset="default")
        assert len(per_layer.values) == len(LAYERS)
        for layer, panel, label in zip(LAYERS, per_layer.values, per_layer.labels, strict=True):
            rows = maps.pairwise(layer)[image, 1].mean((0, 1))[1:]
            torch.testing.assert_close(panel.flatten(), rows, rtol=1e-5, atol=1e-7)
            assert label.startswith(layer)
