"""One budget bounds a recording: what is coarsened, in which order, and that it stays the mean of the fine one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2am.bench.memory import PeakMemory
from i2am.errors import RecordingError
from i2am.geometry.layout import Layout, Reference, TokenGrid
from i2am.geometry.resample import even_ranges
from i2am.maps.value import AttributionMaps
from i2am.recording.budget import LayerCost, Plan, bytes_of, plan
from i2am.recording.recorder import Recorder

PLENTY = 10**12
COSTS = [LayerCost("small", 2, 40, 10, 300), LayerCost("large", 4, 200, 50, 9000), LayerCost("middle", 4, 60, 12, 2000)]


def stages(costs: list[LayerCost], **options: object) -> list[Plan]:
    """All plans from the finest to the coarsest, each made by a budget one byte below what the one before it takes."""
    copies: int = options["copies"]  # type: ignore[assignment]
    found = [plan(costs, budget=PLENTY, **options)]  # type: ignore[arg-type]
    while True:
        after = plan(costs, budget=bytes_of(found[-1], costs, copies) - 1, **options)  # type: ignore[arg-type]
        if bytes_of(after, costs, copies) >= bytes_of(found[-1], costs, copies):
            return found
        found.append(after)


def longest(ranges: tuple[tuple[int, int], ...]) -> int:
    return max(b - a for a, b in ranges)


def whole(ranges: tuple[tuple[int, int], ...], steps: int) -> bool:
    """Half-open ranges that fill all steps, none of them empty."""
    edges = [0, *(b for _, b in ranges)]
    return [a for a, _ in ranges] == edges[:-1] and edges[-1] == steps and all(a < b for a, b in ranges)


def test_nothing_is_coarsened_where_there_is_room() -> None:
    chosen = plan(COSTS, steps=50, groups=5, pairwise="heads", copies=2, budget=PLENTY)
    assert chosen.bins == tuple((i, i + 1) for i in range(50))
    assert chosen.groups == ((0, 10), (10, 20), (20, 30), (30, 40), (40, 50))
    assert chosen.marginal_heads
    assert chosen.pairwise == "heads"
    assert chosen.pairwise_layers == {"small", "large", "middle"}
    assert chosen.notes == ()
    exact = plan(COSTS, steps=50, groups=5, pairwise="heads", copies=2, budget=bytes_of(chosen, COSTS, 2))
    assert exact == chosen
    assert plan(COSTS, steps=50, groups=5, pairwise="heads", copies=2, budget=bytes_of(chosen, COSTS, 2) - 1) != chosen


def test_the_order_of_coarsening() -> None:
    found = stages(COSTS, steps=50, groups=5, pairwise="heads", copies=2)
    seen = [(p.pairwise, len(p.groups), len(p.pairwise_layers), p.marginal_heads, longest(p.bins)) for p in found]
    marginals = {pairs: [s[3:] for s in seen if s[:3] == pairs] for pairs in dict.fromkeys(s[:3] for s in seen)}
    assert marginals == {
        # steps of marginals go first, then their heads; what a step of the pairs frees beyond need goes back to them
        ("heads", 5, 3): [(True, 1), (True, 2), (True, 4), (True, 5), (True, 10), (False, 4), (False, 5), (False, 10)],
        ("mean", 5, 3): [(True, 1), (True, 2), (True, 4), (True, 5), (True, 10), (False, 4), (False, 5), (False, 10)],
        ("mean", 1, 3): [(True, 2), (True, 4), (True, 5), (True, 10), (False, 4), (False, 5), (False, 10)],
        ("mean", 1, 2): [(True, 10), (False, 4), (False, 5), (False, 10)],
        ("mean", 1, 1): [(False, 5), (False, 10)],
        (None, 1, 0): [(False, 10), (False, 13), (False, 17), (False, 25), (False, 50)],  # at last, steps beyond groups
    }
    assert all("large" not in p.pairwise_layers for p in found if len(p.pairwise_layers) < 3)  # the largest first
    assert all(p.pairwise_layers == {"small"} for p in found if len(p.pairwise_layers) == 1)


def test_marginals_get_back_what_the_pairs_leave() -> None:
    """The U-Net of Stable Diffusion 1.5 at 512 x 384: per head is too much, and asking for it costs nothing else."""
    grids = [3072] * 5 + [768] * 5 + [192] * 5 + [48]
    costs = [LayerCost(str(i), 8, 6 * n + 257, 4 * n, n * 257) for i, n in enumerate(grids)]
    mean, heads = (plan(costs, steps=50, groups=5, pairwise=kept, copies=1, budget=300_000_000) for kept in ("mean", "heads"))
    assert heads.pairwise == mean.pairwise == "mean"
    assert (heads.bins, heads.groups, heads.marginal_heads) == (mean.bins, mean.groups, mean.marginal_heads)
    assert any("pairwise maps are kept as their mean" in note for note in heads.notes)


def test_notes_say_what_was_coarsened_and_why() -> None:
    found = stages(COSTS, steps=50, groups=5, pairwise="heads", copies=2)
    texts = ["; ".join(p.notes) for p in found]
    pairs = [(p.pairwise, len(p.groups), len(p.pairwise_layers)) for p in found]

    def first(what: tuple[object, ...]) -> int:
        return pairs.index(what)  # type: ignore[arg-type]

    for earlier, later, news in [
        (0, 1, "per 2 steps instead of per step"),
        (1, 2, "per 4 steps"),
        (4, 5, "marginal maps are kept as their mean over heads"),
        (0, first(("mean", 5, 3)), "pairwise maps are kept as their mean over heads"),
        (first(("mean", 5, 3)), first(("mean", 1, 3)), "one time group instead of 5"),
        (first(("mean", 1, 3)), first(("mean", 1, 2)), "no pairwise maps of large"),
        (first(("mean", 1, 1)), first((None, 1, 0)), "no pairwise maps of large, middle, small"),
    ]:
        assert news not in texts[earlier]
        assert news in texts[later]
    assert all("budget of" in note for p in found for note in p.notes)
    least = bytes_of(found[-1], COSTS, 2)
    hopeless = plan(COSTS, steps=50, groups=5, pairwise="heads", copies=2, budget=least // 2)
    assert replace(hopeless, notes=()) == replace(found[-1], notes=())
    assert "even the coarsest" in hopeless.notes[-1]
    assert not any("even the coarsest" in text for text in texts)


@st.composite
def cost_lists(draw: st.DrawFn) -> list[LayerCost]:
    sizes = draw(st.lists(st.tuples(*[st.integers(1, 500)] * 4), min_size=1, max_size=5))
    return [LayerCost(f"layer {i}", s[0] % 8 + 1, s[1], s[2], s[3] * 20) for i, s in enumerate(sizes)]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(cost_lists(), st.integers(1, 60), st.integers(1, 12), st.sampled_from([None, "mean", "heads"]), st.integers(1, 4))
def test_any_plan_stays_within_the_budget_and_its_ranges_fill_all_steps(
    costs: list[LayerCost], steps: int, groups: int, pairwise: str | None, copies: int
) -> None:
    wanted = even_ranges(steps, min(groups, steps))
    found = stages(costs, steps=steps, groups=groups, pairwise=pairwise, copies=copies)
    sizes = [bytes_of(p, costs, copies) for p in found]
    assert sizes == sorted(sizes, reverse=True)
    for chosen, size in zip(found, sizes, strict=True):
        assert whole(chosen.bins, steps)
        assert whole(chosen.groups, steps)
        if chosen.groups == wanted and (pairwise is None or chosen.pairwise_layers):
            edges = {a for a, _ in chosen.bins}
            if longest(chosen.bins) <= longest(wanted):  # time groups can still be told apart
                assert {a for a, _ in wanted} <= edges
        between = plan(costs, steps=steps, groups=groups, pairwise=pairwise, copies=copies, budget=size + 1)
        assert bytes_of(between, costs, copies) <= size + 1
    assert len(found[-1].bins) == 1
    assert not found[-1].pairwise_layers
    assert not found[-1].marginal_heads or all(c.heads == 1 for c in costs)


# ------------------------------------------------------------------------------------------------- recorders


@dataclass(frozen=True)
class Layer:
    name: str
    grid: tuple[int, int]
    heads: int


NETWORK = (Layer("down", (6, 4), 2), Layer("middle", (3, 2), 4), Layer("up", (6, 4), 3))
LAYOUT = Layout((Reference(TokenGrid(3, 5, 1), 1, "shirt"), Reference(TokenGrid(2, 3), 17, "shoes")), keys=24)
MASK = torch.zeros(12, 8)
MASK[2:9, 1:6] = 1
MARGINALS = ("r2g", "r2g_placed", "balanced", "balanced_placed", "mass", "mass_placed", "g2r", "g2r_masked")


PARTS = (0.9, 0.5, 0.25, 0.15, 0.1, 0.05, 0.035)


@cache
def record(
    budget: int = PLENTY, steps: int = 11, seen: range | None = None, masked: bool = True, **options: object
) -> AttributionMaps:
    settings_ = {"pairwise": "heads", "groups": 3, **options}
    recorder = Recorder(
        LAYOUT,
        steps=steps,
        images=2,
        branches=("uncond", "cond"),
        budget=budget,
        inpaint_mask=MASK if masked else None,
        **settings_,  # type: ignore[arg-type]
    )
    for step in range(steps) if seen is None else seen:
        for branch in ("uncond", "cond"):
            for layer in NETWORK:
                recorder.observe(layer.name, layer.grid, step, branch, *call(step, branch, layer), scale=0.5)
        recorder.end_step(step)
    return recorder.finish()


@cache
def call(step: int, branch: str, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed((step * 2 + len(branch) % 2) * 10 + NETWORK.index(layer))
    n, s = layer.grid[0] * layer.grid[1], LAYOUT.key_count
    q = torch.randn(2, layer.heads, n, 4, generator=generator) * 2
    return q, torch.randn(2, layer.heads, s, 4, generator=generator), torch.randn(2, layer.heads, s, 4, generator=generator)


@cache
def fine() -> AttributionMaps:
    return record()


def fine_mean(kind: str, layer: str, branch: str, reference: int, ranges: tuple[tuple[int, int], ...], heads: bool) -> Tensor:
    """What a coarsened recording must hold: the mean over each range, and over heads where they are not kept."""
    every = fine().marginal(kind, layer, branch, reference)
    out = torch.stack([every[:, a:b].mean(1) for a, b in ranges], 1)
    return out if heads else out.mean(2, keepdim=True)


def assert_means(maps: AttributionMaps, heads: bool) -> None:
    for layer in NETWORK:
        for branch in ("uncond", "cond"):
            for reference in range(2):
                where = (layer.name, branch, reference)
                for kind in MARGINALS:
                    expected = fine_mean(kind, *where, maps.bins, heads)
                    torch.testing.assert_close(maps.marginal(kind, *where), expected, rtol=1e-5, atol=1e-7)


def steps_of_groups(kind: str, layer: str, branch: str, reference: int, ranges: tuple[tuple[int, int], ...]) -> Tensor:
    """A kind kept by group, from a recording with one group a step, averaged over each range."""
    every = per_step().grouped(kind, layer, branch, reference)
    return torch.stack([every[:, a:b].mean(1) for a, b in ranges], 1)


@cache
def per_step() -> AttributionMaps:
    return record(groups=11)


def test_the_default_budget_is_not_touched_by_a_small_run() -> None:
    maps = record(budget=300_000_000)
    assert maps.notes == ()
    assert maps.bins == tuple((i, i + 1) for i in range(11))
    assert maps.groups == ((0, 3), (3, 7), (7, 11))
    assert maps.nbytes == fine().nbytes


@pytest.mark.parametrize("masked", [False, True])
def test_the_plan_counts_exactly_what_is_kept(masked: bool) -> None:
    full = record(masked=masked)
    assert record(budget=full.nbytes, masked=masked).notes == ()
    assert record(budget=full.nbytes - 1, masked=masked).notes != ()


@pytest.mark.parametrize("part", PARTS)
def test_recordings_stay_within_the_budget_and_hold_the_means_of_the_fine_ones(part: float) -> None:
    budget = int(fine().nbytes * part)
    maps = record(budget=budget)
    assert maps.nbytes <= budget
    assert maps.notes
    assert whole(maps.bins, 11)
    heads = maps.marginal("r2g", "up").shape[2] == 3
    assert_means(maps, heads)
    for name in maps.pairwise_layers():
        for branch in ("uncond", "cond"):
            expected = steps_of_groups("pairwise", name, branch, 0, maps.groups)
            if maps.pairwise_heads == "mean":
                expected = expected.mean(2, keepdim=True)
            torch.testing.assert_close(maps.pairwise(name, branch, 0), expected, rtol=1e-5, atol=1e-7)
    for kind in ("entropy", "norm"):
        expected = steps_of_groups(kind, "up", "cond", 1, maps.groups)
        expected = expected if heads else expected.mean(2, keepdim=True)
        torch.testing.assert_close(maps.grouped(kind, "up", "cond", 1), expected, rtol=1e-5, atol=1e-6)


def test_a_small_budget_goes_through_every_stage() -> None:
    """The parts above are not all one stage: something new is given up again and again, and the notes name it."""
    found = []
    for part in (1.0, *PARTS):
        maps = record(budget=int(fine().nbytes * part))
        heads = maps.marginal("r2g", "up").shape[2] == 3
        found.append((len(maps.bins), heads, maps.pairwise_heads, len(maps.groups), len(maps.pairwise_layers())))
        text = "; ".join(maps.notes)
        assert ("per step" in text) == (len(maps.bins) < 11)
        assert ("marginal maps are kept as their mean" in text) == (not heads)
        assert ("one time group" in text) == (len(maps.groups) == 1)
        dropped = text.partition("no pairwise maps of ")[2]
        assert {x.name for x in NETWORK if x.name in dropped} == {x.name for x in NETWORK} - set(maps.pairwise_layers())
    assert found[0] == (11, True, "heads", 3, 3)
    assert found == sorted(found, key=lambda f: ({"heads": 0, "mean": 1, None: 2}[f[2]], -f[3], -f[4], not f[1], -f[0]))
    assert len(set(found)) >= 6
    assert found[-1][4] == 0


def test_memory_does_not_grow_with_steps() -> None:
    few, many = record(steps=8), record(steps=32)
    pairs = [sum(m.pairwise(x.name).nbytes for x in NETWORK) for m in (few, many)]
    assert pairs[0] == pairs[1]
    assert many.nbytes > few.nbytes
    assert record(budget=few.nbytes, steps=32).nbytes <= few.nbytes


def test_what_a_call_had_shared_of_the_budget_does_not_change_later_steps() -> None:
    """The first step, reduced before the plan is known, is kept like every other one."""
    budget = int(fine().nbytes * 0.25)
    whole_run = record(budget=budget)
    assert whole_run.pairwise_heads == "mean"
    only = record(budget=budget, seen=range(1))
    assert only.recorded == (0,)
    expected = per_step().pairwise("up")[:, :1].mean(2, keepdim=True)
    torch.testing.assert_close(only.pairwise("up")[:, :1], expected, rtol=1e-5, atol=1e-7)


def test_what_will_not_fit_is_not_even_held_in_the_first_step() -> None:
    """Four layers whose pairs take 50 MB by head and 12.6 MB by mean, under a budget for the mean of two of them."""
    layout = Layout.of(TokenGrid(32, 32))
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(1, 4, 768, 8, generator=generator), torch.randn(1, 4, 1024, 8, generator=generator)
    block = 768 * 1024 * 4
    budget, chunk = int(2.5 * block), block // 8
    meter = PeakMemory(torch.device("cpu"))
    with meter.watch():
        recorder = Recorder(layout, steps=2, pairwise="heads", groups=2, budget=budget, chunk_bytes=chunk)
        for step in range(2):
            for layer in "abcd":
                recorder.observe(layer, (32, 24), step, "cond", q, k, None, scale=1.0)
            recorder.end_step(step)
        maps = recorder.finish()
    assert maps.pairwise_heads == "mean"
    assert maps.pairwise_layers() == ("c", "d")
    assert maps.nbytes <= budget
    assert maps.nbytes < meter.bytes <= 2 * budget + 2 * chunk


LATE = Layout((Reference(TokenGrid(4, 4), 0, "style", 1), Reference(TokenGrid(4, 4), 0, "composition", 2)))


def begun_late(start: int, **options: object) -> AttributionMaps:
    """Two adapters in layers of their own, of which the second begins at a later step."""
    generator = torch.Generator().manual_seed(0)
    recorder = Recorder(LATE, steps=10, groups=1, **options)  # type: ignore[arg-type]
    for step in range(10):
        for name, side, softmax, first in (("output.3", 6, 1, 0), ("input.8", 12, 2, start)):
            if step >= first:
                q = torch.randn(1, 2, side * side, 4, generator=generator)
                k = torch.randn(1, 2, 16, 4, generator=generator)
                recorder.observe(name, (side, side), step, "cond", q, k, None, scale=0.5, softmax=softmax)
        recorder.end_step(step)
    return recorder.finish()


@pytest.mark.parametrize("pairwise", ["mean", "heads"])
def test_a_layer_that_begins_late_is_kept_like_the_others_while_there_is_room(pairwise: str) -> None:
    late = begun_late(3, pairwise=pairwise)
    assert late.notes == ()
    assert late.pairwise_layers(reference=1) == ("input.8",)
    rows = late.pairwise("input.8", reference=1)
    torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:-1]), rtol=1e-5, atol=1e-6)
    early = begun_late(10, pairwise=pairwise)
    short = begun_late(3, pairwise=pairwise, budget=early.nbytes + 1000)
    assert any("no pairwise maps of input.8, first seen in a later step" in note for note in short.notes)
    assert any("with input.8, first seen in a later step, the maps take" in note for note in short.notes)
    assert (short.pairwise_layers(reference=0), short.pairwise_layers(reference=1)) == (("output.3",), ())


def test_ranges_that_were_partly_seen_hold_the_mean_of_what_was() -> None:
    maps = record(budget=int(fine().nbytes * 0.4), seen=range(5, 9))
    assert maps.recorded == (5, 6, 7, 8)
    assert len(maps.bins) < 11
    every = fine().marginal("g2r", "up")
    for i, (a, b) in enumerate(maps.bins):
        seen = [s for s in range(a, b) if 5 <= s < 9]
        kept = maps.marginal("g2r", "up")[:, i]
        if seen:
            torch.testing.assert_close(kept, every[:, seen].mean((1, 2))[:, None], rtol=1e-5, atol=1e-7)
        else:
            assert not kept.any()


def test_peaks_are_the_largest_of_the_groups_steps() -> None:
    value, index = (fine().grouped(k, "up", "cond", 0) for k in ("peak_value", "peak_index"))
    pairs = per_step().pairwise("up", "cond", 0)[..., 1:]
    for g, (a, b) in enumerate(fine().groups):
        largest = pairs[:, a:b].amax((1, -1))
        torch.testing.assert_close(value[:, g], largest, rtol=1e-5, atol=1e-7)
        at = pairs[:, a:b].amax(1).gather(-1, index[:, g, ..., None].long())[..., 0]
        torch.testing.assert_close(at, largest, rtol=1e-5, atol=1e-7)


def test_peaks_without_heads_are_those_of_the_highest_head() -> None:
    maps = record(budget=int(fine().nbytes * 0.25))
    assert maps.groups == fine().groups
    value, index = (maps.grouped(k, "up", "cond", 0) for k in ("peak_value", "peak_index"))
    assert value.shape[2] == 1
    values, indices = (fine().grouped(k, "up", "cond", 0) for k in ("peak_value", "peak_index"))
    best = values.argmax(2, keepdim=True)
    assert len(best.unique()) == 3
    torch.testing.assert_close(value, values.gather(2, best))
    assert torch.equal(index, indices.gather(2, best))


def test_steps_out_of_order_or_twice_are_refused() -> None:
    recorder = Recorder(LAYOUT, steps=2)
    layer = replace(NETWORK[0])
    for _ in range(2):
        recorder.observe(layer.name, layer.grid, 0, "cond", *(t[:1] for t in call(0, "cond", layer)), scale=0.5)
        if not recorder._seen:
            recorder.end_step(0)
    with pytest.raises(RecordingError, match="ended twice"):
        recorder.end_step(0)


def test_a_layer_that_was_not_there_in_every_step_is_left_out_with_a_note() -> None:
    recorder = Recorder(LAYOUT, steps=2)
    for step, layers in enumerate([NETWORK, NETWORK[:2]]):
        for layer in layers:
            recorder.observe(layer.name, layer.grid, step, "cond", *(t[:1] for t in call(0, "cond", layer)), scale=0.5)
        recorder.end_step(step)
    maps = recorder.finish()
    assert [x.name for x in maps.layers] == [x.name for x in NETWORK[:2]]
    assert {key[1] for key in maps._tensors} == {x.name for x in NETWORK[:2]}
    assert [n for n in maps.notes if "not computed in all steps" in n and n.endswith(": up")]


def test_a_branch_that_was_not_there_in_every_step_is_left_out_with_a_note() -> None:
    recorder, layer = Recorder(LAYOUT, steps=2, branches=("uncond", "cond")), NETWORK[0]
    for step, branches in enumerate([("uncond", "cond"), ("cond",)]):
        for branch in branches:
            recorder.observe(layer.name, layer.grid, step, branch, *(t[:1] for t in call(0, branch, layer)), scale=0.5)
        recorder.end_step(step)
    maps = recorder.finish()
    assert (maps.branches, maps.null_branches, maps.recorded) == (("cond",), (), (0, 1))
    assert {key[2] for key in maps._tensors} == {"cond"}
    assert [n for n in maps.notes if "'uncond' was left out: it was evaluated in 1 of 2 steps" in n]


def test_a_run_of_which_nothing_is_complete_is_refused() -> None:
    recorder = Recorder(LAYOUT, steps=2)
    for step, layer in enumerate(NETWORK[:2]):
        recorder.observe(layer.name, layer.grid, step, "cond", *(t[:1] for t in call(0, "cond", layer)), scale=0.5)
        recorder.end_step(step)
    with pytest.raises(RecordingError, match=r"no layer was computed in all 2 steps.*DeepCache"):
        recorder.finish()


def test_a_finished_or_abandoned_recorder_is_not_used_again() -> None:
    layer = NETWORK[0]
    one = [t[:1] for t in call(0, "cond", layer)]
    for end in ("finish", "abandon"):
        recorder = Recorder(LAYOUT, steps=2)
        recorder.observe(layer.name, layer.grid, 0, "cond", *one, scale=0.5)
        recorder.end_step(0)
        getattr(recorder, end)()
        with pytest.raises(RecordingError, match="finished"):
            recorder.observe(layer.name, layer.grid, 1, "cond", *one, scale=0.5)
        with pytest.raises(RecordingError, match="finished"):
            recorder.finish()
