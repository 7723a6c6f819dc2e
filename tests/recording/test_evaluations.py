"""Several evaluations in a step: the last whole one counts, whatever a discarded one had computed before it stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from joint_run import flux_like

from i2am.hosts.attention import Attention
from i2am.maps.facts import TOGETHER
from i2am.maps.value import AttributionMaps
from i2am.recording.evaluations import Evaluations
from i2am.recording.recorder import Recorder

SEQUENCE = flux_like(7)
LAYERS = ("a", "b", "c")
WHOLE = "abc"
PLENTY = 10**12


def maps_of(evaluations: Sequence[str], budget: int, told: bool = True) -> AttributionMaps:
    """A run of one step: the layers that each evaluation computes, by name; all that lack one are discarded.

    ``told``: whether the host also says when a whole evaluation is over.
    """
    recorder = Recorder(None, steps=1, budget=budget, stride=1, cells=0)
    for number, layers in enumerate(evaluations):
        last = number == len(evaluations) - 1
        for layer in layers:
            random = torch.Generator().manual_seed(LAYERS.index(layer) + (0 if last else 100 + number))
            q = torch.randn(1, 2, SEQUENCE.keys, 4, generator=random)
            Attention.joint(layer, SEQUENCE, "cond", q, q, None, scale=1.0).record(recorder, 0)
        if layers != WHOLE:
            recorder.discard({"cond"})
        elif told:
            recorder.end_evaluation({"cond"})
    recorder.end_step(0)
    return recorder.finish()


def room() -> int:
    """Bytes of the pairs of all layers, and of nothing else."""
    return sum(t.nbytes for key, t in maps_of([WHOLE], PLENTY)._tensors.items() if key[0] == "pairwise")


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("skipping", ["c", "bc", "ab", "ac", "a", "b", ""])
@pytest.mark.parametrize("before", [[WHOLE], [WHOLE, WHOLE], []])
def test_a_discarded_evaluation_leaves_no_trace(skipping: str, before: list[str], told: bool) -> None:
    """In pairs of all layers together too, and not in the count."""
    alone, seen = maps_of([WHOLE], room()), maps_of([*before, skipping, WHOLE], room(), told)
    assert [x.name for x in alone.pair_layers()] == [TOGETHER]
    for reference in range(2):
        torch.testing.assert_close(
            seen.pairwise(TOGETHER, reference=reference), alone.pairwise(TOGETHER, reference=reference), rtol=0, atol=0
        )
        assert torch.equal(seen.marginal("mass", "a", reference=reference), alone.marginal("mass", "a", reference=reference))
    if told or skipping:  # one that computes nothing cannot be seen, unless the host says when those before it are over
        assert seen.run.evaluations == (len(before) + 1,)


def test_without_a_word_of_the_host_a_layers_next_call_begins_an_evaluation() -> None:
    alone, seen = maps_of([WHOLE], room()), maps_of([WHOLE, WHOLE, WHOLE], room(), told=False)
    assert torch.equal(seen.pairwise(TOGETHER), alone.pairwise(TOGETHER))
    assert seen.run.evaluations == (3,)


def test_evaluations_are_counted_by_step_and_branch() -> None:
    counted = Evaluations()
    for step, branch, layer in ((0, "cond", "a"), (0, "cond", "b"), (0, "uncond", "a"), (0, "cond", "a"), (1, "cond", "a")):
        counted.take(step, branch, layer, 0)
    assert [counted.of(step) for step in range(3)] == [2, 1, 0]
    counted.discard({"cond", "uncond"})
    assert [counted.of(step) for step in range(2)] == [2, 0]
    counted.discard({"cond"})  # none is under way
    assert counted.of(0) == 2


@pytest.mark.parametrize("stop", [lambda c: c.end({"cond"}), lambda c: c.discard({"cond"})])
def test_calls_of_two_softmaxes_are_one_evaluation(stop: Callable[[Evaluations], None]) -> None:
    counted = Evaluations()
    assert counted.take(0, "cond", "a", 0)
    assert not counted.take(0, "cond", "a", 1)
    assert counted.has("cond", "a", 1)
    stop(counted)
    assert not counted.has("cond", "a", 1)
    assert counted.take(0, "cond", "b", 0)
