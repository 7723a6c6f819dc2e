"""The measuring of the demo model, on planted maps and pictures whose figures are known beforehand."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from i2am.demo import causal, evaluate, export
from i2am.demo.attention_loss import NEVER_SUPERVISED, SUPERVISED
from i2am.demo.baselines import best_affine, chance, same_place
from i2am.demo.cases import OTHER, case_of, check_held_out
from i2am.demo.correspondence import Pointing, correspondence_of, peaks, point, sram_rows, true_tokens
from i2am.demo.data import GRID, HELD_OUT, SHARD
from i2am.demo.draw import DemoPairs, draw_pairs
from i2am.demo.encoder import REFERENCE_GRID
from i2am.demo.family import demo_layout
from i2am.demo.quality import psnr, ssim
from i2am.demo.sample import PARTS, DemoModel
from i2am.demo.spec import PICTURE, REFERENCE, draw_pair
from i2am.layout import TokenGrid
from i2am.maps import AttributionMaps, LayerInfo, RunInfo
from i2am.patches import sram

CELLS, TOKENS = GRID[0] * GRID[1], REFERENCE_GRID[0] * REFERENCE_GRID[1]


@pytest.fixture(scope="module")
def pairs() -> DemoPairs:
    return draw_pairs([draw_pair(HELD_OUT + 40 + i) for i in range(2)])


@pytest.fixture(scope="module")
def pair() -> DemoPairs:
    return draw_pairs([draw_pair(HELD_OUT + 40)])


@pytest.fixture(scope="module")
def model() -> DemoModel:
    return DemoModel.untrained()


def maps_of(layers: dict[str, Tensor], groups: tuple[tuple[int, int], ...] = ((0, 4),), recorded: int = 4) -> AttributionMaps:
    """Maps whose pairwise tensors, (images, groups, heads, N, 281), are given."""
    shape = {CELLS: GRID, 192: (16, 12)}
    layout = demo_layout()
    infos = tuple(
        LayerInfo(name, TokenGrid(*shape[t.shape[3]], picture=PICTURE), 4, False, layout.key_count, layout.references)
        for name, t in layers.items()
    )
    return AttributionMaps(
        {("pairwise", name, "cond", 0): t for name, t in layers.items()},
        layers=infos,
        references=layout.references,
        branches=("cond",),
        images=len(next(iter(layers.values()))),
        run=RunInfo(steps=groups[-1][1]),
        bins=groups,
        groups=groups,
        recorded=tuple(range(recorded)),
        generated_size=PICTURE,
    )


def planted(tokens: Tensor, rows_off: int = 0, columns_off: int = 0, mass: float = 1.0) -> Tensor:
    """A^r, (B, 1, 1, cells, 281): ``mass`` on each cell's token (B, cells, 2), moved, and the rest on the leading one."""
    row, column = tokens[..., 0] + rows_off, tokens[..., 1] + columns_off
    row = torch.where((row < 0) | (row >= REFERENCE_GRID[0]), tokens[..., 0] - rows_off, row)
    column = torch.where((column < 0) | (column >= REFERENCE_GRID[1]), tokens[..., 1] - columns_off, column)
    weights = F.one_hot(1 + row * REFERENCE_GRID[1] + column, TOKENS + 1).float() * mass
    weights[..., 0] = 1 - mass
    return weights[:, None, None]


def name_of(layer: str) -> str:
    return f"{layer}.transformer_blocks.0"


def test_true_tokens_are_rounded_token_coordinates() -> None:
    truth = torch.zeros(1, 2, *PICTURE)
    truth[:, 0], truth[:, 1] = 7.9, 8.1
    visible = torch.ones(1, 1, *PICTURE)
    visible[..., :4, :4] = 0
    visible[..., :4, 4:6] = 0  # half covered: not more than half
    tokens, covered = true_tokens(_pairs_with(truth, visible))
    assert tokens[0, 5].tolist() == [1, 0]  # (row of y = 8.1, column of x = 7.9)
    assert covered[0, :3].tolist() == [False, False, True]


def _pairs_with(truth: Tensor, visible: Tensor, mask: Tensor | None = None) -> DemoPairs:
    empty = torch.zeros(len(truth), 3, *PICTURE)
    ref = torch.zeros(len(truth), 3, *REFERENCE)
    one = torch.ones(len(truth), 1, *PICTURE)
    mask = torch.ones(len(truth), 1, *REFERENCE) if mask is None else mask
    return DemoPairs(empty, empty, empty, empty, ref, one, mask, truth, visible)


def test_pointing_of_planted_maps(pairs: DemoPairs) -> None:
    tokens, _ = true_tokens(pairs)
    taught = {name_of(name): planted(tokens, mass=0.6) for name in SUPERVISED}
    alone = {name_of(name): planted(tokens, 3, 0) for name in NEVER_SUPERVISED}
    found = correspondence_of(maps_of(taught | alone), pairs).as_dict()
    assert found["supervised"]["within_1"] == found["supervised"]["within_2"] == 1.0  # type: ignore[index]
    assert found["never_supervised"]["within_2"] == 0.0  # type: ignore[index]
    assert found["within_1"] == 0.0  # mass decides, not the number of layers: 3 x 0.6 against 2 x 1
    assert 0.01 < found["chance"] < 0.05 < found["same_place"] < 1  # type: ignore[operator]
    for off, near_1, near_2 in (((1, -1), 1.0, 1.0), ((0, 2), 0.0, 1.0), ((-3, 1), 0.0, 0.0)):
        shares = point(maps_of({name_of(SUPERVISED[0]): planted(tokens, *off)}), pairs).shares()
        assert (shares["within_1"], shares["within_2"]) == (near_1, near_2), off
    assert shares["pairs"] == 2
    assert shares["cells"] == int(true_tokens(pairs)[1].sum())


def test_time_groups_count_by_their_recorded_steps(pairs: DemoPairs) -> None:
    tokens, _ = true_tokens(pairs)
    both = torch.cat([planted(tokens, mass=0.6), planted(tokens, 4, 0)], 1)
    layer = name_of(SUPERVISED[0])
    assert point(maps_of({layer: both}, ((0, 3), (3, 4)), recorded=4), pairs).shares()["within_1"] == 1.0
    assert point(maps_of({layer: both}, ((0, 1), (1, 4)), recorded=4), pairs).shares()["within_1"] == 0.0


def test_rows_are_those_of_sram() -> None:
    rng = torch.Generator().manual_seed(3)
    fine = torch.rand(2, 3, 1, CELLS, TOKENS + 1, generator=rng).softmax(-1)
    coarse = (4 * torch.rand(2, 3, 1, 192, TOKENS + 1, generator=rng)).softmax(-1)
    maps = maps_of({"a": fine, "b": coarse}, ((0, 2), (2, 3), (3, 5)), recorded=4)
    rows = sram_rows(maps)
    for image, a, b in ((0, 0, 0), (1, 31, 23), (1, 7, 18)):
        want = sram(maps, (a, b), image=image).values[0].flatten()
        assert torch.allclose(rows[image, a * GRID[1] + b], want, atol=1e-7)
    assert torch.allclose(sram_rows(maps, "b")[0, 5], sram(maps, (0, 5), layers="b").values[0].flatten(), atol=1e-7)


def test_chance_counts_the_tokens_in_reach() -> None:
    tokens = torch.tensor([[0, 0], [10, 7], [19, 7]])
    assert chance(tokens, 1).tolist() == pytest.approx([4 / 280, 9 / 280, 6 / 280])
    assert chance(tokens, 2).tolist() == pytest.approx([9 / 280, 25 / 280, 15 / 280])
    share = Pointing.by_chance(tokens[None], torch.tensor([[True, True, False]])).shares()
    assert share["within_1"] == pytest.approx(6.5 / 280)


def _affine_pair(turn: float, scale: float, shift: tuple[float, float]) -> DemoPairs:
    """A reference with a shape that no rotation maps onto itself, and a person who shows it through a known affine map."""
    y, x = torch.meshgrid(torch.arange(REFERENCE[0]) + 0.5, torch.arange(REFERENCE[1]) + 0.5, indexing="ij")
    mask = ((x > 36) & (x < 78) & (y > 40) & (y < 120) | (x >= 78) & (x < 98) & (y > 40) & (y < 62)).float()
    gy, gx = torch.meshgrid(torch.arange(PICTURE[0]) + 0.5, torch.arange(PICTURE[1]) + 0.5, indexing="ij")
    cos, sin = torch.tensor(turn).cos(), torch.tensor(turn).sin()
    dx, dy = gx - 48 - shift[0], gy - 64 - shift[1]
    truth = torch.stack([58 + scale * (cos * dx + sin * dy), 78 + 1.1 * scale * (-sin * dx + cos * dy)])
    grid = torch.stack([truth[0] / REFERENCE[1] * 2 - 1, truth[1] / REFERENCE[0] * 2 - 1], -1)
    visible = F.grid_sample(mask[None, None], grid[None], mode="nearest", align_corners=False)
    return _pairs_with(truth[None], visible, mask[None, None])


@pytest.mark.parametrize(("turn", "scale", "shift"), [(0.5, 1.3, (4, -6)), (-0.9, 1.5, (-3, 5)), (2.0, 1.4, (0, 0))])
def test_best_affine_finds_a_planted_affine_map(turn: float, scale: float, shift: tuple[float, float]) -> None:
    pairs = _affine_pair(turn, scale, shift)
    tokens, covered = true_tokens(pairs)
    found = best_affine(pairs.visible, pairs.reference_mask)
    assert Pointing.of(found, tokens, covered).shares()["within_1"] > 0.97  # type: ignore[operator]
    with torch.inference_mode():  # also where no gradient may flow
        assert torch.equal(best_affine(pairs.visible, pairs.reference_mask), found)
    assert Pointing.of(same_place().expand_as(tokens), tokens, covered).shares()["within_1"] < 0.9  # type: ignore[operator]


def test_same_place_is_right_where_nothing_moved() -> None:
    y, x = torch.meshgrid(torch.arange(PICTURE[0]) + 0.5, torch.arange(PICTURE[1]) + 0.5, indexing="ij")
    truth = torch.stack([x / PICTURE[1] * REFERENCE[1], y / PICTURE[0] * REFERENCE[0]])[None]
    pairs = _pairs_with(truth, torch.ones(1, 1, *PICTURE))
    assert Pointing.of(same_place()[None], *true_tokens(pairs)).shares()["within_1"] == 1.0


def test_blocks_are_disjoint_on_the_garment_and_spread() -> None:
    for seed in range(HELD_OUT, HELD_OUT + 6):
        drawn = draw_pairs([draw_pair(seed)])
        blocks = causal.choose_blocks(drawn, 12)
        assert blocks == causal.choose_blocks(drawn, 12)
        tokens = [t for b in blocks for t in b.tokens]
        assert len(set(tokens)) == 48
        for block in blocks:
            left, top, right, bottom = block.box
            assert drawn.reference_mask[0, 0, top:bottom, left:right].mean() >= 0.5
        assert (causal.true_shares(drawn, blocks).sum((1, 2)) >= causal.SEEN).all()
    with pytest.raises(ValueError, match="ask for fewer"):
        causal.choose_blocks(drawn, 60)


def test_true_shares_add_up_to_what_is_visible(pair: DemoPairs) -> None:
    blocks = [causal.Block(r, c) for r in range(0, 20, 2) for c in range(0, 14, 2)]
    share = F.adaptive_avg_pool2d(pair.visible, GRID)[0, 0]
    assert torch.allclose(causal.true_shares(pair, blocks).sum(0), share, atol=1e-5)


def test_recolouring_changes_the_block_and_nothing_else(pair: DemoPairs) -> None:
    for block in causal.choose_blocks(pair, 12):
        painted = causal.recolour(pair.reference[0], pair.reference_mask[0], block)
        left, top, right, bottom = block.box
        inside = torch.zeros(1, *REFERENCE)
        inside[:, top:bottom, left:right] = 1
        inside = (inside * pair.reference_mask[0]) > 0
        change = (painted - pair.reference[0]).abs().mean(0, keepdim=True)
        assert change[~inside].max() == 0
        assert change[inside].mean() > 0.25


def _blobs(rng: torch.Generator, count: int = 12) -> Tensor:
    """Separate 5x4 patches of the 32x24 grid, (count, 32, 24), with values that differ within them."""
    out = torch.zeros(count, *GRID)
    for k in range(count):
        row, column = divmod(k, 4)
        out[k, row * 8 + 1 : row * 8 + 6, column * 6 + 1 : column * 6 + 5] = 0.6 + 0.4 * torch.rand(5, 4, generator=rng)
    return out


def test_retrieval_and_correlation_of_planted_changes() -> None:
    rng = torch.Generator().manual_seed(0)
    truth, mask = _blobs(rng), torch.ones(GRID, dtype=torch.bool)
    figures = causal.summary([causal.weigh(0.3 * truth, 0.1 * truth, truth, mask)])
    assert figures["retrieval"] == 1.0
    assert figures["correlation"] == pytest.approx(1.0)
    assert figures["follows_maps"] is None  # maps and truth differ nowhere
    assert figures["change_in_place"] == pytest.approx(1.0)
    assert figures["chance"] == pytest.approx(1 / 12)
    wrong = causal.summary([causal.weigh(0.3 * truth, truth.roll(1, 0), truth, mask)])
    assert wrong["retrieval"] == 0.0
    assert wrong["correlation"] < 0.1  # type: ignore[operator]
    swapped = truth[[1, 0, *range(2, 12)]]
    assert causal.summary([causal.weigh(truth, swapped, truth, mask)])["retrieval"] == pytest.approx(10 / 12)
    spilt = truth.clone()  # each change is most like its own map, but map 1 is more like change 0
    spilt[0] += 0.8 * truth[1]
    spilt[1] += 0.8 * truth[2:6].sum(0)
    assert causal.summary([causal.weigh(spilt, truth, truth, mask)])["retrieval"] == 1.0


def test_figures_look_inside_the_mask_only() -> None:
    rng = torch.Generator().manual_seed(0)
    truth, mask = _blobs(rng), torch.ones(GRID, dtype=torch.bool)
    mask[:, -1] = False
    spoilt = truth.clone()
    spoilt[:, :, -1] = 50 * torch.rand(12, GRID[0], generator=rng)
    assert causal.summary([causal.weigh(spoilt, truth, truth, mask)]) == causal.summary(
        [causal.weigh(truth, truth, truth, mask)]
    )


def test_which_one_the_change_follows() -> None:
    rng = torch.Generator().manual_seed(1)
    truth, mask = _blobs(rng), torch.ones(GRID, dtype=torch.bool)
    maps = truth.roll(2, 2)  # two columns to the right
    for change, follows in ((maps, 1.0), (truth, 0.0), (maps + truth, 0.5)):
        figures = causal.summary([causal.weigh(change, maps, truth, mask)])
        assert figures["follows_maps"] == pytest.approx(follows, abs=0.03)
        assert figures["maps_only_cells"] == figures["truth_only_cells"] == 12 * 10


def test_a_blur_of_the_truth_tells_nothing_that_the_truth_does_not() -> None:
    """Both a change and a map that are the true warp, smeared, agree beyond the sharp warp, and not beyond its blurs."""
    rng = torch.Generator().manual_seed(5)
    truth, mask = _blobs(rng), torch.ones(GRID, dtype=torch.bool)
    change, maps = causal.blurred(truth, 1.2), causal.blurred(truth, 0.9)
    figures = causal.summary([causal.weigh(change, maps, truth, mask)])
    assert figures["partial_correlation"] > 0.7  # type: ignore[operator]
    own = 0.05 * torch.randn(truth.shape, generator=rng)
    unlike = causal.summary([causal.weigh(change, maps + own, truth, mask)])
    assert abs(unlike["partial_correlation_given_blurs"]) < 0.05  # type: ignore[operator, arg-type]
    shared = causal.summary([causal.weigh(change + own, maps + own, truth, mask)])
    assert shared["partial_correlation_given_blurs"] > 0.9  # type: ignore[operator]


def test_the_best_fit_of_several_is_taken_out() -> None:
    rng = torch.Generator().manual_seed(6)
    a, b, one, two = (torch.randn(3, 400, generator=rng).double() for _ in range(4))
    mixed = causal.partial_given(a + 2 * one - two, b - one + 3 * two, [one, two])
    assert torch.allclose(mixed, causal.partial_given(a, b, [one, two]), atol=1e-9)
    assert torch.allclose(causal.partial_given(a, b, [one]), causal.partial_correlation(a, b, one), atol=1e-9)


def test_partial_correlation_takes_the_true_warp_out() -> None:
    rng = torch.Generator().manual_seed(2)
    truth, mask = _blobs(rng), torch.ones(GRID, dtype=torch.bool)
    shared, own, other = (0.1 * torch.randn(truth.shape, generator=rng) for _ in range(3))
    known = causal.weigh(truth + shared, truth + shared + 0.3 * own, truth, mask)
    unknown = causal.weigh(truth + own, truth + other, truth, mask)
    assert known.partial.min() > 0.9
    assert known.partial_truth.max() < 0.4  # the maps hold nearly all that the truth says, and more
    assert unknown.partial.abs().max() < 0.2
    assert unknown.correlation.min() > 0.55


def _warp(reference: Tensor, pairs: DemoPairs) -> Tensor:
    """What a perfect model would draw: the reference seen through the true warp, (K, 3, 128, 96)."""
    grid = torch.stack([pairs.truth[0, 0] / REFERENCE[1] * 2 - 1, pairs.truth[0, 1] / REFERENCE[0] * 2 - 1], -1)
    seen = F.grid_sample(reference, grid.expand(len(reference), -1, -1, -1), align_corners=False)
    return seen * pairs.visible


def test_causal_check_of_a_perfect_model(pair: DemoPairs, model: DemoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[int]] = []

    def perfect(_model: DemoModel, *, reference: Tensor, seeds: list[int], **_: object) -> Tensor:
        given.append(list(seeds))
        return _warp(reference, pair)

    monkeypatch.setattr(causal, "try_on", perfect)
    tokens, _ = true_tokens(pair)
    maps = maps_of({name_of(n): planted(tokens) for n in (*SUPERVISED, *NEVER_SUPERVISED)})
    result = causal.causal_check(model, pair, maps, _warp(pair.reference, pair)[0], seed=11, batch=5)
    assert given == [[11] * 5, [11] * 5, [11] * 2]  # the same noise, and no run of the untouched reference
    figures = result.as_dict()
    assert figures["retrieval"] == figures["never_supervised"]["retrieval"] == figures["by_true_warp"]["retrieval"] == 1.0
    assert figures["correlation"] > 0.85
    assert figures["change_in_place"] > 0.95 > 0.4 > figures["place_area"]
    assert result.recoloured.shape == (12, 3, *REFERENCE)
    assert result.truth[result.shown].sum() == result.truth.sum((1, 2)).max()


def test_causal_check_runs_the_untouched_reference_itself_where_it_must(pair: DemoPairs, model: DemoModel) -> None:
    seen: list[int] = []
    result = causal.causal_check(model, pair, steps=2, blocks=2, on_progress=seen.append)
    assert seen[-1] == 3
    assert sorted(seen) == seen
    recording = causal.recording_of(model, images=1, steps=2, pairwise="heads")
    with recording:
        picture = causal.try_on(
            model, agnostic=pair.agnostic, densepose=pair.densepose, reference=pair.reference, seeds=[0], steps=2
        )[0]
    again = causal.causal_check(model, pair, recording.maps, picture, steps=2, blocks=2)
    assert torch.equal(result.original, again.original)
    for family, attention in result.attention.items():
        assert torch.allclose(attention, again.attention[family], atol=1e-6)
    assert torch.allclose(result.change, again.change, atol=1e-6)
    assert result.change.max() > 0


def test_picture_figures() -> None:
    rng = torch.Generator().manual_seed(0)
    truth = 0.2 + 0.6 * torch.rand(2, 3, *PICTURE, generator=rng)
    mask = torch.zeros(2, 1, *PICTURE)
    mask[..., 40:80, 30:60] = 1
    off = truth + 0.1 * mask + 0.7 * (1 - mask)
    assert psnr(off, truth, mask).tolist() == pytest.approx([20.0, 20.0], abs=1e-3)
    assert ssim(truth, truth, mask).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    flat = truth.mean((2, 3), keepdim=True).expand_as(truth)
    inverted = 1 - truth
    assert (ssim(inverted, truth, mask) < ssim(flat, truth, mask)).all()
    assert (ssim(flat, truth, mask) < 0.2).all()


def test_cases_change_what_they_say_and_nothing_else() -> None:
    seeds = [HELD_OUT + 3, HELD_OUT + 4]
    cases = {k: case_of(k, seeds) for k in ("paired", "unpaired", "null_reference", "uv_blanked", "textures_swapped")}
    own = cases["paired"]
    other = draw_pairs([draw_pair(s + OTHER) for s in seeds])
    for case in cases.values():
        assert torch.equal(case.shown.agnostic, own.shown.agnostic)
    assert cases["null_reference"].reference is None
    assert torch.equal(cases["uv_blanked"].densepose, own.shown.densepose_blank)
    unpaired = cases["unpaired"]
    assert unpaired.reference is not None
    assert torch.equal(unpaired.reference, other.reference)
    assert [p.garment for p in unpaired.wanted] == [draw_pair(s + OTHER).garment for s in seeds]
    assert [p.body for p in unpaired.wanted] == [p.body for p in own.own]
    swapped = cases["textures_swapped"]
    assert torch.equal(swapped.truth.visible, own.truth.visible)
    assert torch.equal(swapped.truth.truth, own.truth.truth)
    assert (swapped.truth.reference - own.truth.reference).abs().mean() > 0.05


def test_training_seeds_are_refused(model: DemoModel, tmp_path: Path) -> None:
    check_held_out([HELD_OUT, HELD_OUT + 5])
    with pytest.raises(ValueError, match="seed 7 belongs to training"):
        check_held_out([HELD_OUT, 7])
    with pytest.raises(ValueError, match="belongs to training"):
        check_held_out([HELD_OUT + 5], trained_shards=HELD_OUT // SHARD + 2)
    with pytest.raises(ValueError, match="belongs to training"):
        evaluate.Evaluation(model, evaluate.Plan(pairs=4, first_seed=HELD_OUT - 2), file=tmp_path / "figures.json")
    assert not (tmp_path / "figures.json").exists()


@pytest.fixture(scope="module")
def weights(model: DemoModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    parts = {part: getattr(model, part).state_dict() for part in PARTS}
    return export.export_parts(parts, folder, {"samples": 0, "attention_weight": 0.2, "shards": 32})


def test_evaluation_end_to_end(weights: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "figures.json"
    command = ["--pairs", "2", "--steps", "2", "--causal-pairs", "1", "--blocks", "2", "--batch", "2", "--threads", "1"]
    assert evaluate.main([*command, "--weights", str(weights), "--json", str(file), "--device", "cpu", "--name", "blank"]) == 0
    figures = json.loads(file.read_text())
    assert set(figures) == {"setup", "picture", "sram", "where", "causal"}
    setup, picture, pointing = figures["setup"], figures["picture"], figures["sram"]
    assert setup["complete"] is True
    assert (setup["name"], setup["pairs"], setup["unpaired_pairs"], setup["steps"], setup["cfg"]) == (
        "blank",
        2,
        1,
        2,
        5.0,
    )
    assert setup["about"]["shards"] == 32
    unet = hashlib.sha256((weights / "unet.safetensors").read_bytes()).hexdigest()
    assert (setup["sha256"]["unet"], len(setup["sha256"])) == (unet, 3)
    assert figures["where"]["paired"]["mirror"]["pairs"] == 2
    assert figures["causal"]["by_blurred_warp"]["pairs"] == 1
    assert setup["first_seed"] >= HELD_OUT
    runs = {
        "paired",
        "unpaired",
        "wrong_reference",
        "null_reference",
        "uv_blanked",
        "textures_swapped",
        "drawn",
        "autoencoder",
    }
    assert set(picture) == runs
    assert picture["paired"]["pairs"] == 2
    assert picture["drawn"]["ssim"] == 1
    assert picture["drawn"]["pattern"] == picture["drawn"]["colour"] == 1
    for part in (pointing, pointing["unpaired"], pointing["uv_blanked"], pointing["textures_swapped"]):
        for family in ("supervised", "never_supervised", "all_layers"):
            assert 0 <= part[family]["within_1"] <= part[family]["within_2"] <= 1
            assert part[family]["cells"] > 50
    assert set(pointing["baselines"]) == {"chance", "same_place", "best_affine", "untrained"}
    assert set(pointing["by_layer"]) == {*SUPERVISED, *NEVER_SUPERVISED}
    assert pointing["textures_swapped"]["unmoved"]["all_layers"]["cells"] == pointing["textures_swapped"]["all_layers"]["cells"]
    for kind, pairs in (("paired", 2), ("unpaired", 1)):
        assert set(figures["where"][kind]) == {"mirror", "R2G-balanced", "R2G", "inpaint_mask"}
        assert all(0 <= f["auc"] <= 1 and f["pairs"] == pairs for f in figures["where"][kind].values())
        assert figures["where"][kind]["inpaint_mask"]["auc"] > 0.7  # the garment lies inside of it
    missed = pointing["where_same_place_misses"]["supervised"]["cells"]
    assert missed / pointing["supervised"]["cells"] == pytest.approx(
        1 - pointing["baselines"]["same_place"]["within_1"], abs=1e-4
    )
    assert figures["causal"]["changes"] == 2
    assert figures["causal"]["chance"] == 0.5
    assert set(figures["causal"]["by_true_warp"]) == {"retrieval", "correlation", "changes", "pairs"}


def test_an_interrupted_evaluation_keeps_what_it_measured(
    model: DemoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "causal_check", stop)
    file = tmp_path / "figures.json"
    plan = evaluate.Plan(pairs=1, unpaired_pairs=0, null_pairs=0, causal_pairs=1, steps=1, batch=1)
    with pytest.raises(KeyboardInterrupt):
        evaluate.Evaluation(model, plan, file=file).run()
    figures = json.loads(file.read_text())
    assert figures["setup"]["complete"] is False
    assert figures["sram"]["supervised"]["pairs"] == figures["picture"]["paired"]["pairs"] == 1
    assert "causal" not in figures


def test_bad_input_ends_with_one_line(weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    where = ["--weights", str(weights), "--json", str(tmp_path / "f.json")]
    assert evaluate.main(["--pairs", "1", "--seed0", "12", *where]) == 2
    assert "belongs to training" in caplog.text
    assert evaluate.main(["--pairs", "1", "--weights", str(tmp_path / "nowhere")]) == 2
    for bad in (["--only", "colour"], ["--pairs", "0"], ["--swap-pairs", "-1"]):
        with pytest.raises(SystemExit) as stopped:
            evaluate.main([*bad, *where])
        assert stopped.value.code == 2


def test_export_takes_the_averaged_weights(model: DemoModel, tmp_path: Path) -> None:
    state = {"samples": torch.tensor(4321)}
    for part in ("unet", "encoder"):
        for key, value in getattr(model, part).state_dict().items():
            state[f"ema.{part}.{key}"] = value.contiguous()
            state[f"raw.{part}.{key}"] = torch.full_like(value, 9)
    save_file(state, tmp_path / "checkpoint.safetensors")
    save_file(model.vae.state_dict(), tmp_path / "vae.safetensors")
    command = ["--checkpoint", str(tmp_path / "checkpoint.safetensors"), "--vae", str(tmp_path / "vae.safetensors")]
    assert export.main([*command, "--out", str(tmp_path / "out"), "--attention-weight", "0", "--shards", "3"]) == 0
    loaded = DemoModel.load(tmp_path / "out")
    assert (loaded.about["samples"], loaded.about["attention_weight"], loaded.about["shards"]) == (4321, 0, 3)
    for part in PARTS:
        for key, value in getattr(model, part).state_dict().items():
            assert torch.equal(getattr(loaded, part).state_dict()[key], value.half().float())
    assert sum(p.stat().st_size for p in (tmp_path / "out").iterdir()) <= export.LIMIT
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f"{part}.safetensors" for part in PARTS}


def test_export_refuses_and_leaves_what_was_there(model: DemoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {part: dict(getattr(model, part).state_dict()) for part in PARTS}
    (tmp_path / "unet.safetensors").write_bytes(b"old")
    spoilt = {**parts, "vae": {**parts["vae"], "quant_conv.bias": torch.full((8,), 1e9)}}
    with pytest.raises(ValueError, match="not finite"):
        export.export_parts(spoilt, tmp_path, {})
    with pytest.raises(ValueError, match="encoder has"):
        export.export_parts({**parts, "encoder": {}}, tmp_path, {})
    monkeypatch.setattr(export, "LIMIT", 1_000_000)
    with pytest.raises(ValueError, match="MB"):
        export.export_parts(parts, tmp_path, {})
    assert [p.name for p in tmp_path.iterdir()] == ["unet.safetensors"]
    assert (tmp_path / "unet.safetensors").read_bytes() == b"old"


def test_counts_of_a_plan_are_held_out_too(model: DemoModel) -> None:
    plan = replace(evaluate.Plan(), pairs=1, first_seed=HELD_OUT - 1)
    with pytest.raises(ValueError, match=str(HELD_OUT - 1)):
        evaluate.Evaluation(model, plan)
    assert peaks(torch.eye(TOKENS)[None])[0, 15].tolist() == [1, 1]
