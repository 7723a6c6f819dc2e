"""Deletion curves on planted models whose every cut has an effect that is known in closed form; regions of equal size."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from i2am import Heat, I2AMError, LayoutError, TokenGrid
from i2am.demo.recording import recording_of
from i2am.drawn.scene import DemoCase
from i2am.geometry.sequence import Sequence, generated, reference, text
from i2am.interventions.attend import attend_groups
from i2am.interventions.cells import fractions_of, moved_region, painted
from i2am.interventions.deletion import Curve, curves_of, deletion_curves, deletions, ranked, verdict
from i2am.interventions.plan import Cut
from i2am.interventions.questions import CURVE, Plan, each_reference, region_and_others
from i2am.interventions.removal import cells_in, groups, of_sequence
from i2am.levels.marginal import ulam
from i2am.models.demo.tryon import DemoModel, try_on

SHIRT = TokenGrid(4, 5, picture=(16, 20))
PICTURE = TokenGrid(3, 2, picture=(12, 8))
CALL = Sequence.of(text(2), generated(PICTURE), reference(SHIRT, "shirt"))
TOKENS = SHIRT.placed


def heat_of(values: Tensor, picture: str = "reference") -> Heat:
    size = SHIRT.picture if picture == "reference" else PICTURE.picture
    assert size is not None
    return Heat(values[None].float(), "G2R" if picture == "reference" else "mass", picture, "ULAM", ("",), size)


class Planted:
    """One attention: every query spends odds w_j on token j of the shirt, 1 on each other key; token j is worth v_j, others 0.

    Without a set C of the tokens a query's output is Σ_{j∉C} w_j v_j / (Σ_{j∉C} w_j + rest).
    """

    def __init__(self, seed: int = 0) -> None:
        random = torch.Generator().manual_seed(seed)
        self.odds = torch.rand(TOKENS, generator=random).double() * 4 + 0.1
        self.worth = torch.rand(TOKENS, generator=random).double() + 0.5
        span = CALL.references[0]
        logits, values = torch.zeros(CALL.keys).double(), torch.zeros(CALL.keys).double()
        logits[span.start : span.stop] = self.odds.log()
        values[span.start : span.stop] = self.worth
        self.rest = CALL.keys - TOKENS
        self.q = torch.ones(1, 1, CALL.keys, 1).double()
        self.k, self.v = logits.view(1, 1, -1, 1), values.view(1, 1, -1, 1)

    def run(self, cut: Cut) -> Tensor:
        """(N,): what the generated tokens get."""
        removal = of_sequence(cut, CALL)
        found = groups(() if removal is None else (removal,), CALL.keys, 1, CALL.keys)

        def attend(q: Tensor, k: Tensor, v: Tensor, _mask: Tensor | None) -> Tensor:
            return (q @ k.transpose(-1, -2)).softmax(-1) @ v

        return attend_groups(found, attend, self.q, self.k, self.v, None)[0, 0, CALL.generated.positions(), 0]

    def change(self, cut: Cut) -> float:
        return float((self.run(cut) - self.run(Cut("nothing"))).abs().mean())

    def without(self, gone: list[int]) -> float:
        """In closed form."""
        kept = [j for j in range(TOKENS) if j not in gone]
        return float((self.odds * self.worth)[kept].sum() / (self.odds[kept].sum() + self.rest))


def test_every_point_of_a_curve_is_the_closed_form() -> None:
    model = Planted()
    heat = heat_of((model.odds * model.worth).view(4, 5))
    plan = deletions(heat, fractions=(0.1, 0.25, 0.5, 1.0), seeds=(3, 4))
    assert [(one.order, one.cells, one.seed) for one in plan] == [
        *(("map", n, 0) for n in (2, 5, 10)),
        *(("random", n, seed) for seed in (3, 4) for n in (2, 5, 10)),
        *(("reversed", n, 0) for n in (2, 5, 10)),
        ("all", 20, 0),
    ]
    order = (model.odds * model.worth).argsort(descending=True).tolist()
    for one in plan:
        if one.order == "random":
            gone = torch.randperm(20, generator=torch.Generator().manual_seed(one.seed))[: one.cells].tolist()
        else:
            gone = (order[::-1] if one.order == "reversed" else order)[: one.cells]
        expected = abs(model.without(gone) - model.without([]))
        assert model.change(one.cut) == pytest.approx(expected, abs=1e-12), one.name
    curves = curves_of(plan, [model.change(one.cut) for one in plan])
    assert list(curves) == ["map", "random", "reversed"]
    assert all(curve.fractions == (0.0, 0.1, 0.25, 0.5, 1.0) for curve in curves.values())
    assert len({curve.changes[-1] for curve in curves.values()}) == 1
    assert curves["random"].changes[1] == pytest.approx(
        sum(model.change(p.cut) for p in plan if p.name[:11] == "random 10 %") / 2
    )
    assert curves["map"].area > curves["random"].area > curves["reversed"].area
    assert "soonest" in verdict(curves, "G2R")


def test_a_map_that_is_upside_down_is_found_out() -> None:
    model = Planted(1)
    curves = deletion_curves(heat_of(-(model.odds * model.worth).view(4, 5)), model.change)
    assert curves["map"].area < curves["random"].area < curves["reversed"].area
    assert "does not matter more" in verdict(curves, "G2R")


def test_a_map_on_the_generated_picture_cuts_the_direct_way_of_its_cells() -> None:
    model = Planted(2)
    values = torch.tensor([[6.0, 5.0], [4.0, 3.0], [2.0, 1.0]])
    for one in deletions(heat_of(values, "generated"), fractions=(0.5,), orders=("map",)):
        changed = (model.run(one.cut) - model.run(Cut("nothing"))).abs() > 1e-9
        assert changed.tolist() == [True] * 3 + [False] * 3
    assert deletion_curves(heat_of(values, "generated"), model.change)["map"].changes[-1] > 0


def test_equal_numbers_of_cells_in_each_order() -> None:
    plan = deletions(heat_of(torch.rand(4, 5, generator=torch.Generator().manual_seed(0))), fractions=(0.01, 0.04, 0.3))
    assert [one.cells for one in plan] == [1, 6] * 3  # the two smallest would cut as many
    for one in plan:
        removal = of_sequence(one.cut, CALL)
        assert removal is not None
        assert len(removal.keys) == one.cells
    assert plan[0].name == "map 5 %"


def test_orders() -> None:
    values = torch.tensor([[1.0, 3.0], [3.0, 0.0]])
    assert ranked(values, "map").tolist() == [1, 2, 0, 3]
    assert ranked(values, "reversed").tolist() == [3, 0, 1, 2]
    assert ranked(values, "random", 5).tolist() == ranked(-values, "random", 5).tolist()
    assert len({tuple(ranked(values, "random", seed).tolist()) for seed in range(20)}) > 5
    with pytest.raises(I2AMError, match="the order is 'worst'; choose one of 'map', 'random', 'reversed'"):
        ranked(values, "worst")


def test_the_area_is_the_mean_height() -> None:
    assert Curve("map", (0.0, 0.25, 0.5), (0.0, 4.0, 4.0)).area == pytest.approx((0.5 + 1.0) / 0.5)


@pytest.mark.parametrize("rect", [(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.2, 1.1), (0.25, 0.0, 0.75, 1.0)])
def test_painted_cells_are_the_cells_that_are_cut(rect: tuple[float, float, float, float]) -> None:
    grid = TokenGrid(4, 5, rect=rect)
    for seed in range(10):
        chosen = torch.rand(4, 5, generator=torch.Generator().manual_seed(seed)) > 0.6
        inside = cells_in(painted(chosen, (80, 100), rect), grid, "it")
        assert inside.tolist() == chosen.flatten().nonzero()[:, 0].tolist()


def test_a_moved_region_has_as_many_tokens_of_one_shape_elsewhere() -> None:
    region = torch.zeros(16, 20)
    region[0:8, 0:8] = 1  # 2 x 2 tokens
    own, seen = set(cells_in(region, SHIRT, "it").tolist()), set()
    for seed in range(30):
        other = cells_in(moved_region(region, SHIRT, seed), SHIRT, "it").tolist()
        assert len(other) == 4
        assert not own & set(other)
        seen.add(tuple(other))
    assert len(seen) > 3


def test_where_no_free_place_is_left_the_overlap_is_least() -> None:
    region = torch.zeros(4, 5)
    region[:3, :4] = 1
    own = set(cells_in(region, SHIRT, "it").tolist())
    shifts = [torch.roll(region, at, (0, 1)) for at in itertools.product(range(4), range(5)) if any(at)]
    least = min(int((shift * region).sum()) for shift in shifts)
    assert len(own & set(cells_in(moved_region(region, SHIRT, 0), SHIRT, "it").tolist())) == least


def test_planned_questions() -> None:
    assert [one.name for one in each_reference(["a", "b"])] == ["without a", "without b"]
    region = torch.zeros(16, 20)
    region[:4, :4] = 1
    own, *others = region_and_others(region, 0, "shirt", SHIRT, 3)
    assert own.cut.region is not None
    assert torch.equal(torch.as_tensor(own.cut.region), region)
    assert len(others) == 3
    assert len({tuple(torch.as_tensor(one.cut.region).flatten().tolist()) for one in others}) > 1


def test_what_cannot_be_planned_is_refused() -> None:
    flat = heat_of(torch.ones(4, 5))
    with pytest.raises(I2AMError, match="the G2R is the same at each of its 20 cells"):
        deletions(flat)
    with pytest.raises(I2AMError, match="fractions are above 0 and up to 1"):
        deletions(heat_of(torch.rand(4, 5)), fractions=(0.0,))
    two = Heat(torch.rand(2, 4, 5), "G2R", "reference", "TLAM", ("a", "b"), (16, 20))
    with pytest.raises(I2AMError, match="of one map, got 2 panels"):
        deletions(two)
    with pytest.raises(LayoutError, match=r"covers all of the 4 x 5 tokens of shirt.*paint a smaller one"):
        moved_region(torch.ones(16, 20), SHIRT, 0, "shirt")
    with pytest.raises(LayoutError, match="covers none of the 4 x 5 tokens"):
        moved_region(torch.eye(16, 20), SHIRT, 0)
    with pytest.raises(LayoutError, match="its tokens have no places"):
        moved_region(torch.eye(4), TokenGrid(0, 0, leading=1), 0)
    for text_ in ("", "0", "2", "half", "0.1 nan"):
        with pytest.raises(I2AMError, match="expected fractions above 0 and up to 1"):
            fractions_of(text_)


def test_each_layer_loses_as_many_cells_in_any_order() -> None:
    case, model = DemoCase.draw(0), DemoModel.untrained()
    recording = recording_of(model, images=1, steps=1, cfg=1.0, pairwise=None)
    with recording:
        try_on(
            model,
            agnostic=case.own.agnostic,
            densepose=case.own.densepose,
            reference=case.worn.reference,
            seeds=[0],
            steps=1,
            cfg=1.0,
        )
    maps = recording.maps
    fine = ulam(maps, "R2G")
    heat = Plan(CURVE, side="R2G").map_of(maps)
    assert fine.values.shape == (1, 32, 24)
    assert heat.values.shape == (1, 16, 12)  # of the layers at 16 x 12
    assert torch.allclose(heat.values[0, 3, 5], fine.values[0, 6:8, 10:12].mean(), rtol=1e-6)
    coarse, whole = TokenGrid(16, 12, picture=(128, 96)), TokenGrid(32, 24, picture=(128, 96))
    for one in deletions(heat, fractions=(0.25, 0.5), seeds=(0, 1)):
        assert len(cells_in(one.cut.where, coarse, "it")) == one.cells
        assert len(cells_in(one.cut.where, whole, "it")) == 4 * one.cells
    lost = {one.order: len(cells_in(one.cut.where, coarse, "it")) / coarse.placed for one in deletions(fine, fractions=(0.5,))}
    assert lost["random"] < 0.4  # else a random half of the fine cells is far less of the coarse ones
    g2r = Plan(CURVE).map_of(maps)
    assert torch.equal(g2r.values, ulam(maps, "G2R").values)
