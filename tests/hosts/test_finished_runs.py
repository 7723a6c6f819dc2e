"""Runs that are kept by the content of what made them: what counts as the same, and what is forgotten when."""

from __future__ import annotations

import gc
import uuid
from typing import Any

import pytest
import torch

from i2am.hosts.comfy.content import Content, is_alive
from i2am.hosts.comfy.finished import Finished, FinishedRuns


class Thing:
    """Something that other packs put into a conditioning."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def method(self) -> None:
        """Made anew each time it is asked for."""


def name_of(value: Any) -> str:
    return Content().add(value).finish()[0]


THING = Thing()
CONDITIONING = [
    {"cross_attn": torch.arange(6.0).view(2, 3), "reference_latents": [torch.ones(1)], "strength": 1.0, "area": None}
]


def test_equal_content_has_one_name() -> None:
    again = [dict(reversed(CONDITIONING[0].items()))]
    again[0]["cross_attn"] = again[0]["cross_attn"].clone()
    assert name_of(CONDITIONING) == name_of(again)
    assert name_of({"uuid": uuid.uuid4()}) == name_of({"uuid": uuid.uuid4()})
    assert name_of([THING, THING.method]) == name_of([THING, THING.method])
    assert Content().add_object(Thing(seed=3)).finish()[0] == Content().add_object(Thing(seed=3)).finish()[0]


@pytest.mark.parametrize(
    "other",
    [
        [{**CONDITIONING[0], "strength": 0.5}],
        [{**CONDITIONING[0], "cross_attn": torch.arange(6.0).view(3, 2)}],
        [{**CONDITIONING[0], "cross_attn": torch.arange(6).view(2, 3)}],
        [{**CONDITIONING[0], "cross_attn": torch.arange(6.0).view(2, 3) + 1e-6}],
        [{**CONDITIONING[0], "reference_latents": [torch.ones(1), torch.ones(1)]}],
        [{**CONDITIONING[0], "hook": THING}],
        [*CONDITIONING, {}],
        [CONDITIONING],
    ],
)
def test_other_content_has_another_name(other: Any) -> None:
    assert name_of(other) != name_of(CONDITIONING)


def test_texts_cannot_run_into_each_other() -> None:
    assert name_of(["ab", "c"]) != name_of(["a", "bc"])
    assert name_of([1]) != name_of(["1"])
    assert name_of([True]) != name_of([1])


def run(value: float = 0.0) -> Finished:
    return Finished(torch.full((1, 4, 8, 8), value))


def test_a_run_is_kept_as_long_as_its_model_lives() -> None:
    runs, owner, model = FinishedRuns(), Thing(), Thing()
    runs.keep_while(owner)
    name, alive = Content().add([model, 1]).finish()
    runs.put(name, alive, run(3.0))
    found = runs.find(name)
    assert found is not None
    assert float(found.latent.mean()) == 3
    del model
    gc.collect()
    assert not is_alive(alive)
    assert runs.find(name) is None


def test_everything_is_dropped_with_the_last_node() -> None:
    runs, owners = FinishedRuns(), [Thing(), Thing()]
    for owner in owners:
        runs.keep_while(owner)
    del owner
    runs.put("a", (), run())
    owners.pop()
    gc.collect()
    assert runs.find("a") is not None
    owners.pop()
    gc.collect()
    assert runs.find("a") is None


def test_the_least_used_go_first_and_the_newest_stays() -> None:
    owner, runs = Thing(), FinishedRuns(limit=2 * run().nbytes)
    runs.keep_while(owner)
    for name in ("a", "b"):
        runs.put(name, (), run())
    assert runs.find("a") is not None
    runs.put("c", (), run())
    assert [name for name in "abc" if runs.find(name)] == ["a", "c"]
    runs.put("large", (), Finished(torch.zeros(1, 4, 64, 64)))
    assert [name for name in ("a", "c", "large") if runs.find(name)] == ["large"]
