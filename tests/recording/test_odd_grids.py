"""Grids that blocks and cells do not fill: at the edges, what holds fewer tokens counts less, in float64 and in every mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from joint_run import JointRun, flux_like
from test_reduce_joint import a_call, kept_tokens, pooled_by_hand, stated, tokens_per_block
from torch import Tensor

from i2am.geometry.cells import cells_under
from i2am.geometry.layout import TokenGrid
from i2am.geometry.pooling import block_of, pooled, sum_cells
from i2am.geometry.thinning import coarser, keep, weights_of
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam
from i2am.levels.patch import asked_grid, sram
from i2am.levels.share import mean_shares, share, which_reference
from i2am.maps.value import AttributionMaps

ODD = [(7, 5, 2), (5, 8, 2), (1, 3, 2), (7, 8, 3), (9, 7, 4)]


@pytest.mark.parametrize(("rows", "columns", "stride"), ODD)
@pytest.mark.parametrize("most", [0, 1, 2, 3])
def test_a_coarser_grid_knows_how_many_tokens_its_cells_hold(rows: int, columns: int, stride: int, most: int) -> None:
    """Pooled again, cells are still counted in tokens, not in blocks."""
    blocks = coarser(TokenGrid(rows, columns), stride, stride)
    cells, (tall, wide) = pooled(blocks, most), block_of(blocks, most)
    counts = torch.zeros(cells.rows, cells.columns, dtype=torch.float64)
    for r in range(rows):
        for c in range(columns):
            counts[r // (stride * tall), c // (stride * wide)] += 1
    torch.testing.assert_close(weights_of(cells).double(), counts.flatten() / (stride * tall * stride * wide))


@pytest.mark.parametrize(("rows", "columns", "stride"), ODD)
@pytest.mark.parametrize("most", [1, 2, 3])
def test_pooled_rows_are_means_over_tokens(rows: int, columns: int, stride: int, most: int) -> None:
    one, kept = a_call(rows, columns), keep(TokenGrid(rows, columns), stride)
    for i, maps in enumerate(one.reduced(stride, pairwise="heads", cells=most)):
        grid, pairs = one.layout.references[i].grid, stated(one, i, stride)["pairwise"]
        assert maps.pairwise is not None
        assert maps.spread is not None
        expected, spread = pooled_by_hand(pairs[1, 2], kept.grid, grid.leading, grid, most, tokens_per_block(one.grid, stride))
        torch.testing.assert_close(maps.pairwise[1, 2].double(), expected, rtol=1e-5, atol=1e-9)
        torch.testing.assert_close(maps.spread[1, 2].double(), spread, rtol=1e-4, atol=1e-7)


def a_run(rows: int, columns: int, stride: int, cells: int = 0) -> tuple[JointRun, AttributionMaps]:
    run = JointRun({"cond": flux_like(7, TokenGrid(rows, columns))}, layers=("double.0", "single.1"))
    return run, run.record(stride=stride, cells=cells)


def stated_shares(run: JointRun, grid: TokenGrid, stride: int) -> dict[str, Tensor]:
    """Each part's share of all tokens, float64: a kept token stands for its block."""
    stands, found = tokens_per_block(grid, stride), {}
    for span in run.sequences["cond"].spans:
        blocks = [run.attention(layer, "cond", step)[0] for layer in run.layers for step in range(run.steps)]
        own = torch.stack([b.softmax(-1)[..., span.positions()].sum(-1).mean(0) for b in blocks]).mean(0)
        found[span.name] = stands @ own[kept_tokens(grid, stride)] / stands.sum()
    return found


@pytest.mark.parametrize(("rows", "columns", "stride"), ODD)
def test_the_shares_of_the_picture_are_means_over_tokens(rows: int, columns: int, stride: int, tmp_path: Path) -> None:
    run, maps = a_run(rows, columns, stride)
    expected = stated_shares(run, TokenGrid(rows, columns), stride)
    again = AttributionMaps.load(maps.save(tmp_path / "maps.safetensors"))
    assert again == maps
    for one in (maps, again):
        seen = mean_shares(share(one))
        assert seen == pytest.approx({name: float(expected[name]) for name in seen}, rel=1e-5)
        assert sum(seen.values()) == pytest.approx(1, abs=1e-6)
    assert sum(mean_shares(which_reference(maps)).values()) == pytest.approx(1, abs=1e-6)
    for i in range(2):  # what G2R adds up to
        g2r = ulam(maps, "G2R", Choice(reference=i)).values.sum()
        assert float(g2r) == pytest.approx(float(expected[maps.references[i].name]), rel=1e-5)


@pytest.mark.parametrize(("rows", "columns", "stride"), ODD)
@pytest.mark.parametrize("cells", [0, 2, 3])
def test_the_mean_of_sram_over_all_patches_is_g2r(rows: int, columns: int, stride: int, cells: int) -> None:
    _, maps = a_run(rows, columns, stride, cells)
    grid = asked_grid(maps)
    every = [(a, b) for a in range(grid.rows) for b in range(grid.columns)]
    for i, reference in enumerate(maps.references):
        seen = sram(maps, every, choice=Choice(reference=i)).values[0].flatten()
        g2r = ulam(maps, "G2R", Choice(reference=i)).values[0].flatten()
        torch.testing.assert_close(seen, sum_cells(g2r[None], reference.grid, cells)[0], rtol=1e-5, atol=1e-7)


def test_a_region_takes_a_cell_at_the_edge_that_it_covers() -> None:
    """Of 3 x 3 tokens in blocks of 2 x 2, the last holds a single token, a quarter of itself."""
    region = torch.zeros(30, 30)
    region[20:, 20:] = 1
    assert cells_under(region, coarser(TokenGrid(3, 3), 2, 2)) == [(1, 1)]
    region[:] = 1
    assert cells_under(region, coarser(TokenGrid(3, 3), 2, 2)) == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize("size", [(2, 2), (1, 1), (2, 1)])
def test_the_error_of_a_single_sample_is_unknown_and_never_none_at_all(size: tuple[int, int], tmp_path: Path) -> None:
    _, maps = a_run(*size, 2)
    for one in (maps, AttributionMaps.load(maps.save(tmp_path / "maps.safetensors"))):
        told = [note for note in ulam(one, "G2R").notes if "standard error" in note]
        if size == (1, 1):  # all tokens
            assert not told
        else:
            assert told[0] == (
                f"from 1 of {size[0] * size[1]} generated patches: the standard error of a token's weight is unknown, as these "
                f"are too few"
            )
            assert not one.has("g2r_error", "double.0")


def test_the_error_of_two_samples_is_known() -> None:
    _, maps = a_run(4, 2, 2)
    assert float(maps.grouped("g2r_error", "double.0").sum()) > 0
    assert not any("unknown" in note for note in ulam(maps, "G2R").notes)
