"""Loops of the caller's own around a joint transformer: references in some calls only, any order of branches, early ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from joint_models import CASES, normal
from joint_pipelines import PIPES, small_references
from torch import Tensor

from i2am import share
from i2am.errors import RecordingError
from i2am.hosts.diffusers.record import record
from i2am.maps.value import AttributionMaps

CASE = CASES["FLUX.1"]
WITH, WITHOUT = CASE.inputs(), CASE.inputs(references=())
TIMES = (0.9, 0.6, 0.3)
COND, UNCOND = normal(50, 1, 5, *CASE.text), normal(51, 1, 3, *CASE.text)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def loop(steps: list[list[tuple[Tensor, bool]]], **options: Any) -> AttributionMaps:
    """The maps of a loop in which each step has calls of (text, whether there are references)."""
    model, x = CASE.model(), normal(99, 1, 15, CASE.channels)
    recording = record(model, **{"timesteps": TIMES, **options})
    with recording, torch.inference_mode():
        for time, calls in zip(TIMES, steps, strict=False):
            for text, has in calls:
                inputs = WITH if has else WITHOUT
                pictures = [normal(i, 1, rows * columns, CASE.channels) for i, (rows, columns) in enumerate(inputs.references)]
                CASE.velocity(model, inputs, x, pictures, text, torch.full((1,), time), {})
    return recording.maps


def same(a: AttributionMaps, b: AttributionMaps, branch: str = "cond", other: str = "cond") -> bool:
    names = [layer.name for layer in a.layers]
    return all(torch.equal(a.marginal("mass", n, branch), b.marginal("mass", n, other)) for n in names)


ALONE = [[(COND, True)]] * 3


@pytest.mark.parametrize("first", ["cond", "uncond"])
@pytest.mark.parametrize("told", [False, True])
def test_a_branch_without_references_may_come_first(first: str, told: bool) -> None:
    step = [(COND, True), (UNCOND, False)]
    order = step if first == "cond" else step[::-1]
    branches = ("cond", "uncond") if first == "cond" else ("uncond", "cond")
    maps = loop([order] * 3, **({"branches": branches} if told else {}))
    assert same(maps, loop(ALONE))
    assert "calls of the model without references were left out" in maps.notes
    assert maps.recorded == (0, 1, 2)
    assert not any("was taken for cond" in note for note in maps.notes)


@pytest.mark.parametrize("branches", [None, ("cond", "uncond")])
def test_a_branch_without_references_that_is_to_be_kept_is_said_to_be_one(branches: Any) -> None:
    maps = loop([[(COND, True), (UNCOND, False)]] * 3, keep=("cond", "uncond"), branches=branches)
    assert maps.branches == ("cond",)
    assert "uncond is not recorded: it was evaluated without a reference" in maps.notes
    assert same(maps, loop(ALONE))


@pytest.mark.parametrize("late", [False, True])
def test_references_in_some_steps_only(late: bool) -> None:
    steps = [[(COND, False)], [(COND, True)], [(COND, True)]]
    maps = loop(steps if late else steps[::-1])
    assert maps.recorded == ((1, 2) if late else (0, 1))
    assert "the maps are of 2 of 3 steps: in 1 others the model was given no reference" in maps.notes
    assert sum(share(maps).values.mean((1, 2)).tolist()) == pytest.approx(1, abs=1e-5)


def test_a_loop_without_any_reference_is_refused_at_its_end() -> None:
    with pytest.raises(RecordingError, match="called without a reference"):
        loop([[(COND, False)]] * 3)


def test_the_order_of_two_branches_that_is_not_told_is_an_assumption_that_is_said() -> None:
    turned = [[(UNCOND, True), (COND, True)]] * 3
    guessed, told = loop(turned), loop(turned, branches=("uncond", "cond"))
    said = [note for note in guessed.notes if "the first was taken for cond" in note]
    assert len(said) == 1
    assert re.search(r"record with branches=\('uncond', 'cond'\)", said[0])
    assert not same(guessed, loop(ALONE))
    assert same(told, loop(ALONE))
    assert not any("taken for cond" in note for note in (*told.notes, *loop(ALONE).notes))


def test_a_loop_with_fewer_steps_than_it_says() -> None:
    maps = loop(ALONE[:1])
    assert any(note.startswith("recorded 1 of 3 steps: the model was not called in the last 2") for note in maps.notes)
    assert not any("not called" in note for note in loop(ALONE).notes)


def test_an_interrupted_pipeline_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    small_references(monkeypatch)
    pipe = PIPES["Flux2KleinPipeline"]
    pipeline = pipe.build()

    def interrupt(running: Any, step: int, _time: Any, kept: dict[str, Any]) -> dict[str, Any]:
        running._interrupt = True
        return kept

    recording = record(pipeline)
    with recording:
        pipe.run(pipeline, num_inference_steps=3, callback_on_step_end=interrupt)
    assert recording.maps.recorded == (0,)
    assert any(note.startswith("recorded 1 of 3 steps") and "interrupted" in note for note in recording.maps.notes)


def test_a_network_that_peft_wraps_is_recorded() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False)
    wrapped = peft.get_peft_model(CASE.model(), config)
    plain = CASE.run(wrapped, WITH)
    recording = record(wrapped, steps=2)
    with recording:
        assert torch.equal(CASE.run(wrapped, WITH), plain)
    assert recording.maps.recorded == (0, 1)
    assert [layer.name for layer in recording.maps.layers] == list(CASE.layers)


def test_a_network_in_a_plain_wrapper_is_pointed_at() -> None:
    wrapper = torch.nn.ModuleDict({"inner": CASE.model()})
    with pytest.raises(RecordingError, match="got ModuleDict, which holds a FluxTransformer2DModel as 'inner': record that"):
        record(wrapper)
