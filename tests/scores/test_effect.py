"""The effect of a cut: figures of changes that are known beforehand."""

from __future__ import annotations

import itertools

import pytest
import torch
from edit_run import edit_run
from torch import Tensor

from i2am import AttributionMaps, Choice, Heat, I2AMError, MaskError
from i2am.outputs.effect_sheet import effect_sheet
from i2am.pictures.backdrop import neutral
from i2am.scores.effect import (
    Effect,
    change_heat,
    change_of,
    effect,
    maps_to_tell,
    rank_correlation,
    region_at,
    regions_of,
    told_by,
)

SIZE = (8, 6)


@pytest.fixture(scope="module")
def maps() -> AttributionMaps:
    return edit_run(steps=1)


def changed(values: Tensor) -> Tensor:
    """The change between black and a picture of these grey values (H, W)."""
    return change_of(torch.zeros(1, 3, *values.shape), values.expand(1, 3, *values.shape))[0]


def heat_of(values: Tensor, side: str = "mass") -> Heat:
    return Heat(values[None], side, "generated", "ULAM", ("",), SIZE)


def test_a_change_is_the_mean_over_channels_whatever_its_sign() -> None:
    before = torch.rand(2, 4, 5, 3, generator=torch.Generator().manual_seed(0))
    after = before.clone()
    after[1, 2, 4, 1] -= 0.5
    after[1, 0, 4, 1] += 0.1
    found = change_of(before, after)
    assert found.shape == (2, 5, 3)
    assert not found[0].any()
    assert found[1, 4, 1] == pytest.approx(0.15)
    assert found.count_nonzero() == 1


def test_the_figures_of_a_planted_change() -> None:
    change = torch.full(SIZE, 0.1)
    change[:2, :3] = 0.7
    region = torch.zeros(SIZE)
    region[:2, :3] = 1
    found = effect(changed(change), region)
    assert found.mean == pytest.approx((6 * 0.7 + 42 * 0.1) / 48)
    assert found.most == pytest.approx(0.7)
    assert found.area == pytest.approx(6 / 48)
    assert found.share_inside == pytest.approx(4.2 / 8.4)
    assert found.ratio == pytest.approx(4)
    assert found.roc == 1.0
    assert effect(changed(change), 1 - region).roc == 0.0
    assert found.as_dict()["ratio"] == found.ratio
    assert [f"{found.share_inside:.1%}" in line for line in found.sentences()] == [False, True, False]


def test_an_even_change_tells_nothing_of_a_region() -> None:
    found = effect(changed(torch.full(SIZE, 0.2)), torch.eye(8)[:, :6])
    assert found.roc == 0.5
    assert found.ratio == pytest.approx(1)


def test_a_region_at_another_size_is_taken_by_area() -> None:
    region = torch.zeros(16, 12)
    region[:4, :6] = 1
    torch.testing.assert_close(region_at(region, SIZE), region[::2, ::2])


def spearman(a: list[float], b: list[float]) -> float:
    """By its definition: Pearson's correlation of ranks, those of equal values averaged."""

    def ranks(values: list[float]) -> list[float]:
        return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]

    x, y = ranks(a), ranks(b)
    mean = (len(a) + 1) / 2
    top = sum((i - mean) * (j - mean) for i, j in zip(x, y, strict=True))
    return top / (sum((i - mean) ** 2 for i in x) * sum((j - mean) ** 2 for j in y)) ** 0.5


def test_rank_correlation_is_its_definition_with_ties() -> None:
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        a, b = (torch.randint(0, 5, (12,), generator=random).double() for _ in range(2))
        assert rank_correlation(a, b) == pytest.approx(spearman(a.tolist(), b.tolist()), abs=1e-9)
    for order in itertools.permutations((1.0, 2.0, 3.0)):
        assert rank_correlation(torch.tensor(order), torch.tensor(order) ** 3) == 1.0
    assert rank_correlation(torch.ones(4), torch.arange(4.0)) is None


def test_a_map_that_orders_cells_as_the_change_does_foretold_it() -> None:
    cells = torch.arange(12.0).view(4, 3)
    change = changed(cells.repeat_interleave(2, 0).repeat_interleave(2, 1) / 20)
    assert told_by(heat_of(cells**2), change) == 1.0
    assert told_by(heat_of(-cells), change) == -1.0
    assert told_by(heat_of(torch.ones(4, 3)), change) is None


def test_cells_beyond_the_picture_do_not_count() -> None:
    """A grid of 4 x 2 cells of which the last column lies beyond the picture (padding)."""
    change = changed(torch.arange(8.0)[:, None].expand(8, 6) / 10)
    values = torch.stack([torch.arange(4.0), torch.tensor([9.0, -9.0, 5.0, 2.0])], 1)
    beyond = Heat(values[None], "mass", "generated", "ULAM", ("",), SIZE, rect=(0.0, 0.0, 2.0, 1.0))
    assert told_by(beyond, change) == 1.0


def test_every_map_on_the_generated_picture_is_compared(maps: AttributionMaps) -> None:
    told = maps_to_tell(maps, Choice(reference=1))
    assert list(told) == ["R2G", "R2G-balanced", "mass", "via text", "which reference"]
    found = effect(changed(told["mass"].values[0]), told=told)
    assert found.told is not None
    assert found.told["mass"] == pytest.approx(1.0)
    assert found.cells == (16, 12)
    assert "mass 1.00" in found.sentences("garment")[-1]
    assert "maps of garment foretold" in found.sentences("garment")[-1]


def test_nothing_changed_is_an_answer_where_it_is_allowed() -> None:
    black = torch.zeros(1, 3, *SIZE)
    found = effect(change_of(black, black, same=True)[0], torch.eye(8)[:, :6])
    assert found == Effect(0.0, 0.0)
    assert "did not matter" in found.sentences()[0]


def test_the_sheet_shows_what_there_is(maps: AttributionMaps) -> None:
    told = maps_to_tell(maps)
    change = changed(told["mass"].values[0])
    found = effect(change, told=told)
    heat = change_heat(change, size=maps.generated_size)
    bare = effect_sheet(heat, found)
    whole = effect_sheet(heat, found, before=neutral((128, 96)), after=neutral((128, 96)), told=told["mass"], of="person")
    assert whole.width > 3 * bare.width / 2
    region = torch.zeros(128, 96)
    region[30:60, 20:50] = 1
    outlined = effect_sheet(heat, found, region=region)
    assert outlined.size == bare.size
    assert outlined.tobytes() != bare.tobytes()


BLACK = torch.zeros(1, 3, *SIZE)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (BLACK, torch.ones(1, 3, 8, 7), r"before is 6 x 8 with 3 channels, after 7 x 8 .*not two runs of one size"),
        (BLACK, torch.ones(1, 4, *SIZE), r"with 3 channels, after 6 x 8 with 4 channels"),
        (BLACK, torch.ones(2, 3, *SIZE), r"before holds 1 picture\(s\), after 2;"),
        (BLACK, BLACK, r"identical to the last bit"),
        (BLACK, BLACK * torch.nan, r"after holds NaN or infinity"),
        (BLACK + torch.inf, BLACK, r"before holds NaN or infinity"),
        (BLACK[0, 0], BLACK[0, 0], r"got \(8, 6\) before"),
    ],
)
def test_what_cannot_be_compared_is_refused(before: Tensor, after: Tensor, says: str) -> None:
    with pytest.raises(I2AMError, match=says):
        change_of(before, after)


def test_regions_and_maps_that_do_not_fit_are_refused() -> None:
    change = changed(torch.rand(SIZE, generator=torch.Generator().manual_seed(1)))
    with pytest.raises(MaskError, match="the region is empty"):
        effect(change, torch.zeros(SIZE))
    with pytest.raises(MaskError, match="the region covers the whole picture"):
        effect(change, torch.ones(SIZE))
    with pytest.raises(I2AMError, match="the region is 32 x 8 pixels, but the picture is 6 x 8"):
        effect(change, torch.eye(32)[:8])
    with pytest.raises(MaskError, match=r"holds 3 masks, but there are 2 picture\(s\)"):
        regions_of(torch.ones(3, *SIZE), 2)
    on_reference = Heat(torch.rand(1, 4, 3), "G2R", "reference", "ULAM", ("",), SIZE)
    with pytest.raises(I2AMError, match="G2R on the reference image, but the change lies on the generated one"):
        told_by(on_reference, change)
