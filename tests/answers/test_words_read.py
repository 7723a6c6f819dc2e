"""Which words of the prompt were read most, and where: of maps with words alone, and never of words that mean little."""

from __future__ import annotations

from collections.abc import Sequence as Items

import pytest
import torch
from joint_run import JointRun, flux_like
from PIL import Image

from i2am.answers.answer import answer
from i2am.answers.thresholds import GATHERED, STANDS_OUT
from i2am.answers.words_read import words_read
from i2am.errors import UnavailableError
from i2am.geometry.layout import TokenGrid
from i2am.geometry.sequence import Sequence, generated, reference, text
from i2am.geometry.words import Word, words_of
from i2am.hosts.attention import Attention
from i2am.levels.word_maps import told_words, word_shares
from i2am.maps.value import AttributionMaps
from i2am.recording.recorder import Recorder

TOKENS = ["<s>", "▁the", "▁red", "▁dr", "ess", ",", "▁hat", "</s>"]
PICTURE, SHIRT = TokenGrid(9, 9), TokenGrid(6, 6, picture=(96, 96))
SEQUENCE = Sequence.of(text(len(TOKENS)), generated(PICTURE), reference(SHIRT, "shirt"))
EVERYWHERE = torch.ones(9, 9)
CORNER = torch.zeros(9, 9)
CORNER[:3, 6:] = 1


def recorded(
    more: dict[int, tuple[float, torch.Tensor]], *, tokens: Items[str] = TOKENS, words: bool = True
) -> AttributionMaps:
    """A run whose patches add to the logits of text tokens, by token: how much, where the picture's (9, 9) is 1."""
    q, k = torch.zeros(1, 1, SEQUENCE.keys, 80), torch.zeros(1, 1, SEQUENCE.keys, 80)
    for i, (token, (by, at)) in enumerate(more.items()):
        q[:, :, len(TOKENS) : len(TOKENS) + PICTURE.placed, i] = at.flatten()
        k[:, :, token, i] = by
    recorder = Recorder(None, steps=1, stride=1, cells=0, word_maps=words, generated_size=(72, 72))
    Attention.joint("only", SEQUENCE, "cond", q, k, None, scale=1.0).record(recorder, 0)
    recorder.end_step(0)
    return recorder.finish().with_words({"cond": words_of(tokens)} if tokens else {})


def test_the_word_that_was_read_most_is_named_with_its_share_and_place() -> None:
    maps = recorded({3: (3.0, CORNER), 4: (3.0, CORNER)})
    found = words_read(maps)
    assert found is not None
    (share,) = (line.removeprefix("dress: ").removesuffix(" %") for line in told_words(word_shares(maps, word="dress")))
    assert found.figures["dress"] == pytest.approx(float(share) / 100, rel=0.01)
    assert f'Of them stands out: "dress" ({found.figures["dress"]:.1%}' in found.text
    assert "× an even share, most in the upper right of the picture)." in found.text
    assert '"hat"' not in found.text
    assert (found.topic, found.verdict) == ("words", "named")
    assert f"stands out from {STANDS_OUT:g} × on" in found.rule
    assert f"named from {GATHERED:g} × the word's mean on" in found.rule
    assert "What a word changed, the maps do not say" in found.rule


def test_a_word_that_is_read_everywhere_has_no_place() -> None:
    found = words_read(recorded({6: (2.0, EVERYWHERE)}))
    assert found is not None
    assert found.text.endswith("× an even share, all over the picture).")


@pytest.mark.parametrize("token", [0, 1, 5, 7], ids=["first token", "the", "comma", "end of text"])
def test_special_tokens_function_words_and_punctuation_are_never_named(token: int) -> None:
    found = words_read(recorded({token: (4.0, CORNER), 6: (3.0, CORNER)}))
    assert found is not None
    assert TOKENS[token].removeprefix("▁") not in {text.partition('"')[0] for text in found.text.split(' "')[1:]}
    assert '"hat" (' in found.text
    assert found.verdict in ("named", "even")


def test_a_word_that_is_a_sink_is_told_as_one_and_does_not_hide_the_others() -> None:
    found = words_read(recorded({2: (5.0, EVERYWHERE), 6: (2.0, CORNER)}))
    assert found is not None
    assert 'Of them stands out: "hat" (' in found.text
    assert f'. "red" ({100 * found.figures["red"]:.2g}%): a sink, which says little.' in found.text
    alone = words_read(recorded({1: (5.0, EVERYWHERE)}, tokens=["<s>", "▁the"]))
    assert alone is not None
    assert alone.verdict == "none"
    assert "None of them stands out that is no sink, punctuation or function word." in alone.text


def test_one_place_of_a_word_that_is_a_sink_does_not_hide_its_other_places() -> None:
    tokens = ["<s>", "▁red", "▁hat", "▁Red", "▁shoe", "▁sock", "</s>"]
    found = words_read(recorded({1: (5.0, EVERYWHERE), 3: (3.0, CORNER)}, tokens=tokens))
    assert found is not None
    assert 'stands out: "Red" (' in found.text
    assert '"red" (' in found.text
    assert "a sink, which says little" in found.text
    assert {"red", "Red"} <= set(found.figures)


def test_where_all_get_the_same_no_word_is_said_to_stand_out() -> None:
    found = words_read(recorded({}))
    assert found is not None
    assert found.verdict == "even"
    assert "Of those that are no sink, punctuation or function word, none stands out; most goes to" in found.text


def test_the_places_of_a_word_that_stands_twice_are_one() -> None:
    twice = ["<s>", "▁red", "▁hat", "▁Red", "▁shoe", "▁and", "▁sock", "</s>"]
    maps = recorded({1: (2.0, CORNER), 3: (2.0, CORNER)}, tokens=twice)
    found = words_read(maps)
    assert found is not None
    assert found.figures["red"] == pytest.approx(float(word_shares(maps, word="red").values.mean()))
    assert "Red" not in found.figures


def test_a_single_word_is_compared_with_none() -> None:
    found = words_read(recorded({2: (2.0, CORNER)}, tokens=["<s>", "</s>", "▁red"]))
    assert found is not None
    assert found.verdict == "one"
    assert "an even share," not in found.text


@pytest.mark.parametrize(
    "maps", [recorded({}, words=False), recorded({}, tokens=["<s>", "</s>"])], ids=["no maps", "no prompt"]
)
def test_nothing_is_said_without_maps_of_words_or_without_a_prompt(maps: AttributionMaps) -> None:
    assert words_read(maps) is None
    found = answer(maps, Image.new("RGB", (72, 72), "grey"), [None])
    assert "words" not in {one.topic for one in found.said}
    assert "which words were read" not in found.text()


def test_words_without_names_are_not_put_into_words() -> None:
    maps = recorded({}, tokens=())
    with pytest.raises(UnavailableError, match="the words have no names: put I²AM Watch Text"):
        words_read(maps)
    found = answer(maps, Image.new("RGB", (72, 72), "grey"), [None])
    assert any(line.startswith("Nothing can be said of which words were read: ") for line in found.missing)


def test_it_is_part_of_the_answer() -> None:
    maps = JointRun({"cond": flux_like(8)}, images=1).record(word_maps=True).with_words({"cond": words_of(TOKENS)})
    found = answer(maps, Image.new("RGB", (64, 96), "grey"), [None, None])
    (said,) = (one for one in found.said if one.topic == "words")
    assert said.text in found.sentences
    assert any(rule.startswith("words: direct attention") for rule in found.rules)
    seen = (Word("<s>", 0, 1, "special"), Word("reference 1, by the encoder's eyes", 1, 6, "vision", (2, 3)), Word("hat", 7))
    told = words_read(maps.with_words({"cond": seen}))
    assert told is not None
    assert list(told.figures) == ["hat"]
