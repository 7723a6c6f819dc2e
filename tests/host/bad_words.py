"""What goes wrong with the words of a prompt, see `bad_inputs`."""

from __future__ import annotations

from typing import Any

from host_tests import tiny
from host_tests.bad_case import Case, Said
from host_tests.graph_bench import Bench, Prompt


def _mapped(bench: Bench, graph: Prompt | None = None, **inputs: Any) -> Prompt:
    """A map of the words of the edit model, whose text are four learned tokens."""
    graph = graph or bench.edit(record={"detail": "marginals and words"})
    return bench.behind(graph, "I2AM_Map", **{"maps": ["collect", 1], "side": "words", **inputs})


def _before(bench: Bench, name: str, word: str = "", **inputs: Any) -> Prompt:
    """The same where a node of the host stands behind the text."""
    graph = bench.edit(record={"detail": "marginals and words"})
    graph["changed"] = {"class_type": name, "inputs": inputs}
    graph["add_person"]["inputs"]["conditioning"] = ["changed", 0]
    return _mapped(bench, graph, word=word)


TEXT = ["model", 2]
WORDS: dict[str, Case] = {
    "a word that the prompt has not": Case(
        "asked for the map of a word that the prompt does not have",
        "I2AM_Map", r"the word 'dress' is not in the prompt; its words are: learned token 1.*are given with ';' between them",
        lambda b: _mapped(b, word="learned token 1; dress"),
    ),
    "a word of a text that was put behind another": Case(
        "asked for a word of the second prompt behind Conditioning Concat",
        "I2AM_Map", r"the word 'dress' is not in the prompt.*; 4 further tokens that a node put behind them .*have no names",
        lambda b: _before(b, "ConditioningConcat", word="dress", conditioning_to=TEXT, conditioning_from=TEXT),
    ),
    "a word where none has a name": Case(
        "asked for a word where Conditioning Zero Out stands behind the text",
        "I2AM_Map", r"the word 'dress' cannot be looked for, because the words have no names: a node behind its text encoder",
        lambda b: _before(b, "ConditioningZeroOut", word="dress", conditioning=TEXT),
    ),
    "words without a name": Case(
        "asked for the maps of words, and gave a separator alone",
        "I2AM_Map", r"word is '; ;', which names none; give a word of the prompt, or nothing for all",
        lambda b: _mapped(b, word="; ;"),
    ),
    "words that were not asked for": Case(
        "asked for the maps of words, where Record's detail was pairwise",
        "I2AM_Map", r"words are unavailable: no maps of words were recorded: they are kept where they are asked for \(detail",
        lambda b: _mapped(b, b.edit()),
    ),
    "words of a U-Net": Case(
        "asked for the maps of words of a U-Net",
        "I2AM_Map", r"words are unavailable: no maps of words were recorded.*of models with joint attention",
        lambda b: b.alone("I2AM_Map", side="words"),
    ),
    "words by layer": Case(
        "asked for the maps of words by layer",
        "I2AM_Map", r"words exist as ULAM and TLAM, got LLAM: they are kept as their mean over layers and heads",
        lambda b: _mapped(b, level="LLAM"),
    ),
    "words of one head": Case(
        "asked for the maps of words of one head",
        "I2AM_Map", r"words is kept as its mean over heads.*leave out the choice of heads",
        lambda b: _mapped(b, heads="1"),
    ),
    "words of one layer": Case(
        "asked for the maps of words of one of the layers that they are the mean over",
        "I2AM_Map", r"maps of words are kept as their mean over .*leave the choice of layers out, or record those layers alone",
        lambda b: _mapped(b, layers="double.0"),
    ),
    "words of the other branch": Case(
        "asked for the maps of words of branch uncond, where only cond was recorded",
        "I2AM_Map", r"branch 'uncond' was not recorded; recorded: cond",
        lambda b: _mapped(b, branch="uncond"),
    ),
    "no text encoder": Case(
        "connected the CLIP of a checkpoint that holds no text encoder to Watch Text",
        "I2AM_WatchText", r"this CLIP is None: the checkpoint holds no text encoder; load one with CLIPLoader or Dual",
        lambda b: {"node": {"class_type": "I2AM_WatchText", "inputs": {"clip": b.link(None)}}},
    ),
    "a MODEL at Watch Text": Case(
        "connected a MODEL to Watch Text, by way of a node that lets anything pass",
        "I2AM_WatchText", r"clip got a ModelPatcher without tokenize, which is no CLIP of ComfyUI; connect the CLIP of a",
        lambda b: {"node": {"class_type": "I2AM_WatchText", "inputs": {"clip": b.link(tiny.model())}}},
    ),
}  # fmt: skip
NO_NAMES: dict[str, Said] = {
    "words of a text that was cleared": Said(
        "put Conditioning Zero Out behind a text whose words are known",
        "I2AM_Map", 0, r"the words of cond have no names: a node behind its text encoder mixed, scaled or cleared its",
        lambda b: _before(b, "ConditioningZeroOut", conditioning=TEXT),
    ),
    "words of two texts mixed": Said(
        "put Conditioning Average behind a text whose words are known",
        "I2AM_Map", 0, r"the words of cond have no names: a node behind its text encoder mixed, scaled or cleared its",
        lambda b: _before(
            b, "ConditioningAverage", conditioning_to=TEXT, conditioning_from=["model", 3], conditioning_to_strength=0.3
        ),
    ),
    "words asked of a U-Net": Said(
        "recorded a U-Net with detail 'marginals and words'",
        "I2AM_Map", 0, r"no maps of words were recorded: they are kept where they are asked for",
        lambda b: b.behind(b.sampled({"detail": "marginals and words"}), "I2AM_Map", maps=["collect", 1], side="R2G"),
    ),
}  # fmt: skip
