"""The levels of aggregation, from recorded calls to heats, against the plain float64 statement."""

from __future__ import annotations

import pytest
import statement
import torch
from levels_run import (
    COARSE,
    FINE,
    LATENT,
    LAYOUT,
    MIDDLE,
    NETWORK,
    SHIRT,
    SHOES,
    SIDES,
    WIDE,
    D,
    Layer,
    Run,
    Size,
    close,
    one_panel,
    run,
)
from torch import Tensor

from i2am.errors import UnavailableError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.levels.choice import Choice
from i2am.levels.grids import common_grid
from i2am.levels.marginal import hlam, llam, tlam, ulam
from i2am.levels.patch import sram
from i2am.maps.facts import RunInfo
from i2am.recording.recorder import Recorder


@pytest.mark.parametrize("side", [*SIDES, "G2R"])
@pytest.mark.parametrize("preset", ["default", "paper", "official"])
def test_ulam_is_the_mean_over_steps_heads_and_layers(side: str, preset: str) -> None:
    layers = NETWORK if preset == "default" else (COARSE, WIDE, FINE)
    for branch, reference, image in (("cond", 0, 0), ("cond", 1, 1), ("uncond", 0, 1)):
        if branch == "uncond" and side == "G2R":
            continue
        where = {"branch": branch, "reference": reference, "image": image}
        heat = ulam(run().maps, side, Choice(**where), preset=preset)
        panels = [run().panels(side, x, preset == "default", **where) for x in layers]
        close(one_panel(heat), statement.mean_of(panels))
        assert (heat.side, heat.level) == (side, "ULAM")
        assert heat.picture == ("reference" if side == "G2R" else "generated")
        if side == "G2R":
            assert heat.unplaced == pytest.approx([run().unplaced(layers, **where)], rel=1e-5)
        else:
            assert heat.unplaced == ()


def test_presets_differ_in_scale_middle_layer_and_picture() -> None:
    default, paper, official = (ulam(run().maps, "R2G", preset=p) for p in ("default", "paper", "official"))
    close(official.values, paper.values, 1e-7)
    assert (default.values - paper.values).abs().max() > 0.1 * paper.values.max()
    assert (default.invert, paper.invert, official.invert) == (False, False, True)
    assert official.colours == "jet"
    assert paper.colours == "inferno"
    assert not ulam(run().maps, "G2R", preset="official").invert
    # every layer's R2G sums to 1 over its own positions: on the common grid it does so again, up to the bicubic border
    for layer in NETWORK:
        assert float(ulam(run().maps, "R2G", Choice(layers=layer.name)).values.sum()) == pytest.approx(1, abs=0.05)
    coarse = ulam(run().maps, "R2G", Choice(layers=COARSE.name), preset="paper")
    assert float(coarse.values.sum()) == pytest.approx(4, abs=0.2)


def test_r2g_is_labelled_comparative_and_the_others_are_not() -> None:
    for side in (*SIDES, "G2R"):
        assert any("comparative, not causal" in note for note in ulam(run().maps, side).notes) == (side == "R2G")


@pytest.mark.parametrize("side", ["R2G", "mass", "G2R"])
@pytest.mark.parametrize("groups", [1, 2, 3, 5, 7])
def test_tlam_groups_are_half_open_and_as_even_as_possible(side: str, groups: int) -> None:
    heat = tlam(run().maps, side, groups=groups)
    ranges = statement.time_groups(7, groups)
    sizes = [b - a for a, b in ranges]
    assert sum(sizes) == 7
    assert max(sizes) - min(sizes) <= 1
    assert len(heat.values) == groups
    for panel, (start, stop), label in zip(heat.values, ranges, heat.labels, strict=True):
        close(panel, statement.mean_of([run().panels(side, x, steps=(start, stop)) for x in NETWORK]))
        assert label.split("·")[0].strip() == (f"steps {start}–{stop - 1}" if stop - start > 1 else f"step {start}")
    if side == "G2R":  # no resizing: the mean over all steps weighs the groups by their sizes
        weights = torch.tensor(sizes).view(-1, 1, 1) / 7
        close((heat.values * weights).sum(0), ulam(run().maps, "G2R").values[0])
        assert heat.unplaced == pytest.approx([run().unplaced(NETWORK, steps=r) for r in ranges], rel=1e-5)


def test_tlam_of_a_part_of_the_steps() -> None:
    heat = tlam(run().maps, "mass", Choice(steps=(2, 7)), groups=2)
    for panel, steps in zip(heat.values, ((2, 4), (4, 7)), strict=True):
        close(panel, statement.mean_of([run().panels("mass", x, steps=steps) for x in NETWORK]))


@pytest.mark.parametrize("side", ["R2G-balanced", "G2R"])
def test_hlam_averages_the_layers_that_have_the_head(side: str) -> None:
    heat = hlam(run().maps, side)
    assert len(heat.values) == 4
    assert heat.level == "HLAM"
    for head, panel in enumerate(heat.values):
        close(panel, statement.mean_of([run().panels(side, x, heads=(head,)) for x in NETWORK if head < x.heads]))
        assert heat.labels[head].startswith(f"head {head}")
    some = hlam(run().maps, side, Choice(heads=[3, 1]))
    assert [label.split(" (")[0] for label in some.labels] == ["head 3", "head 1"]
    close(some.values, heat.values[[3, 1]], 1e-6)


@pytest.mark.parametrize("side", ["R2G", "G2R"])
def test_llam_has_one_panel_a_layer_in_network_order(side: str) -> None:
    heat = llam(run().maps, side, Choice(layers=["output.*", "input.4.1"]))
    assert [label.split(" ")[0] for label in heat.labels] == ["input.4.1", "output.5.1", "output.9.1"]
    for layer, panel in zip((COARSE, WIDE, FINE), heat.values, strict=True):
        close(panel, run().panels(side, layer).mean(0))


FILTERS = [
    ({"layers": "output.*"}, (WIDE, FINE)),
    ({"layers": ["middle.1", "*.4.1"]}, (COARSE, MIDDLE)),
    ({"heads": [1]}, NETWORK),
    ({"heads": [2, 3]}, (WIDE,)),
    ({"steps": (2, 4)}, NETWORK),
    ({"steps": (4, 7), "heads": [0], "layers": "*put*", "image": 1}, (COARSE, WIDE, FINE)),
]


@pytest.mark.parametrize("side", [*SIDES, "G2R"])
@pytest.mark.parametrize(("choice", "layers"), FILTERS)
def test_filters(side: str, choice: dict, layers: tuple[Layer, ...]) -> None:
    rest = {name: value for name, value in choice.items() if name != "layers"}
    expected = statement.mean_of([run().panels(side, x, **rest) for x in layers])
    close(one_panel(ulam(run().maps, side, Choice(**choice))), expected)


def test_a_layer_that_is_named_is_taken_even_if_it_is_the_middle_one() -> None:
    heat = ulam(run().maps, "R2G", Choice(layers="middle.*"), preset="paper")
    close(heat.values, run().panels("R2G", MIDDLE, False).mean(0))


def test_the_common_grid_is_the_finest() -> None:
    assert (common_grid(run().maps, "generated").rows, common_grid(run().maps, "generated").columns) == LATENT
    assert ulam(run().maps, "R2G", Choice(layers=MIDDLE.name)).values.shape == (1, *LATENT)
    assert common_grid(run().maps, "reference") == SHIRT.grid
    assert common_grid(run().maps, "reference", Choice(reference=1)) == SHOES.grid


# ----------------------------------------------------------------------------------- what else a recording keeps


def test_what_is_kept_by_time_group() -> None:
    for layer in (COARSE, WIDE):
        for group, steps in enumerate(run().maps.groups):
            for reference in (0, 1):
                where = {"reference": reference, "image": 1, "steps": steps}

                def kept(kind: str, name: str = layer.name, reference: int = reference, group: int = group) -> Tensor:
                    return run().maps.grouped(kind, name, "cond", reference)[1, group]

                for kind in ("entropy", "norm"):
                    close(kept(kind), run().stated(kind, layer, **where).mean(0))
                peaks = run().stated("peak_value", layer, **where)
                close(kept("peak_value"), peaks.amax(0))
                places = run().stated("peak_index", layer, **where).gather(0, peaks.argmax(0, keepdim=True))[0]
                assert torch.equal(kept("peak_index").long(), places)


@pytest.mark.parametrize("size", [(24, 16), (17, 11), (5, 3)])
def test_g2r_over_the_mask_weighs_queries_by_its_area_in_their_cells(size: Size) -> None:
    mask = (torch.rand(size, generator=torch.Generator().manual_seed(3)) < 0.3).float()
    masked = Run(network=(MIDDLE, FINE), steps=3, groups=1, images=1, inpaint_mask=mask)
    for layer in (MIDDLE, FINE):
        weights = statement.cell_areas(mask, layer.grid)
        a_r = masked.stated("pairwise", layer)
        expected = (a_r * weights[:, None]).sum(-2) / weights.sum()
        close(masked.maps.marginal("g2r_masked", layer.name)[0], expected)
        assert (expected - masked.stated("g2r", layer)).abs().max() > 1e-3


# ---------------------------------------------------------------------------------- runs that are not complete


def test_steps_that_were_not_done_do_not_dilute_the_mean() -> None:
    part = Run(network=(COARSE, FINE), steps=9, seen=range(4, 9), images=1)
    for side in ("mass", "G2R"):
        close(ulam(part.maps, side).values, statement.mean_of([part.panels(side, x) for x in (COARSE, FINE)]))
    close(sram(part.maps, (1, 1)).values, part.specific((COARSE, FINE))[0][9])
    mixed = tlam(part.maps, "G2R", Choice(steps=(3, 9)), groups=2)
    close(mixed.values[0], statement.mean_of([part.panels("G2R", x, steps=(4, 6)) for x in (COARSE, FINE)]))
    with pytest.raises(UnavailableError, match="0 to 4"):
        ulam(part.maps, "G2R", Choice(steps=(0, 4)))


def test_a_short_budget_coarsens_and_says_so_but_the_mean_stays() -> None:
    network = (COARSE, WIDE, FINE)
    full = Run(network=network, heads="mean", steps=8, groups=2, images=1)
    short = Run(network=network, heads="mean", steps=8, groups=2, images=1, budget=full.maps.nbytes // 2)
    assert short.maps.nbytes <= full.maps.nbytes // 2
    assert short.maps.notes
    assert len(short.maps.bins) < 8
    for side in ("mass", "G2R"):
        heat = ulam(short.maps, side)
        close(heat.values, ulam(full.maps, side).values)
        assert set(short.maps.notes) <= set(heat.notes)
    with pytest.raises(UnavailableError, match="union"):
        ulam(short.maps, "mass", Choice(steps=(0, 1)))


@pytest.mark.parametrize("part", [3, 5, 8, 12])
def test_a_short_budget_leaves_the_recorded_time_groups_whole(part: int) -> None:
    full = Run(network=(COARSE, WIDE), heads="mean", steps=25, groups=5, images=1)
    short = Run(network=(COARSE, WIDE), heads="mean", steps=25, groups=5, images=1, budget=full.maps.nbytes // part)
    if len(short.maps.groups) == 5:
        close(tlam(short.maps, "G2R", groups=5).values, tlam(full.maps, "G2R", groups=5).values)
    # heads may be gone, but a layer weighs as much as before
    close(ulam(short.maps, "G2R").values, ulam(full.maps, "G2R").values)


def test_a_run_in_inference_mode_can_be_finished_outside_of_it() -> None:
    recorder = Recorder(LAYOUT, steps=2, groups=1)
    generator = torch.Generator().manual_seed(0)
    for step in range(2):
        with torch.inference_mode():
            q, k = torch.randn(1, 2, 24, D, generator=generator), torch.randn(1, 2, 28, D, generator=generator)
            recorder.observe("a", (6, 4), step, "cond", q, k, None, scale=0.5)
            recorder.end_step(step)
    assert ulam(recorder.finish(), "G2R").values.isfinite().all()


def test_a_run_that_started_late_is_labelled_by_its_own_steps() -> None:
    recorder = Recorder(Layout.of(TokenGrid(4, 4)), steps=10, groups=2)
    generator = torch.Generator().manual_seed(0)
    for step in range(6, 10):
        q, k = torch.randn(1, 2, 16, 4, generator=generator), torch.randn(1, 2, 16, 4, generator=generator)
        recorder.observe("layer", (4, 4), step, "cond", q, k, None, scale=0.5)
        recorder.end_step(step)
    maps = recorder.finish(RunInfo(10, sigmas=(14.6, 10.0, 7.0, 5.0, 3.5, 2.5, 1.8, 1.2, 0.7, 0.3)))
    assert ulam(maps, "G2R").labels == ("steps 6–9 · σ 1.8–0.3",)
    panels = tlam(maps, "G2R", groups=2)
    assert panels.labels == ("steps 6–7 · σ 1.8–1.2", "steps 8–9 · σ 0.7–0.3")
    assert torch.equal(panels.values, tlam(maps, "G2R", Choice(steps=(6, 10)), groups=2).values)
    assert len(tlam(maps, "G2R", groups=5).values) == 4
