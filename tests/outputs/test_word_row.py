"""The maps of the words that were read most: on the sheet of maps with words, and nothing anew on any other."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from edit_run import SHAPES, edit_run
from PIL import Image

from i2am.answers.words_read import MOST, percent, shown, words_read
from i2am.geometry.words import words_of
from i2am.levels.choice import EVERYTHING, Choice
from i2am.levels.read_words import read_words
from i2am.levels.word_maps import word_shares
from i2am.maps.value import AttributionMaps
from i2am.outputs import joint_look as joint_look_module
from i2am.outputs import word_row as module
from i2am.outputs.first_look import first_look
from i2am.outputs.word_row import HEAD, word_row
from i2am.pictures.matching import pictures_of

answer_module = sys.modules["i2am.answers.answer"]  # the package has its function by the same name
PICTURE = Image.new("RGB", (192, 256), (120, 140, 160))
PROMPT = words_of(["▁put", "▁dress", "▁on", "▁her"])


@pytest.fixture(scope="module")
def maps() -> AttributionMaps:
    return edit_run(SHAPES[:2], images=2, steps=2, word_maps=True).with_words({"cond": PROMPT})


def test_each_word_that_the_answer_names_has_its_map_and_figures(
    maps: AttributionMaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    heats: list[Any] = []
    labels: list[str] = []
    real, row = module.drawn, module.in_a_row
    monkeypatch.setattr(module, "drawn", lambda *given: (heats.append(given[1]), real(*given))[1])
    monkeypatch.setattr(
        module, "in_a_row", lambda items, *given, **how: (labels.extend(x for _, x in items), row(items, *given, **how))[1]
    )
    choice = Choice(image=1)
    assert word_row(maps, PICTURE, choice) is not None
    said = words_read(maps, choice)
    assert said is not None
    names = [heat.labels[0] for heat in heats]
    assert 1 <= len(names) <= MOST
    for name, heat, label in zip(names, heats, labels, strict=True):
        whole = word_shares(maps, choice, word=name)
        torch.testing.assert_close(heat.values, whole.values)
        low, high = (percent(float(x)) for x in whole.values.aminmax())
        share = percent(said.figures[name])
        assert label == f'"{name}": {share}\nfrom {low} to {high} of a patch\'s attention'
        assert f'"{name}" ({share}' in said.text


def test_those_that_stand_out_are_shown_or_else_the_most_read_one(maps: AttributionMaps) -> None:
    read = read_words(maps)
    words = tuple(replace(word, over_even=1.0) for word in read.found)
    assert [word.name for word in shown(replace(read, found=words))] == [read.found[0].name]
    ahead = tuple(replace(word, over_even=2.0) for word in words * 3)
    assert len(shown(replace(read, found=ahead))) == MOST
    assert shown(replace(read, found=())) == ()


def test_the_sheet_and_the_answer_show_them(maps: AttributionMaps, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[str] = []
    column = joint_look_module.in_a_column
    monkeypatch.setattr(
        joint_look_module, "in_a_column", lambda *given: (heads.extend(given[2:][0] if given[2:] else ()), column(*given))[1]
    )
    look = first_look(maps, pictures_of([PICTURE] * 2, "picture"))
    assert heads.count(HEAD) == 2
    assert "The words of the prompt take" in look.text
    assert look.sheets[0].size == look.sheets[1].size


@pytest.mark.parametrize("words", [{}, {"cond": PROMPT}], ids=["plain", "names without maps"])
def test_maps_without_words_have_the_sheet_and_answer_that_they_had(
    words: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = edit_run(SHAPES[:2], steps=2).with_words(words)
    assert word_row(plain, PICTURE, EVERYTHING) is None
    look = first_look(plain, [PICTURE])
    assert "words: " not in look.text
    monkeypatch.setattr(joint_look_module, "word_row", lambda *_: None)
    monkeypatch.setattr(answer_module, "words_read", lambda *_: None)
    before = first_look(plain, [PICTURE])
    assert look.text == before.text
    assert look.sheets[0].tobytes() == before.sheets[0].tobytes()


def test_words_without_names_have_no_map_and_the_answer_says_what_to_do(maps: AttributionMaps) -> None:
    nameless = maps.with_words({})
    assert word_row(nameless, PICTURE, EVERYTHING) is None
    assert (
        "Nothing can be said of which words were read: words are unavailable: the words have no names"
        in first_look(nameless, [PICTURE] * 2).text
    )
