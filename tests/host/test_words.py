"""The words of a prompt from a conditioning to maps: in the graph of the edit model, and through the host's own nodes."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from host_tests.edit_graph import edit_graph, node, with_random_weights
from host_tests.maps_case import defaults, library

LEARNED = [f"learned token {i}" for i in range(1, 5)]


@pytest.fixture(scope="module")
def model(pack: ModuleType, pack_nodes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with with_random_weights(pack, pack_nodes, tmp_path_factory.mktemp("weights")) as model:
        yield model


def graph(pack_nodes: dict[str, Any], detail: str = "marginals and words", **mapped: Any) -> dict[str, Any]:
    """The edit with a map of its words."""
    plain = defaults(pack_nodes["I2AM_Map"])
    of = node("I2AM_Map", **{**plain, "maps": ["collect", 1], "side": "words", **mapped})
    return {**edit_graph(steps=2, record={"detail": detail, "queries": "a quarter"}), "map": of}


WATCH = {"latent": ("sampler", 0), "maps": ("collect", 1), "heat": ("map", 0), "mask": ("map", 1), "labels": ("map", 2)}


@torch.no_grad()
def test_the_learned_tokens_of_the_edit_model_are_words_that_add_up_to_1_with_the_pictures(
    run_graph: Any, pack_nodes: dict[str, Any], model: Any
) -> None:
    out = run_graph(graph(pack_nodes), watch=WATCH)
    heat, maps = out["heat"], out["maps"]
    assert [word.name for word in maps.words_of()] == LEARNED
    assert set(maps.word_layers) == {layer.name for layer in maps.default_layers}  # not of all that were recorded
    assert len(maps.layers) > len(maps.word_layers)
    assert list(heat.labels) == [*LEARNED, "reference 1", "reference 2", "generated"]
    torch.testing.assert_close(heat.values.sum(0), torch.ones(heat.values.shape[1:]), rtol=0, atol=2e-5)
    told = [line.rpartition(": ") for line in out["labels"].splitlines()]
    assert [name for name, _, _ in told] == list(heat.labels)
    assert sum(float(share.removesuffix(" %")) for _, _, share in told) == pytest.approx(100)
    plain = run_graph(edit_graph(recorded=False, steps=2), watch={"latent": ("sampler", 0)})
    assert torch.equal(plain["latent"]["samples"], out["latent"]["samples"])


@torch.no_grad()
def test_a_word_is_asked_for_and_a_wrong_one_names_those_that_there_are(
    run_graph: Any, pack_nodes: dict[str, Any], model: Any
) -> None:
    out = run_graph(graph(pack_nodes, word="learned token 2; learned token 1", level="TLAM", groups=2), watch=WATCH)
    assert [label.partition(" · ")[0] for label in out["heat"].labels] == ["learned token 2", "learned token 1"] * 2
    wrong = run_graph(graph(pack_nodes, word="dress"), watch=WATCH, expect_error=True)
    assert "the word 'dress' is not in the prompt; its words are: learned token 1" in str(wrong.error)
    unasked = run_graph(graph(pack_nodes, detail="marginals"), watch=WATCH, expect_error=True)
    assert "words are unavailable: no maps of words were recorded" in str(unasked.error)


@torch.no_grad()
@pytest.mark.parametrize("detail", ["marginals and words", "marginals"])
def test_look_says_and_shows_which_words_were_read_where_they_were_recorded(
    run_graph: Any, pack_nodes: dict[str, Any], model: Any, detail: str
) -> None:
    look = {**defaults(pack_nodes["I2AM_Look"]), "latent": ["sampler", 0], "recording": ["record", 1], "image": ["decode", 0]}
    edit = edit_graph(steps=2, record={"detail": detail, "queries": "a quarter"})
    out = run_graph({**edit, "look": node("I2AM_Look", **look)}, watch={"answer": ("look", 4)})
    lines = out["answer"].splitlines()
    told = [line for line in lines if line.startswith("The words of the prompt take ") and "learned token" in line]
    assert len(told) == (detail != "marginals")
    assert any(line.startswith("words: direct attention") for line in lines) == bool(told)


CHANGES = {
    "ReferenceLatent": (None, True),
    "FluxGuidance": ({"guidance": 2.0}, True),
    "ConditioningSetTimestepRange": ({"start": 0.0, "end": 1.0}, True),
    "ConditioningZeroOut": ({}, False),
    "ConditioningConcat": ({"conditioning_to": ["model", 2], "conditioning_from": ["cleared", 0]}, True),
    "ConditioningAverage": (
        {"conditioning_to": ["model", 2], "conditioning_from": ["cleared", 0], "conditioning_to_strength": 0.5}, False
    ),
    "ConditioningCombine": ({"conditioning_1": ["model", 2], "conditioning_2": ["cleared", 0]}, True),
}  # fmt: skip
"""The host's nodes behind a conditioning, and whether its words are still those of its tokens."""


@torch.no_grad()
@pytest.mark.parametrize("name", CHANGES)
def test_which_of_the_hosts_nodes_leave_the_words(run_graph: Any, pack_nodes: dict[str, Any], model: Any, name: str) -> None:
    inputs, kept = CHANGES[name]
    run = graph(pack_nodes)
    if inputs is not None:
        own = inputs if any(isinstance(value, list) for value in inputs.values()) else {"conditioning": ["model", 2], **inputs}
        run |= {"changed": node(name, **own), "cleared": node("ConditioningZeroOut", conditioning=["model", 2])}
        run["add_person"]["inputs"]["conditioning"] = ["changed", 0]
    out = run_graph(run, watch=WATCH)
    maps = out["maps"]
    assert [word.name for word in maps.words_of()] == (LEARNED if kept else [])
    said = [note for note in maps.notes if "the words of cond have no names: a node behind its text encoder" in note]
    assert bool(said) != kept
    assert out["heat"].labels[0] == ("learned token 1" if kept else "token 0")
    torch.testing.assert_close(out["heat"].values.sum(0), torch.ones(out["heat"].values.shape[1:]), rtol=0, atol=2e-5)


@torch.no_grad()
def test_steps_in_which_the_conditioning_is_not_used_are_called_that(
    run_graph: Any, pack_nodes: dict[str, Any], model: Any
) -> None:
    run = graph(pack_nodes)
    run["sampler"]["inputs"]["steps"] = 4
    run["changed"] = node("ConditioningSetTimestepRange", conditioning=["model", 2], start=0.0, end=0.5)
    run["add_person"]["inputs"]["conditioning"] = ["changed", 0]
    maps = run_graph(run, watch=WATCH)["maps"]
    assert 0 < len(maps.recorded) < 4
    (said,) = (note for note in maps.notes if "of 4 steps" in note)
    assert "the recorded conditioning is not used, because it is limited in time" in said
    assert "EasyCache" not in said


class Entry:
    """What the host makes of a conditioning before it calls a model."""

    def __init__(self, cond: torch.Tensor) -> None:
        self.cond = cond


@pytest.mark.parametrize(
    ("taken", "starts"),
    [
        (lambda own: own, [0, 1]),
        (lambda own: torch.nn.functional.pad(own, (0, 0, 3, 0)), [0, 3, 4]),
        (lambda own: torch.nn.functional.pad(own, (0, 0, 0, 3)), [0, 1, 2]),
        (lambda own: own[:, :1], None),
        (lambda own: own + 1, None),
        (lambda own: torch.cat([own, own], 1), None),
    ],
    ids=["as it is", "filled in front", "filled behind", "cut", "changed", "twice"],
)
def test_words_are_placed_where_the_models_text_proves_them(pack: ModuleType, taken: Any, starts: list[int] | None) -> None:
    words, geometry = library(pack, "hosts.comfy.words"), library(pack, "geometry.words")
    own = torch.randn(1, 2, 5)
    entry = {"cross_attn": own, "model_conds": {"c_crossattn": Entry(taken(own))}}
    entry |= words.carried_words(own, geometry.words_of(["▁red", "▁hat"]))
    found, why = words.words_in(entry)
    assert ([word.start for word in found] or None) == starts
    assert bool(why) == (starts is None)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": 2}, "another version of this pack"),
        ({"words": [{"name": "a"}]}, "another version of this pack"),
        ({"why": "it was so"}, "it was so"),
        ({"of": "other"}, "mixed, scaled or cleared"),
    ],
)
def test_words_that_cannot_be_read_say_why(pack: ModuleType, change: dict[str, Any], why: str) -> None:
    words, geometry = library(pack, "hosts.comfy.words"), library(pack, "geometry.words")
    own = torch.randn(1, 2, 5)
    carried = words.carried_words(own, geometry.words_of(["▁red", "▁hat"]))
    carried[words.KEY] |= change
    found, said = words.words_in({"cross_attn": own, "model_conds": {"c_crossattn": Entry(own)}, **carried})
    assert found == ()
    assert why in said


def test_pictures_behind_the_words_leave_them_and_pictures_among_them_do_not(pack: ModuleType) -> None:
    words, geometry = library(pack, "hosts.comfy.words"), library(pack, "geometry.words")
    own, behind = torch.randn(1, 2, 5), torch.randn(1, 4, 5)
    whole = torch.cat([own, behind], 1)
    entry = {"cross_attn": whole, "model_conds": {"c_crossattn": Entry(whole)}}
    entry |= words.carried_words(own, geometry.words_of(["▁red", "▁hat"]))
    found, why = words.words_in(entry, [SimpleNamespace(start=2)])
    assert ([word.start for word in found], why) == ([0, 1], "")
    found, why = words.words_in(entry, [SimpleNamespace(start=1)])
    assert found == ()
    assert "the tokens of a picture are marked among those of the words" in why
