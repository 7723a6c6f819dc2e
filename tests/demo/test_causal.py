"""The intervention: blocks, recolouring, and what a change says about maps, on planted changes and a perfect model."""

from __future__ import annotations

import pytest
import torch
from demo_maps import maps_of, name_of, planted
from torch import Tensor
from torch.nn import functional as F

from i2am.demo.evaluate import causal
from i2am.demo.evaluate.correspondence import true_tokens
from i2am.demo.train.attention_loss import NEVER_SUPERVISED, SUPERVISED
from i2am.drawn.draw import DemoPairs, draw_pairs
from i2am.drawn.places import GRID
from i2am.drawn.seeds import HELD_OUT
from i2am.drawn.spec import REFERENCE, draw_pair
from i2am.models.demo.tryon import DemoModel


@pytest.fixture(scope="module")
def pair() -> DemoPairs:
    return draw_pairs([draw_pair(HELD_OUT + 40)])


@pytest.fixture(scope="module")
def model() -> DemoModel:
    return DemoModel.untrained()


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
