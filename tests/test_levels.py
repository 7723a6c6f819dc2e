"""The levels of aggregation, from recorded calls to heats, against the plain float64 statement."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
import statement
import torch
from torch import Tensor

from i2am.errors import UnavailableError
from i2am.heat import Heat
from i2am.layout import Layout, Reference, TokenGrid
from i2am.levels import common_grid, hlam, llam, tlam, ulam
from i2am.maps import AttributionMaps
from i2am.patches import sram
from i2am.recorder import Recorder

Size = tuple[int, int]
SIDES = {"R2G": "r2g", "R2G-balanced": "balanced", "mass": "mass"}
D = 4


@dataclass(frozen=True)
class Layer:
    name: str
    grid: Size
    heads: int
    middle: bool = False


COARSE = Layer("input.4.1", (6, 4), 2)
MIDDLE = Layer("middle.1", (3, 2), 2, middle=True)
WIDE = Layer("output.5.1", (6, 4), 4)
FINE = Layer("output.9.1", (12, 8), 2)
NETWORK = (COARSE, MIDDLE, WIDE, FINE)
LATENT = (12, 8)
# Two text keys, a reference of 3 x 5 after a leading token, one more key, a reference of 4 x 2, one more key.
SHIRT = Reference(TokenGrid(3, 5, 1), 2, "shirt")
SHOES = Reference(TokenGrid(4, 2), 19, "shoes")
LAYOUT = Layout((SHIRT, SHOES), keys=28)


@dataclass
class Run:
    """A recorded run of random calls, and the calls themselves."""

    network: tuple[Layer, ...] = NETWORK
    steps: int = 7
    groups: int = 3
    layout: dict[str, Layout] = field(default_factory=dict)
    seen: range | None = None
    heads: str = "heads"
    budget: int = 300_000_000
    branches: tuple[str, ...] = ("uncond", "cond")
    null_branches: tuple[str, ...] = ("uncond",)
    images: int = 2
    inpaint_mask: Tensor | None = None

    def __post_init__(self) -> None:
        self.recorder = Recorder(
            lambda name: self.layout.get(name, LAYOUT),
            steps=self.steps,
            images=self.images,
            branches=self.branches,
            pairwise=self.heads,
            groups=self.groups,
            budget=self.budget,
            null_branches=self.null_branches,
            inpaint_mask=self.inpaint_mask,
        )
        for step in self.range:
            for branch in self.branches:
                for layer in self.network:
                    q, k = self.call(step, branch, layer)
                    self.recorder.observe(layer.name, layer.grid, step, branch, q, k, k, scale=0.5, middle=layer.middle)
            self.recorder.end_step(step)
        self.maps = self.recorder.finish()

    @property
    def range(self) -> range:
        return range(self.steps) if self.seen is None else self.seen

    def call(self, step: int, branch: str, layer: Layer) -> tuple[Tensor, Tensor]:
        seed = (step * 10 + self.branches.index(branch)) * 100 + self.network.index(layer)
        generator = torch.Generator().manual_seed(seed)
        keys = self.layout.get(layer.name, LAYOUT).key_count
        q = torch.randn(self.images, layer.heads, layer.grid[0] * layer.grid[1], D, generator=generator) * 2
        return q, torch.randn(self.images, layer.heads, keys, D, generator=generator)

    def stated(
        self,
        kind: str,
        layer: Layer,
        *,
        branch: str = "cond",
        reference: int = 0,
        image: int = 0,
        steps: Size | None = None,
        heads: tuple[int, ...] | None = None,
    ) -> Tensor:
        """One kind of map of one layer, (T, H, ...), of the recorded steps and wanted heads."""
        tokens = self.reference(layer, reference)
        found = []
        for step in self.range:
            if steps is None or steps[0] <= step < steps[1]:
                q, k = self.call(step, branch, layer)
                place = (tokens.start, tokens.grid.leading, tokens.grid.placed)
                found.append(statement.call_maps(q, k, k, place, scale=0.5)[kind][image])
        maps = torch.stack(found)
        return maps if heads is None else maps[:, [h for h in heads if h < layer.heads]]

    def reference(self, layer: Layer, index: int = 0) -> Reference:
        return self.layout.get(layer.name, LAYOUT).references[index]

    def panels(self, side: str, layer: Layer, scaled: bool = True, common: Size | None = None, **choice: object) -> Tensor:
        """One layer's maps on the common grid, (H, n)."""
        if side == "G2R":
            grid = self.reference(layer, choice.get("reference", 0)).grid  # type: ignore[arg-type]
            size = (grid.rows, grid.columns)
            g2r = self.stated("g2r", layer, **choice)  # type: ignore[arg-type]
            return statement.on_reference(g2r, grid.leading, size, common or size, scaled)[0]
        marginal = self.stated(SIDES[side], layer, **choice)  # type: ignore[arg-type]
        return statement.on_generated(marginal, layer.grid, LATENT, scaled and side != "mass")

    def unplaced(self, layers: tuple[Layer, ...], **choice: object) -> float:
        shares = []
        for layer in layers:
            grid = self.reference(layer, choice.get("reference", 0)).grid  # type: ignore[arg-type]
            g2r = self.stated("g2r", layer, **choice)  # type: ignore[arg-type]
            shares.append(g2r[..., : grid.leading].sum(-1).mean(0))
        return float(torch.cat(shares).mean())

    def specific(self, layers: tuple[Layer, ...] = NETWORK, scaled: bool = True, **choice: object) -> tuple[Tensor, Tensor]:
        """SRAM of every patch of the latent's grid, (h·w, S), and its unplaced share (h·w)."""
        sizes = [self.reference(x, choice.get("reference", 0)).grid for x in layers]  # type: ignore[arg-type]
        largest = max(sizes, key=lambda g: g.placed)
        both = [
            statement.specific(
                self.stated("pairwise", x, **choice),  # type: ignore[arg-type]
                g.leading,
                (x.grid, (g.rows, g.columns)),
                (LATENT, (largest.rows, largest.columns)),
                scaled,
            )
            for x, g in zip(layers, sizes, strict=True)
        ]
        return statement.mean_of([b[0] for b in both]), statement.mean_of([b[1] for b in both])


@cache
def run() -> Run:
    return Run()


@cache
def averaged() -> Run:
    """Pairwise maps kept as their mean over heads, the default."""
    return Run(heads="mean")


def close(seen: Tensor, expected: Tensor, relative: float = 2e-5) -> None:
    """To fp32's own error, as a part of the largest value."""
    expected = expected.double().reshape(seen.shape)
    error, largest = float((seen.double() - expected).abs().max()), float(expected.abs().max())
    assert error <= relative * largest, f"largest error {error:.3g}, largest value {largest:.3g}"


def one_panel(heat: Heat) -> Tensor:
    assert heat.values.dtype == torch.float32
    assert len(heat.values) == len(heat.labels) == 1
    return heat.values[0]


# -------------------------------------------------------------------------------------------------- marginals


@pytest.mark.parametrize("side", [*SIDES, "G2R"])
@pytest.mark.parametrize("preset", ["default", "paper", "official"])
def test_ulam_is_the_mean_over_steps_heads_and_layers(side: str, preset: str) -> None:
    layers = NETWORK if preset == "default" else (COARSE, WIDE, FINE)
    for branch, reference, image in (("cond", 0, 0), ("cond", 1, 1), ("uncond", 0, 1)):
        if branch == "uncond" and side == "G2R":
            continue
        where = {"branch": branch, "reference": reference, "image": image}
        heat = ulam(run().maps, side, preset=preset, **where)
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
        assert float(ulam(run().maps, "R2G", layers=layer.name).values.sum()) == pytest.approx(1, abs=0.05)
    coarse = ulam(run().maps, "R2G", layers=COARSE.name, preset="paper")
    assert float(coarse.values.sum()) == pytest.approx(4, abs=0.2)


def test_r2g_is_labelled_comparative_and_the_others_are_not() -> None:
    for side in (*SIDES, "G2R"):
        assert any("comparative, not causal" in note for note in ulam(run().maps, side).notes) == (side == "R2G")


@pytest.mark.parametrize("side", ["R2G", "mass", "G2R"])
@pytest.mark.parametrize("groups", [1, 2, 3, 5, 7])
def test_tlam_groups_are_half_open_and_as_even_as_possible(side: str, groups: int) -> None:
    heat = tlam(run().maps, side, groups)
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
    heat = tlam(run().maps, "mass", 2, steps=(2, 7))
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
    some = hlam(run().maps, side, heads=[3, 1])
    assert [label.split(" (")[0] for label in some.labels] == ["head 3", "head 1"]
    close(some.values, heat.values[[3, 1]], 1e-6)


@pytest.mark.parametrize("side", ["R2G", "G2R"])
def test_llam_has_one_panel_a_layer_in_network_order(side: str) -> None:
    heat = llam(run().maps, side, layers=["output.*", "input.4.1"])
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
    close(one_panel(ulam(run().maps, side, **choice)), statement.mean_of([run().panels(side, x, **rest) for x in layers]))


def test_a_layer_that_is_named_is_taken_even_if_it_is_the_middle_one() -> None:
    heat = ulam(run().maps, "R2G", layers="middle.*", preset="paper")
    close(heat.values, run().panels("R2G", MIDDLE, False).mean(0))


def test_the_common_grid_is_the_finest() -> None:
    assert (common_grid(run().maps, "generated").rows, common_grid(run().maps, "generated").columns) == LATENT
    assert ulam(run().maps, "R2G", layers=MIDDLE.name).values.shape == (1, *LATENT)
    assert common_grid(run().maps, "reference") == SHIRT.grid
    assert common_grid(run().maps, "reference", reference=1) == SHOES.grid


# ----------------------------------------------------------------------------------------- SRAM and its mirror


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_sram_of_every_patch(preset: str) -> None:
    layers = NETWORK if preset == "default" else (COARSE, WIDE, FINE)
    for source, reference, image in ((run(), 0, 1), (averaged(), 0, 0), (averaged(), 1, 0)):
        where = {"reference": reference, "image": image}
        cells = torch.ones(LATENT, dtype=torch.bool)
        heat = sram(source.maps, cells, each=True, preset=preset, **where)
        rows, shares = source.specific(layers, preset == "default", **where)
        close(heat.values, rows)
        close(torch.tensor(heat.unplaced), shares)
        assert heat.queries == tuple((a, b) for a in range(12) for b in range(8))
        assert (heat.side, heat.picture, heat.level) == ("SRAM", "reference", "SRAM")


def test_sram_of_one_patch_a_list_and_a_mask() -> None:
    rows, shares = run().specific()
    one = sram(run().maps, (7, 3))
    close(one_panel(one), rows[7 * 8 + 3])
    assert one.unplaced == pytest.approx([float(shares[7 * 8 + 3])], rel=1e-5)
    places = [(0, 0), (11, 7), (5, 2)]
    flat = [a * 8 + b for a, b in places]
    several = sram(run().maps, places)
    close(one_panel(several), rows[flat].mean(0))
    assert several.unplaced == pytest.approx([float(shares[flat].mean())], rel=1e-5)
    close(sram(run().maps, places, each=True).values, rows[flat])
    mask = torch.zeros(LATENT, dtype=torch.bool)
    for a, b in places:
        mask[a, b] = True
    close(sram(run().maps, mask).values, several.values, 1e-6)


def test_cells_may_be_numpy_integers() -> None:
    a, b = np.unravel_index(59, LATENT)
    close(sram(run().maps, (a, b)).values, sram(run().maps, (7, 3)).values, 1e-7)


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"reference": 1, "image": 1},
        {"steps": (2, 7)},
        {"layers": "output.*"},
        {"preset": "paper"},
        {"layers": "mid*"},
    ],
)
@pytest.mark.parametrize("source", [run, averaged])
def test_the_mean_of_all_srams_is_g2r(source, choice: dict) -> None:  # type: ignore[no-untyped-def]
    maps = source().maps
    mean, g2r = sram(maps, torch.ones(LATENT, dtype=torch.bool), **choice), ulam(maps, "G2R", **choice)
    assert (mean.values - g2r.values).abs().max() < 1e-6
    assert mean.unplaced == pytest.approx(g2r.unplaced, abs=1e-6)
    assert mean.size == g2r.size


def test_the_mean_of_all_srams_is_g2r_per_head() -> None:
    cells = torch.ones(LATENT, dtype=torch.bool)
    mean, g2r = sram(run().maps, cells, heads=[3, 0]), ulam(run().maps, "G2R", heads=[3, 0])
    assert (mean.values - g2r.values).abs().max() < 1e-6


@cache
def uneven() -> Run:
    """Layers that see the reference, here all keys, on unequal grids (as StableVITON's do)."""
    fine, coarse = Layout.of(TokenGrid(6, 10, 1)), Layout.of(TokenGrid(3, 5, 1))
    return Run(layout={x.name: coarse if x in (COARSE, MIDDLE) else fine for x in NETWORK}, images=1)


def test_the_mean_of_all_srams_is_g2r_when_layers_see_the_reference_on_unequal_grids() -> None:
    mean, g2r = sram(uneven().maps, torch.ones(LATENT, dtype=torch.bool)), ulam(uneven().maps, "G2R")
    assert g2r.values.shape == (1, 6, 10)
    assert (mean.values - g2r.values).abs().max() < 1e-6
    assert mean.unplaced == pytest.approx(g2r.unplaced, abs=1e-6)


def test_unequal_reference_grids_share_out_one_whole() -> None:
    rows, shares = uneven().specific()
    for a, b in ((0, 0), (5, 3), (11, 7)):
        heat = sram(uneven().maps, (a, b))
        close(heat.values, rows[a * 8 + b])
        assert float(heat.values.sum()) + heat.unplaced[0] == pytest.approx(1, abs=1e-5)
        assert heat.unplaced == pytest.approx([float(shares[a * 8 + b])], rel=1e-5)
    paper = ulam(uneven().maps, "G2R", preset="paper")
    panels = [uneven().panels("G2R", x, False, (6, 10)) for x in (COARSE, WIDE, FINE)]
    close(paper.values, statement.mean_of(panels))


def test_the_mirror_is_the_column_of_the_same_block_on_unequal_reference_grids() -> None:
    rows, _ = uneven().specific()
    for a, b in ((0, 0), (4, 7)):
        close(sram(uneven().maps, (a, b), "generated").values, statement.mirror(rows, a * 10 + b))


def test_the_mean_of_all_srams_is_g2r_when_grids_do_not_divide() -> None:
    """Pictures of odd latent size: the U-Net halves 5 x 7 to 3 x 4."""
    network = (Layer("a", (5, 7), 2), Layer("b", (3, 4), 2), Layer("c", (2, 2), 2))
    odd = Run(network=network, images=1)
    mean, g2r = sram(odd.maps, torch.ones(5, 7, dtype=torch.bool)), ulam(odd.maps, "G2R")
    assert (mean.values - g2r.values).abs().max() < 1e-6
    assert mean.unplaced == pytest.approx(g2r.unplaced, abs=1e-6)


def test_the_mirror_is_the_column_of_the_same_block() -> None:
    rows, _ = run().specific()
    for a, b in ((0, 0), (2, 4), (1, 3)):
        heat = sram(run().maps, (a, b), "generated")
        close(one_panel(heat), statement.mirror(rows, a * 5 + b))
        assert float(heat.values.sum()) == pytest.approx(1, abs=1e-5)
        assert (heat.side, heat.picture) == ("mirror", "generated")
    both = sram(run().maps, [(0, 0), (2, 4)], "generated", each=True)
    close(both.values, torch.stack([statement.mirror(rows, 0), statement.mirror(rows, 14)]))


def test_sram_says_how_sure_it_is() -> None:
    row = run().specific()[0][7 * 8 + 3]
    peak = float(row.max() / row.sum() * 15)
    heat = sram(run().maps, (7, 3))
    assert any(f"peak {peak:.1f}" in note for note in heat.notes)
    assert any("diffuse" in note for note in heat.notes) == (peak < 3)


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
    mixed = tlam(part.maps, "G2R", 2, steps=(3, 9))
    close(mixed.values[0], statement.mean_of([part.panels("G2R", x, steps=(4, 6)) for x in (COARSE, FINE)]))
    with pytest.raises(UnavailableError, match="0 to 4"):
        ulam(part.maps, "G2R", steps=(0, 4))


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
        ulam(short.maps, "mass", steps=(0, 1))


@pytest.mark.parametrize("part", [3, 5, 8, 12])
def test_a_short_budget_leaves_the_recorded_time_groups_whole(part: int) -> None:
    full = Run(network=(COARSE, WIDE), heads="mean", steps=25, groups=5, images=1)
    short = Run(network=(COARSE, WIDE), heads="mean", steps=25, groups=5, images=1, budget=full.maps.nbytes // part)
    if len(short.maps.groups) == 5:
        close(tlam(short.maps, "G2R", 5).values, tlam(full.maps, "G2R", 5).values)
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


# --------------------------------------------------------------------------------------------------- refusals


def single() -> AttributionMaps:
    one = Layout.of(TokenGrid(1, 1))
    return Run(network=(COARSE, FINE), layout={COARSE.name: one, FINE.name: one}, steps=3, images=1).maps


def test_single_token_references_have_r2g_alone() -> None:
    maps = single()
    heat = ulam(maps, "R2G")
    assert any("single-token reference: these weights cannot affect the picture" in note for note in heat.notes)
    assert heat.values.std() > 0
    for side in ("G2R", "R2G-balanced", "mass"):
        for level in (ulam, tlam, hlam, llam):
            options = {"groups": 3} if level is tlam else {}
            with pytest.raises(UnavailableError, match="single token"):
                level(maps, side, **options)
    for direction in ("reference", "generated"):
        with pytest.raises(UnavailableError, match="single token"):
            sram(maps, (0, 0), direction)


def test_layers_with_single_tokens_are_left_out_of_the_others_and_it_says_so() -> None:
    one = Layout.of(TokenGrid(1, 1))
    mixed = Run(network=(COARSE, FINE), layout={COARSE.name: one}, steps=3, images=1)
    for side in ("R2G-balanced", "G2R", "mass"):
        heat = ulam(mixed.maps, side)
        close(heat.values, mixed.panels(side, FINE).mean(0))
        assert any("single-token" in note for note in heat.notes)
    close(sram(mixed.maps, (3, 3)).values, mixed.specific((FINE,))[0][3 * 8 + 3])


def test_heads_of_single_token_layers_alone_are_refused() -> None:
    one = Layout.of(TokenGrid(1, 1))
    mixed = Run(network=(COARSE, WIDE), layout={WIDE.name: one}, steps=2, groups=1, images=1)
    assert len(hlam(mixed.maps, "G2R").values) == 2
    assert len(hlam(mixed.maps, "R2G").values) == 4
    with pytest.raises(UnavailableError):
        hlam(mixed.maps, "G2R", heads=[0, 3])


def test_the_mass_of_a_reference_that_is_all_keys_is_refused() -> None:
    whole = Run(network=(COARSE,), layout={COARSE.name: Layout.of(TokenGrid(3, 5, 1))}, steps=2, groups=1, images=1)
    with pytest.raises(UnavailableError, match="mass"):
        ulam(whole.maps, "mass")
    placed = ulam(whole.maps, "mass", placed_only=True)
    expected = whole.stated("pairwise", COARSE)[..., 1:].sum(-1).mean((0, 1))
    close(placed.values, expected)


def test_an_uncond_branch_of_null_tokens_has_no_places() -> None:
    for call in (lambda: ulam(run().maps, "G2R", branch="uncond"), lambda: sram(run().maps, (0, 0), branch="uncond")):
        with pytest.raises(UnavailableError, match="uncond"):
            call()
    real = Run(network=(COARSE,), steps=2, groups=1, images=1, null_branches=())
    close(ulam(real.maps, "G2R", branch="uncond").values, real.panels("G2R", COARSE, branch="uncond").mean(0))


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"layers": "down.*"}, "input.4.1"),
        ({"layers": ["output.*", "nothing"]}, "nothing"),
        ({"layers": []}, "layers"),
        ({"heads": []}, "heads"),
        ({"heads": [4]}, "heads"),
        ({"heads": [-1]}, "heads"),
        ({"steps": (3, 3)}, "steps"),
        ({"steps": (0, 8)}, "steps"),
        ({"steps": (-1, 2)}, "steps"),
        ({"branch": "both"}, "cond"),
        ({"reference": 2}, "reference"),
        ({"reference": -1}, "reference"),
        ({"image": 2}, "image"),
        ({"preset": "ours"}, "preset"),
    ],
)
def test_choices_that_do_not_exist_are_refused(choice: dict, text: str) -> None:
    for level in (ulam, tlam, hlam, llam):
        with pytest.raises(UnavailableError, match=text):
            level(run().maps, "R2G", **choice)
    with pytest.raises(UnavailableError, match=text):
        sram(run().maps, (0, 0), **choice)


def test_sides_groups_and_patches_that_do_not_exist_are_refused() -> None:
    maps = run().maps
    with pytest.raises(UnavailableError, match="R2G-balanced"):
        ulam(maps, "r2g")
    for groups in (0, 8):
        with pytest.raises(UnavailableError, match="groups"):
            tlam(maps, "R2G", groups)
    with pytest.raises(UnavailableError, match="direction"):
        sram(maps, (0, 0), "both")
    for at in ((12, 0), (0, 8), (-1, 0), [(0, 0), (3, 9)]):
        with pytest.raises(UnavailableError, match="12 rows and 8 columns"):
            sram(maps, at)
    with pytest.raises(UnavailableError, match="3 rows and 5 columns"):
        sram(maps, (3, 0), "generated")
    for nothing in ([], torch.zeros(LATENT, dtype=torch.bool)):
        with pytest.raises(UnavailableError, match="no patch"):
            sram(maps, nothing)
    with pytest.raises(UnavailableError, match="12 x 8"):
        sram(maps, torch.ones(6, 4, dtype=torch.bool))


def test_pairwise_steps_must_be_unions_of_the_recorded_groups() -> None:
    assert run().maps.groups == ((0, 2), (2, 4), (4, 7))
    for steps in ((0, 1), (1, 4), (2, 5), (6, 7)):
        with pytest.raises(UnavailableError, match="union"):
            sram(run().maps, (0, 0), steps=steps)
        ulam(run().maps, "G2R", steps=steps)  # marginals are kept per step
    for steps in ((0, 2), (2, 7), (0, 7)):
        close(sram(run().maps, (0, 0), steps=steps).values, run().specific(steps=steps)[0][0])


def test_heads_of_a_head_mean_are_refused() -> None:
    with pytest.raises(UnavailableError, match="heads"):
        sram(averaged().maps, (0, 0), heads=[0])
    close(sram(run().maps, (4, 4), heads=[1]).values, run().specific(heads=(1,))[0][36])


def test_patches_need_pairwise_maps() -> None:
    without = Run(network=(COARSE,), steps=2, groups=1, images=1, heads=None)  # type: ignore[arg-type]
    with pytest.raises(UnavailableError, match="pairwise"):
        sram(without.maps, (0, 0))
