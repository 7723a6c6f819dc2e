"""SRAM and its mirror, from recorded calls, against the plain float64 statement."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import statement
import torch
from levels_run import (
    COARSE,
    FINE,
    LATENT,
    MIDDLE,
    NETWORK,
    WIDE,
    Layer,
    Run,
    averaged,
    close,
    one_panel,
    run,
)

from i2am.geometry.layout import Layout, TokenGrid
from i2am.geometry.resample import bilinear_rows
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam
from i2am.levels.patch import asked_grid, sram


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_sram_of_every_patch(preset: str) -> None:
    layers = NETWORK if preset == "default" else (COARSE, WIDE, FINE)
    for source, reference, image in ((run(), 0, 1), (averaged(), 0, 0), (averaged(), 1, 0)):
        where = {"reference": reference, "image": image}
        cells = torch.ones(LATENT, dtype=torch.bool)
        heat = sram(source.maps, cells, choice=Choice(**where), each=True, preset=preset)
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
    ("choice", "preset"),
    [
        (Choice(), "default"),
        (Choice(reference=1, image=1), "default"),
        (Choice(steps=(2, 7)), "default"),
        (Choice(layers="output.*"), "default"),
        (Choice(), "paper"),
        (Choice(layers="mid*"), "default"),
    ],
)
@pytest.mark.parametrize("source", [run, averaged])
def test_the_mean_of_all_srams_is_g2r(source, choice: Choice, preset: str) -> None:  # type: ignore[no-untyped-def]
    maps = source().maps
    mean = sram(maps, torch.ones(LATENT, dtype=torch.bool), choice=choice, preset=preset)
    g2r = ulam(maps, "G2R", choice, preset=preset)
    assert (mean.values - g2r.values).abs().max() < 1e-6
    assert mean.unplaced == pytest.approx(g2r.unplaced, abs=1e-6)
    assert mean.size == g2r.size


def test_the_mean_of_all_srams_is_g2r_per_head() -> None:
    cells = torch.ones(LATENT, dtype=torch.bool)
    mean, g2r = sram(run().maps, cells, choice=Choice(heads=[3, 0])), ulam(run().maps, "G2R", Choice(heads=[3, 0]))
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


@pytest.mark.parametrize("direction", ["reference", "generated"])
def test_a_mean_over_many_cells_is_taken_some_at_a_time(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = run().maps
    grid = asked_grid(maps, direction)
    every = torch.ones(grid.rows, grid.columns, dtype=torch.bool)
    whole = sram(maps, every, direction)
    asked: list[int] = []

    def counted(cells: list[tuple[int, int]], *sizes: tuple[int, int]) -> torch.Tensor:
        asked.append(len(cells))
        return bilinear_rows(cells, *sizes)

    monkeypatch.setattr("i2am.levels.patch.BLOCK", 7)
    monkeypatch.setattr("i2am.levels.patch.bilinear_rows", counted)
    parts = sram(maps, every, direction)
    assert max(asked) == 7
    assert torch.allclose(parts.values, whole.values, atol=1e-7)
    assert parts.unplaced == pytest.approx(whole.unplaced)
    assert len(whole.unplaced) == (direction == "reference")


def test_sram_says_how_sure_it_is() -> None:
    row = run().specific()[0][7 * 8 + 3]
    peak = float(row.max() / row.sum() * 15)
    heat = sram(run().maps, (7, 3))
    assert any(f"peak {peak:.1f}" in note for note in heat.notes)
    assert any("diffuse" in note for note in heat.notes) == (peak < 3)
