"""Words of a prompt: tokens of three sorts of tokenizers joined, with special tokens, fill and the template told apart."""

from __future__ import annotations

from typing import Any

import pytest

from i2am.errors import LayoutError
from i2am.geometry.words import Word, check_words, eyes, find, moved, repeated, style_of, words_of


def told(words: tuple[Word, ...]) -> list[tuple[str, int, str]]:
    return [(word.name, word.tokens, word.kind) for word in words]


def covered(words: tuple[Word, ...]) -> list[int]:
    return [token for word in words for token in range(word.start, word.stop)]


def test_sentencepiece_begins_words_with_a_mark() -> None:
    tokens = ["▁a", "▁t", "-", "shirt", ",", "▁", "Ka", "ro", "</s>", "<pad>", "<pad>"]
    found = words_of(tokens)
    assert told(found) == [
        ("a", 1, "word"), ("t-shirt", 3, "word"), (",", 1, "word"), ("Karo", 3, "word"),
        ("</s>", 1, "special"), ("fill", 2, "fill"),
    ]  # fmt: skip
    assert covered(found) == list(range(len(tokens)))


@pytest.mark.parametrize("prompt", ["a", "art", "star", "tan", "end"])
def test_a_short_prompt_is_not_found_inside_of_the_template(prompt: str) -> None:
    tokens = ["<|im_start|>", "user", "Ċ", prompt, "<|im_end|>", "Ċ", "<|im_start|>", "assistant", "Ċ"]
    words = [word for word in words_of(tokens, prompt=prompt) if word.kind == "word"]
    assert [(word.name, word.start) for word in words] == [(prompt, 3)]


def test_clip_ends_words_with_a_mark_and_fills_with_the_token_that_ends_it() -> None:
    tokens = ["<|startoftext|>", "wom", "an</w>", "in</w>", "cafÃ©</w>", ".</w>", *["<|endoftext|>"] * 4]
    assert told(words_of(tokens)) == [
        ("<|startoftext|>", 1, "special"), ("woman", 2, "word"), ("in", 1, "word"), ("café", 1, "word"), (".", 1, "word"),
        ("<|endoftext|>", 1, "special"), ("fill", 3, "fill"),
    ]  # fmt: skip


def test_bytes_of_one_character_stay_together_and_scripts_without_spaces_are_cut_by_token() -> None:
    # "é" is two bytes, in two tokens here; 你 is three, 好 one token
    tokens = ["Ġcaf", "Ã", "©", "Ġ", "ä½", "ł", "å¥½", "Ċ"]
    assert told(words_of(tokens)) == [
        ("café", 3, "word"), ("space", 1, "word"), ("你", 2, "word"), ("好", 1, "word"), ("line break", 1, "word")
    ]  # fmt: skip
    assert covered(words_of(tokens)) == list(range(8))


def test_what_stands_around_the_prompt_is_the_templates() -> None:
    tokens = ["<|im_start|>", "user", "Ċ", "Red", "Ġdress", "es", "<|im_end|>", "Ċ", "red", "<|endoftext|>", "<|endoftext|>"]
    found = words_of(tokens, prompt="red  dresses")
    assert told(found) == [
        ("<|im_start|>", 1, "special"), ("user", 1, "template"), ("line break", 1, "template"), ("Red", 1, "word"),
        ("dresses", 2, "word"), ("<|im_end|>", 1, "special"), ("line break", 1, "template"), ("red", 1, "template"),
        ("<|endoftext|>", 1, "special"), ("fill", 1, "fill"),
    ]  # fmt: skip
    assert [word.kind for word in words_of(tokens, prompt="blue")].count("template") == 0


def test_kinds_that_are_told_are_taken_as_they_are() -> None:
    found = words_of(["a", "a", "a"], kinds=["word", "special", "fill"], style="plain")
    assert told(found) == [("a", 1, "word"), ("a", 1, "special"), ("fill", 1, "fill")]
    assert told(words_of(["learned token 1", "learned token 2"])) == [
        ("learned token 1", 1, "word"), ("learned token 2", 1, "word")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("vocabulary", "style"),
    [(["a", "▁b"], "sentencepiece"), (["a", "b</w>"], "end of word"), (["a", "Ġb"], "bytes"), (["a", "b"], "plain")],
)
def test_the_style_of_a_vocabulary(vocabulary: list[str], style: str) -> None:
    assert style_of(vocabulary) == style


def test_flux_2_fills_the_front() -> None:
    words = words_of(["▁red", "▁hat"])
    assert moved(words, 0) == words
    before, red, hat = moved(words, 510)
    assert (before.kind, before.start, before.tokens) == ("fill", 0, 510)
    assert (red.start, hat.start) == (510, 511)


def test_a_phrase_is_found_at_each_of_its_places() -> None:
    words = words_of(["▁red", "▁dress", "▁and", "▁Red", "▁dress", "es", "▁red"])
    assert find(words, "RED") == [(0,), (3,), (5,)]
    assert find(words, "red dress") == [(0, 1)]
    assert find(words, "dre") == []
    seen = (Word(eyes(1), 0, 6, "vision", (2, 3)), Word("hat", 6))
    assert find(seen, eyes(1)) == [(0,)]


def test_tokens_in_windows_have_their_places() -> None:
    assert Word(eyes(1), 0, 8, "vision", (2, 4), 2).order == (0, 1, 4, 5, 2, 3, 6, 7)
    assert Word(eyes(1), 0, 8, "vision", (2, 4)).order == ()


def test_names_that_come_again_get_a_number() -> None:
    assert list(repeated(["red", "red", "generated"], ("generated",))) == ["red", "red (2)", "generated (2)"]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: words_of("red dress"), "given as the strings of its tokens"),
        (lambda: words_of([1, 2]), "given as the strings of its tokens"),  # type: ignore[list-item]
        (lambda: words_of([]), "no tokens were given"),
        (lambda: words_of(["a"], kinds=["word", "word"]), "1 tokens have 2 kinds"),
        (lambda: words_of(["a"], kinds=["noun"]), "expected one of word, template"),
        (lambda: words_of(["a"], style="BPE"), "the style of tokens is one of sentencepiece"),
        (lambda: Word("a", -1), "expected at least 1, from 0 on"),
        (lambda: Word("a", 0, 0), "has 0 tokens from 0 on"),
        (lambda: Word("a", 0, 1, "noun"), "the kind of a word is one of"),
        (lambda: Word("a", 0, 5, "vision", (2, 3)), "5 tokens, which are not 2 x 3"),
        (lambda: check_words([Word("a", 0, 2), Word("b", 1)]), "starts at token 1, before the end"),
        (lambda: check_words(["a"]), "of the type Word, got a str"),  # type: ignore[list-item]
    ],
)
def test_what_are_no_words_is_refused(make: Any, match: str) -> None:
    with pytest.raises(LayoutError, match=match):
        make()


def test_the_mark_before_the_first_word_is_no_template() -> None:
    """T5 writes it as a token of its own before some words, such as "a"."""
    assert told(words_of(["▁", "a", "▁red", "▁dress", "</s>"], prompt="a red dress")) == [
        ("a", 2, "word"), ("red", 1, "word"), ("dress", 1, "word"), ("</s>", 1, "special")
    ]  # fmt: skip


def test_a_prompt_ends_with_all_tokens_of_its_last_character_and_with_its_spaces() -> None:
    shirt = ["Ġ", "ðŁ", "ĳ", "Ĺ"]  # one emoji in three tokens, behind a space
    assert told(words_of(["user", "Ċ", "red", *shirt, "Ċ"], style="bytes", prompt="red 👗")) == [
        ("user", 1, "template"), ("line break", 1, "template"), ("red", 1, "word"), ("space", 1, "word"), ("👗", 3, "word"),
        ("line break", 1, "template"),
    ]  # fmt: skip
    assert told(words_of(["red", "Ġ", "Ċ"], style="bytes", prompt="red "))[1:] == [
        ("space", 1, "word"),
        ("line break", 1, "template"),
    ]


def test_of_an_empty_prompt_all_words_are_the_templates() -> None:
    tokens = ["<|im_start|>", "user", "Ċ", "<|im_end|>"]
    for prompt in ("", "  "):
        assert [word.kind for word in words_of(tokens, prompt=prompt)] == ["special", "template", "template", "special"]
    assert [word.kind for word in words_of(tokens)] == ["special", "word", "word", "special"]


@pytest.mark.parametrize("prompt", ["été’s", "e\u0301te\u0301's", "ÉTÉ's"])
def test_a_prompt_is_found_in_another_way_of_writing_it(prompt: str) -> None:
    tokens = ["user", "Ċ", "Ã©tÃ©", "'s", "Ċ"]
    assert [word.kind for word in words_of(tokens, style="bytes", prompt=prompt)] == [
        "template", "template", "word", "template"
    ]  # fmt: skip
    assert find(words_of(tokens, style="bytes"), prompt) == [(2,)]


def test_of_several_ways_in_which_a_prompt_may_stand_the_first_that_is_found_counts() -> None:
    tokens = ["user", "Ċ", "red", "Ġhat", "Ċ"]
    found = words_of(tokens, prompt=("(red:1.3) hat", "red hat"))
    assert [word.kind for word in found] == ["template", "template", "word", "word", "template"]
    assert [word.kind for word in words_of(tokens, prompt=("blue", "green"))] == ["word"] * 5


def test_letters_that_a_tokenizer_does_not_know_are_those_of_the_prompt() -> None:
    """As T5 leaves them: each run of them is one token, and the marks of words stand alone before it."""
    tokens = ["▁", "<unk>", "лат", "<unk>", "е", "▁in", "▁", "<unk>", ",", "<unk>", "</s>", "<pad>"]
    kinds = [*["special" if token == "<unk>" else "word" for token in tokens[:-2]], "special", "fill"]
    found = words_of(tokens, kinds=kinds, prompt="Платье in 绿色，👗")
    assert told(found) == [
        ("Платье", 5, "word"), ("in", 1, "word"), ("绿色", 2, "word"), (",", 1, "word"), ("👗", 1, "word"),
        ("</s>", 1, "special"), ("fill", 1, "fill"),
    ]  # fmt: skip
    assert covered(found) == list(range(len(tokens)))
    for unfit in (None, "another prompt"):
        assert [word.name for word in words_of(tokens, kinds=kinds, prompt=unfit)][:3] == ["\ufffdлат\ufffdе", "in", "\ufffd"]


def test_a_word_of_clip_that_ends_within_a_character_ends_there() -> None:
    tokens = ["êµ", "Ń</w>", "red</w>"]  # 국 in two tokens
    assert told(words_of(tokens, style="end of word")) == [("국", 2, "word"), ("red", 1, "word")]
