"""What is kept of joint calls within a budget: some queries, pooled pairs, their mean over layers; and what that costs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from joint_run import PICTURE, JointRun, flux_like
from test_reduce_joint import kept_tokens, pooled_by_hand

from i2am.bench.memory import PeakMemory
from i2am.errors import RecordingError, UnavailableError
from i2am.geometry.layout import TokenGrid
from i2am.geometry.pooling import sum_cells
from i2am.geometry.sequence import Sequence, generated, reference, text
from i2am.hosts.attention import Attention
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam
from i2am.levels.masked import masked_g2r
from i2am.levels.mirror import mirror_of_object
from i2am.levels.patch import asked_grid, sram
from i2am.levels.share import share
from i2am.maps.facts import TOGETHER, LayerInfo
from i2am.maps.value import AttributionMaps
from i2am.recording.budget import bytes_of
from i2am.recording.planning import Planning, cost_of
from i2am.recording.recorder import BUDGET, Recorder
from i2am.scores.imacs import imacs_pair

DEFAULT = {"stride": None, "cells": None}
PLENTY = 10**12


def test_by_default_a_quarter_of_the_queries_is_kept_and_their_mass_is_exact() -> None:
    run = JointRun({"cond": flux_like(7)})
    whole, maps = run.record(), run.record(**DEFAULT)
    layer = maps.layers[0]
    assert (layer.grid.rows, layer.grid.columns, layer.queries, layer.cells) == (3, 2, 24, 32)
    assert layer.grid.rect == (0, 0, 1, 1)
    for kind in ("mass", "rest"):
        kept, every = (m.marginal(kind, "double.0") for m in (maps, whole))
        torch.testing.assert_close(kept, every[..., kept_tokens(PICTURE, 2)])
    assert "one of each 2 × 2 generated patches was recorded, 6 of 24" in maps.notes[0]
    torch.testing.assert_close(share(maps).values.sum(0), torch.ones(3, 2))


def test_maps_that_compare_say_what_they_compare_and_g2r_says_its_error() -> None:
    maps = JointRun({"cond": flux_like(7, TokenGrid(16, 16))}).record(**DEFAULT)
    recorded = "the 64 generated patches that were recorded, of 256"
    assert f"a softmax over {recorded}" in ulam(maps, "R2G").notes
    assert f"votes split among {recorded}" in ulam(maps, "R2G-balanced").notes
    assert not any(recorded in note for note in ulam(maps, "mass").notes)
    (note,) = [note for note in ulam(maps, "G2R").notes if "standard error of a token's weight" in note]
    errors = [maps.grouped("g2r_error", x.name)[0].mean((0, 1)).sum() for x in maps.layers]
    weights = [maps.marginal("g2r", x.name)[0].mean((0, 1)).sum() for x in maps.layers]
    assert f"is {100 * float(sum(errors) / sum(weights)):.2g} % on average" in note
    whole = ulam(JointRun({"cond": flux_like(7, TokenGrid(16, 16))}).record(), "G2R")
    assert not any("standard error" in note for note in whole.notes)


def test_r2g_of_some_queries_is_a_softmax_over_them() -> None:
    run = JointRun({"cond": flux_like(7)}, steps=1)
    maps = run.record(stride=2)
    block = run.attention("double.0", "cond", 0)[:, :, kept_tokens(PICTURE, 2)]
    expected = block.softmax(2)[..., run.sequences["cond"].references[0].positions()].mean(-1)
    torch.testing.assert_close(maps.marginal("r2g", "double.0")[:, 0].double(), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("pairwise", ["mean", "heads"])
def test_pairs_are_pooled_exactly_and_their_spread_is_kept(pairwise: str) -> None:
    run = JointRun({"cond": flux_like(7)})
    maps = run.record(cells=3, pairwise=pairwise)
    for index, reference_ in enumerate(maps.references):
        pairs = run.stated("double.0", "cond", index)["pairwise"]
        pairs = pairs.mean(2, keepdim=True) if pairwise == "mean" else pairs
        for image, step, head in ((i, s, h) for i in range(2) for s in range(2) for h in range(pairs.shape[2])):
            expected, spread = pooled_by_hand(pairs[image, step, head], PICTURE, 0, reference_.grid, 3)
            seen = maps.pairwise("double.0", reference=index)[image, step, head].double()
            torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-9)
            kept = maps.grouped("spread", "double.0", reference=index)[image, step, head]
            torch.testing.assert_close(kept.double(), spread, rtol=1e-4, atol=1e-7)


def test_sram_of_pooled_pairs_is_in_cells_and_its_mean_is_g2r() -> None:
    maps = JointRun({"cond": flux_like(7, TokenGrid(6, 6))}).record(cells=3)
    assert (asked_grid(maps).rows, asked_grid(maps).columns) == (3, 3)
    row = sram(maps, (0, 1))
    assert tuple(row.values.shape) == (1, 3, 2)  # 5 x 4 tokens in blocks of 2 x 2
    assert row.rect == (0.0, 0.0, 1.0, 1.2)
    assert "kept in 3 × 3 cells of the generated picture and 3 × 2 of the reference; a patch's own row differs" in row.notes[1]
    every = sram(maps, [(a, b) for a in range(3) for b in range(3)]).values[0]
    g2r = ulam(maps, "G2R").values[0]
    torch.testing.assert_close(every.flatten(), sum_cells(g2r.flatten()[None], TokenGrid(5, 4), 3)[0])
    mirror = sram(maps, (0, 0), "generated")
    assert tuple(mirror.values.shape) == (1, 3, 3)
    torch.testing.assert_close(mirror.values.sum(), torch.tensor(1.0))


def short(run: JointRun, **options: object) -> tuple[AttributionMaps, AttributionMaps]:
    """A recording with room for all, and one with room for all pairs and nothing else."""
    whole = run.record(**options)
    pairs = sum(t.nbytes for key, t in whole._tensors.items() if key[0] == "pairwise")
    return whole, run.record(**{**options, "budget": pairs})


def test_pairs_that_do_not_fit_are_kept_as_their_mean_over_layers(tmp_path: Path) -> None:
    run = JointRun({"cond": flux_like(7)}, layers=("a", "b", "c"))
    whole, maps = short(run)
    assert maps.pairwise_layers() == ()
    assert [x.name for x in maps.pair_layers()] == [TOGETHER]
    assert any("pairwise maps are kept as their mean over layers; record fewer layers or fewer cells" in n for n in maps.notes)
    for index in range(2):
        mean = torch.stack([whole.pairwise(x.name, reference=index) for x in whole.layers]).mean(0)
        torch.testing.assert_close(maps.pairwise(TOGETHER, reference=index), mean)
        for at, direction in (((1, 1), "reference"), ((0, 2), "generated")):
            one, other = (sram(m, at, direction, Choice(reference=index)) for m in (maps, whole))
            torch.testing.assert_close(one.values, other.values)
            assert one.rect == other.rect
    assert AttributionMaps.load(maps.save(tmp_path / "maps.safetensors")) == maps
    with pytest.raises(UnavailableError, match="'b' has no pairwise maps of its own: memory was short"):
        sram(maps, (0, 0), choice=Choice(layers="b"))
    with pytest.raises(UnavailableError, match="kept as their mean over heads"):
        sram(maps, (0, 0), choice=Choice(heads=[1]))
    mask = torch.zeros(80, 64)
    mask[:40] = 1
    assert mirror_of_object(maps, mask).values.sum() == pytest.approx(1)
    scores = imacs_pair(maps, torch.ones(96, 64).tril(), mask, side="mirror")
    assert scores["g"].layers == ("a", "b", "c")
    heat, names = masked_g2r(maps, torch.ones(96, 64).tril())
    assert names == ("a", "b", "c")
    torch.testing.assert_close(heat.values, masked_g2r(whole, torch.ones(96, 64).tril())[0].values)


def test_the_mean_over_layers_is_of_a_steps_last_evaluation() -> None:
    sequence = flux_like(7)
    generator = torch.Generator().manual_seed(2)
    q = [torch.randn(1, 2, sequence.keys, 4, generator=generator) for _ in range(4)]

    def maps(evaluations: list[list[int]], budget: int) -> AttributionMaps:
        recorder = Recorder(None, steps=1, budget=budget, stride=1, cells=0)
        for number, evaluation in enumerate(evaluations):
            for layer, tensor in enumerate(evaluation):
                Attention.joint(str(layer), sequence, "cond", q[tensor], q[tensor], None, scale=1.0).record(recorder, 0)
            if number == 1:
                recorder.discard({"cond"})
        recorder.end_step(0)
        return recorder.finish()

    kinds = ("pairwise", "via_text", "g2r_via_text", "words", "words_spread", "words_via_text")
    room = sum(t.nbytes for key, t in maps([[0, 1]], PLENTY)._tensors.items() if key[0] in kinds)
    alone, twice, thrice = maps([[0, 1]], room), maps([[2, 3], [], [0, 1]], room), maps([[2, 3], [3, 2], [0, 1]], room)
    assert [x.name for x in alone.pair_layers()] == [TOGETHER]
    for other in (twice, thrice):
        torch.testing.assert_close(other.pairwise(TOGETHER), alone.pairwise(TOGETHER))


def test_a_layer_that_is_left_out_is_still_in_the_mean_and_a_note_says_so() -> None:
    sequence, recorder = flux_like(7), Recorder(None, steps=2, budget=20_000, stride=1, cells=0)
    q = torch.randn(1, 2, sequence.keys, 4)
    for step in range(2):
        for layer in ("a", "b", "c")[: 3 - step]:
            Attention.joint(layer, sequence, "cond", q, q, None, scale=1.0).record(recorder, step)
        recorder.end_step(step)
    maps = recorder.finish()
    assert [x.name for x in maps.layers] == ["a", "b"]
    assert [x.name for x in maps.pair_layers()] == [TOGETHER]
    assert "also over those that were left out elsewhere" in maps.notes[0]


FLUX = Sequence.of(
    text(512), generated(TokenGrid(64, 64)), reference(TokenGrid(64, 64), "a"), reference(TokenGrid(64, 64), "b")
)


@pytest.mark.parametrize(("stride", "steps"), [(2, 28), (2, 4), (1, 28), (1, 50)])
def test_fifty_seven_blocks_of_flux_stay_within_the_budget(stride: int, steps: int) -> None:
    side = 64 // stride
    planning = Planning(steps, 5, "mean", 1, BUDGET, False)
    layout = FLUX.layout()
    infos = [
        LayerInfo(
            f"block {i}", TokenGrid(side, side), 24, False, 12_800, layout.in_order(), rest=("text", "generated"),
            queries=0 if stride == 1 else 4096, cells=32,
        )
        for i in range(57)
    ]  # fmt: skip
    for info in infos:
        planning.take_in(info, late=False)
    plan = planning.plan
    assert bytes_of(plan, [cost_of(info, False) for info in infos], 1) <= BUDGET
    assert plan.together
    assert len(plan.groups) == min(5, steps)
    assert len(plan.bins) >= (steps if stride == 2 else 5)


def test_a_call_of_flux_size_never_makes_its_whole_block() -> None:
    """4,096 x 12,800 of two heads, a quarter of the queries; a head's whole block would take 210 MB."""
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 2, FLUX.keys, 16, generator=generator) for _ in range(2))
    meter = PeakMemory(torch.device("cpu"))
    with meter.watch():
        recorder = Recorder(None, steps=1)
        Attention.joint("double.0", FLUX, "cond", q, k, None, scale=0.25).record(recorder, 0)
        recorder.end_step(0)
        maps = recorder.finish()
    assert meter.bytes < 100_000_000
    assert maps.layers[0].queries == 4096
    assert tuple(maps.pairwise("double.0").shape) == (1, 1, 1, 1024, 1024)


@pytest.mark.parametrize(
    ("option", "value", "words"), [("stride", 0, "stride must be at least 1"), ("cells", -1, "cells must")]
)
def test_what_cannot_be_is_refused(option: str, value: int, words: str) -> None:
    with pytest.raises(RecordingError, match=words):
        Recorder(None, steps=1, **{option: value})  # type: ignore[arg-type]
