"""Maps of words: with references and the rest they add up to 1; by hand; asked for by word; and where there are none."""

from __future__ import annotations

from typing import Any

import pytest
import statement
import torch
from filled_maps import example
from joint_run import JointRun, flux_like

from i2am.errors import UnavailableError
from i2am.geometry.words import Word, eyes, words_of
from i2am.levels.choice import Choice
from i2am.levels.marginal import level_of, ulam
from i2am.levels.share import mean_shares, share
from i2am.levels.word_maps import FEW, MOST, told_words, word_shares
from i2am.levels.words import words
from i2am.maps.value import AttributionMaps

PROMPT = words_of(["<s>", "▁red", "▁dr", "ess", "▁and", "▁red", "▁hat", "</s>", "<pad>", "<pad>"])
PARTS = ("red", "dress", "and", "red (2)", "hat", "special tokens", "fill", "shirt", "shoes", "generated")


def run_of(tokens: int = 10, **options: Any) -> tuple[JointRun, AttributionMaps]:
    run = JointRun({"cond": flux_like(tokens)})
    return run, run.record(**{"word_maps": True, **options})


@pytest.mark.parametrize("stride", [1, 2])
def test_words_references_and_the_rest_add_up_to_1_at_every_patch(stride: int) -> None:
    _, maps = run_of(stride=stride)
    heat = word_shares(maps.with_words({"cond": PROMPT}))
    assert heat.labels == PARTS
    assert heat.parts == len(PARTS)
    torch.testing.assert_close(heat.values.sum(0), torch.ones(heat.values.shape[1:]))
    whole, of_words = mean_shares(share(maps)), mean_shares(heat)
    assert sum(of_words[name] for name in PARTS[:-3]) == pytest.approx(whole["text"], rel=1e-5)
    assert [of_words[name] for name in PARTS[-3:]] == pytest.approx([whole[name] for name in PARTS[-3:]], rel=1e-5)


def test_a_words_map_is_the_sum_over_its_tokens_by_hand() -> None:
    run, maps = run_of()
    heat = word_shares(maps.with_words({"cond": PROMPT}), Choice(image=1))
    every = [run.attention(name, "cond", step) for name in run.layers for step in range(2)]
    a = torch.stack([statement.real_attention(logits) for logits in every]).mean((0, 2))[1]  # (N, S): text first
    torch.testing.assert_close(heat.values[1].flatten().double(), a[:, 2:4].sum(-1), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(heat.values[7].flatten().double(), a[:, 34:54].sum(-1), rtol=1e-5, atol=1e-7)


def test_over_time_each_group_adds_up_to_1() -> None:
    _, maps = run_of()
    heat = level_of(maps.with_words({"cond": PROMPT}), "TLAM", "words", groups=2)
    assert [one.labels[1] for one in heat.split()] == ["dress · step 0", "dress · step 1"]
    for one in heat.split():
        torch.testing.assert_close(one.values.sum(0), torch.ones(6, 4))
    both = word_shares(maps.with_words({"cond": PROMPT}))
    torch.testing.assert_close((heat.values[:10] + heat.values[10:]) / 2, both.values)


def test_words_that_are_asked_for_stand_alone_summed_over_their_places() -> None:
    _, maps = run_of()
    maps = maps.with_words({"cond": PROMPT})
    every = word_shares(maps)
    heat = level_of(maps, "ULAM", "words", word="RED, red dress; hat\nfill")
    assert heat.labels == ("RED", "red dress", "hat", "fill")
    assert heat.parts == 0
    torch.testing.assert_close(heat.values[0], every.values[0] + every.values[3])
    torch.testing.assert_close(heat.values[1], every.values[0] + every.values[1])
    torch.testing.assert_close(heat.values[3], every.values[6])


def test_a_reference_in_the_encoders_eyes_is_a_part_of_its_own_and_can_be_asked_for() -> None:
    _, maps = run_of()
    seen = maps.with_words({"cond": (Word("<s>", 0, 1, "special"), Word(eyes(1), 1, 6, "vision", (2, 3)), Word("hat", 7))})
    heat = word_shares(seen)
    assert heat.labels[:4] == (eyes(1), "hat", "special tokens", "further text")
    torch.testing.assert_close(heat.values.sum(0), torch.ones(6, 4))
    assert word_shares(seen, word=eyes(1)).labels == (eyes(1),)
    torch.testing.assert_close(word_shares(seen, word=eyes(1)).values[0], heat.values[0])


def test_of_many_words_those_that_take_most_have_panels_and_all_still_add_up_to_1() -> None:
    _, maps = run_of(60)
    heat = word_shares(maps.with_words({"cond": words_of([f"▁w{i}" for i in range(60)])}))
    assert heat.labels.index(FEW) == MOST
    torch.testing.assert_close(heat.values.sum(0), torch.ones(6, 4))
    shares = mean_shares(heat)
    taken = words(maps).share
    assert shares[FEW] == pytest.approx(float(taken.sort().values[: 60 - MOST].sum()), rel=1e-4)


def test_words_called_as_other_parts_are_get_names_of_their_own() -> None:
    _, maps = run_of(3)
    heat = word_shares(maps.with_words({"cond": words_of(["▁shirt", "▁generated", "▁fill"])}))
    assert heat.labels == ("shirt (2)", "generated (2)", "fill (2)", "shirt", "shoes", "generated")


def test_without_names_tokens_are_numbered_and_a_note_says_so() -> None:
    _, maps = run_of(3)
    heat = word_shares(maps)
    assert heat.labels[:3] == ("token 0", "token 1", "token 2")
    assert any("the words have no names" in note for note in heat.notes)
    assert word_shares(maps, word="token 1").labels == ("token 1",)


def test_a_word_can_be_asked_for_by_the_name_of_its_panel() -> None:
    _, maps = run_of(4)
    maps = maps.with_words({"cond": words_of(["▁red", "▁hat", "▁red", "▁shirt"])})
    every = word_shares(maps)
    assert every.labels[:4] == ("red", "hat", "red (2)", "shirt (2)")  # a reference is called shirt
    heat = word_shares(maps, word="red (2); shirt (2); red")
    assert heat.labels == ("red (2)", "shirt (2)", "red")
    torch.testing.assert_close(heat.values[0], every.values[2])
    torch.testing.assert_close(heat.values[1], every.values[3])
    torch.testing.assert_close(heat.values[2], every.values[0] + every.values[2])


def test_a_word_that_is_not_found_where_words_have_no_names_is_not_called_missing() -> None:
    _, maps = run_of(3)
    with pytest.raises(UnavailableError, match=r"'hat' cannot be looked for.*no names: put I²AM Watch Text.*'token 2'"):
        word_shares(maps, word="hat")
    told = maps.with_notes(["the words of cond have no names: a node mixed them"])
    with pytest.raises(UnavailableError, match="no names: a node mixed them; until then ask for tokens"):
        word_shares(told, word="hat")
    assert not any("Watch Text" in note for note in word_shares(told).notes)


def test_a_word_that_is_not_found_where_some_have_no_names_says_how_many() -> None:
    _, maps = run_of(5)
    with pytest.raises(UnavailableError, match=r"its words are: red, hat; .*; 3 further tokens that a node put behind them"):
        word_shares(maps.with_words({"cond": words_of(["▁red", "▁hat"])}), word="dress")


def test_the_mean_share_of_each_part_in_tenths_of_a_per_cent_adds_up_to_100() -> None:
    _, maps = run_of()
    told = told_words(word_shares(maps.with_words({"cond": PROMPT})))
    assert [line.partition(": ")[0] for line in told] == list(PARTS)
    assert sum(float(line.rpartition(": ")[2].removesuffix(" %")) for line in told) == pytest.approx(100)
    assert told_words(word_shares(maps, word="token 2"))[0].startswith("token 2: ")


def test_words_tell_their_shares_by_name() -> None:
    _, maps = run_of()
    found = words(maps.with_words({"cond": PROMPT[:4]}))
    by_word = found.by_word()
    assert [word.name for word, _ in by_word] == ["<s>", "red", "dress", "and", *(f"token {i}" for i in range(5, 10))]
    assert sum(part for _, part in by_word) == pytest.approx(float(found.share.sum()))
    assert words(maps).names == ()


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (
            lambda maps: word_shares(maps, word="coat"),
            r"the word 'coat' is not in the prompt; its words are: red, dress, and, hat",
        ),
        (lambda maps: word_shares(maps, word=" ; "), "names none"),
        (lambda maps: word_shares(maps, Choice(heads=(0,))), "words is kept as its mean over heads"),
        (
            lambda maps: word_shares(maps, Choice(layers="double.*")),
            "kept as their mean over double.0, single.1, so they do not",
        ),
        (lambda maps: word_shares(maps, Choice(branch="uncond")), "branch 'uncond' was not recorded"),
        (lambda maps: word_shares(maps, Choice(steps=(0, 9))), "steps 0 to 9 were asked for"),
        (lambda maps: word_shares(maps, groups=0), "0 time groups were asked for"),
        (lambda maps: level_of(maps, "LLAM", "words"), "words exist as ULAM and TLAM, got LLAM"),
        (lambda maps: level_of(maps, "HLAM", "words"), "words exist as ULAM and TLAM, got HLAM"),
        (lambda maps: ulam(maps, "words"), r"word_shares\(maps\) gives it"),
        (lambda _: word_shares(run_of(word_maps=False)[1]), "words are unavailable: no maps of words were recorded"),
        (lambda _: word_shares(example()), "words are unavailable: no maps of words were recorded"),
    ],
)
def test_what_cannot_be_shown_says_why(ask: Any, match: str) -> None:
    maps = run_of()[1].with_words({"cond": PROMPT})
    with pytest.raises(UnavailableError, match=match):
        ask(maps)
    assert word_shares(maps, Choice(layers=("double.0", "single.1"))).labels == PARTS
