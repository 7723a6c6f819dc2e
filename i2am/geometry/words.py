"""The words of a prompt among the tokens of a text: what a reader calls them, and which tokens each of them has.

Tokenizers cut a word into pieces, and mark in ways of their own where a word begins: sentencepiece (T5) with "▁red", byte-level
BPE (Qwen, Mistral) with "Ġred", CLIP's BPE with "red</w>" where one ends. Around the prompt stand a template's words, special
tokens, tokens that fill the text up, and what a vision encoder made of a picture.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..errors import LayoutError
from .sequence import in_windows

KINDS = ("word", "template", "special", "fill", "vision")
"""What words are: of the prompt; of the template around it; a special token; filled up; a picture in the encoder's eyes."""
STYLES = ("sentencepiece", "bytes", "end of word", "plain")
"""How a tokenizer's strings say where words begin, see `plain`; "plain": each token is a word."""
SPECIAL = re.compile(r"<[^<>\s]+>|\[[A-Z/_]+\]")
"""How tokenizers write special tokens, such as <pad> or [INST]."""
LONGEST = 60
"""Characters of a name."""
UNKNOWN = frozenset({"<unk>", "[UNK]"})
"""Tokens for letters that a tokenizer does not know: T5 has none for emoji, nor for Chinese, and for Russian only some."""
_NO_LETTER = "\ufffd"
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"'})
_APART_BY = re.compile("[\\s\u200b-\u200d\ufeff]+")
"""What stands between words, also with no width."""
_APART = set(',.;:!?()[]{}"“”„«»…')


@dataclass(frozen=True)
class Word:
    """Tokens of a text that follow each other and are one thing to a reader.

    Attributes:
        name: what readers call it.
        start: its first token, counted from 0 among the tokens of the text.
        tokens: how many it has.
        kind: one of `KINDS`.
        grid: of a picture in the encoder's eyes, (rows, columns) of its tokens; (0, 0): unknown, or no picture.
        window: its tokens come window by window of so many places a side, see `sequence.in_windows`; 0: row by row.
    """

    name: str
    start: int
    tokens: int = 1
    kind: str = "word"
    grid: tuple[int, int] = (0, 0)
    window: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise LayoutError(f"the kind of a word is one of {', '.join(KINDS)}, got {self.kind!r:.40}")
        if self.start < 0 or self.tokens < 1:
            raise LayoutError(
                f"the word {self.name!r:.40} has {self.tokens} tokens from {self.start} on, expected at least 1, from 0 on"
            )
        rows, columns = self.grid
        if (rows or columns) and rows * columns != self.tokens:
            raise LayoutError(f"{self.name!r:.40} has {self.tokens} tokens, which are not {rows} x {columns}")

    @property
    def stop(self) -> int:
        """One past its last token."""
        return self.start + self.tokens

    @property
    def order(self) -> tuple[int, ...]:
        """For each place of its grid, row by row, which of its tokens lies there; empty: they are in that order."""
        return in_windows(*self.grid, self.window) if self.window and self.grid[0] else ()


def check_words(words: Iterable[Word]) -> tuple[Word, ...]:
    """Words in their order, as a tuple.

    Raises:
        LayoutError: two of them have the same token.
    """
    found, end = tuple(words), 0
    for word in found:
        if not isinstance(word, Word):
            raise LayoutError(f"the words of a text are of the type Word, got a {type(word).__name__}; words_of makes them")
        if word.start < end:
            raise LayoutError(f"the word {word.name!r:.40} starts at token {word.start}, before the end of the one before it")
        end = word.stop
    return found


def moved(words: Iterable[Word], by: int) -> tuple[Word, ...]:
    """The same words where ``by`` tokens that fill the text up stand before them, as FLUX.2 does."""
    before = (Word("fill", 0, by, "fill"),) if by else ()
    return (*before, *(replace(word, start=word.start + by) for word in words))


def eyes(number: int) -> str:
    """What readers call the tokens that a vision encoder made of a reference, counted from 1."""
    return f"reference {number}, by the encoder's eyes"


def words_of(
    tokens: Sequence[str],
    *,
    kinds: Sequence[str] | None = None,
    style: str | None = None,
    prompt: str | Sequence[str] | None = None,
) -> tuple[Word, ...]:
    """Join the tokens of a text to the words that people wrote.

    Args:
        tokens: each as its tokenizer writes it, such as "▁red" or "red</w>"; see `convert_ids_to_tokens` of transformers.
        kinds: of each token, "word", "special" or "fill"; None: what looks like a special token is one, and of those that the
            text ends with all but the first fill it up.
        style: one of `STYLES`; None: as the tokens look.
        prompt: what the person wrote, or several ways in which it may stand among the tokens, of which the first that is found
            counts; words around it are the template's, and of an empty one all. None, or not found: all are words. Letters that
            the tokenizer does not know are taken from it.

    Raises:
        LayoutError: tokens are no strings, there are none, or ``kinds`` or ``style`` are others.

    >>> [(word.name, word.tokens) for word in words_of(["▁a", "▁striped", "▁t", "-", "shirt", "</s>", "<pad>", "<pad>"])]
    [('a', 1), ('striped', 1), ('t-shirt', 3), ('</s>', 1), ('fill', 2)]
    """
    if isinstance(tokens, str) or not all(isinstance(token, str) for token in tokens):
        raise LayoutError(
            "the words of a text are given as the strings of its tokens, one for each, such as ['▁red', '▁dress']"
        )
    if not tokens:
        raise LayoutError("no tokens were given; give the strings of all tokens of the text, or none at all (None)")
    kinds = _looks(tokens) if kinds is None else tuple(kinds)
    if len(kinds) != len(tokens) or not set(kinds) <= set(KINDS[:4]):
        raise LayoutError(
            f"{len(tokens)} tokens have {len(kinds)} kinds, {', '.join(sorted(set(kinds)))[:80]}; expected one of "
            f"{', '.join(KINDS[:4])} for each"
        )
    style = style_of(tokens) if style is None else style
    if style not in STYLES:
        raise LayoutError(f"the style of tokens is one of {', '.join(STYLES)}, got {style!r:.40}")
    unknown = [i for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True)) if token in UNKNOWN and kind != "fill"]
    kinds = ["word" if i in unknown else kind for i, kind in enumerate(kinds)]
    texts = plain([_NO_LETTER if i in unknown else token for i, token in enumerate(tokens)], kinds, style)
    outside = [False] * len(texts)
    for wanted in () if prompt is None else (prompt,) if isinstance(prompt, str) else prompt:
        known = _with_letters(texts, kinds, wanted) if unknown and style == "sentencepiece" else texts
        around = _around(known, kinds, wanted, style)
        if around is not None:
            texts, outside = known, around
            break
    starts: list[int] = []
    own = ["template" if outside[i] and kind == "word" else kind for i, kind in enumerate(kinds)]
    for i, kind in enumerate(own):
        same = i > 0 and own[i - 1] == kind
        if not (same and (kind == "fill" or (kind in ("word", "template") and _goes_on(texts, i, style)))):
            starts.append(i)
    return tuple(
        Word(_named("".join(texts[start:stop]), own[start])[:LONGEST], start, stop - start, own[start])
        for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True)
    )


def style_of(vocabulary: Iterable[str]) -> str:
    """How a tokenizer's strings say where words begin, from some of them or all."""
    ends = spaced = False
    for token in vocabulary:
        if token.startswith("▁"):
            return "sentencepiece"
        ends |= token.endswith("</w>")
        spaced |= token[:1] in ("Ġ", "Ċ") and len(token) > 1
    return "end of word" if ends else "bytes" if spaced else "plain"


def plain(tokens: Sequence[str], kinds: Sequence[str], style: str) -> list[str]:
    """The tokens as text with spaces; of a character that several tokens share, the first has it and the others nothing."""
    if style == "sentencepiece":
        return [token.replace("▁", " ") if kind == "word" else token for token, kind in zip(tokens, kinds, strict=True)]
    if style == "plain":
        return list(tokens)
    if style == "end of word":  # of bytes as well
        ends = [token.endswith("</w>") and kind == "word" for token, kind in zip(tokens, kinds, strict=True)]
        found = _decoded([token[:-4] if end else token for token, end in zip(tokens, ends, strict=True)], kinds)
        for i in (i for i, end in enumerate(ends) if end):
            while i and not found[i]:  # of a character that several tokens share, the first has the space behind it too
                i -= 1
            found[i] += " "
        return found
    return _decoded(tokens, kinds)


def _decoded(tokens: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """Byte-level tokens as text, see `plain`."""
    found, bytes_of = list(tokens), _byte_of()
    first, decoder = 0, codecs.getincrementaldecoder("utf-8")("replace")
    for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True)):
        known = kind == "word" and all(c in bytes_of for c in token)
        if not known:
            decoder.reset()
            first = i + 1
            continue
        text = decoder.decode(bytes(bytes_of[c] for c in token))
        found[i] = ""
        found[first] += text if first < i else ""
        if first == i:
            found[i] = text
        if not decoder.getstate()[0]:
            first = i + 1
    return found


def _byte_of() -> dict[str, int]:
    """The byte behind each letter of a byte-level BPE: printable ones stand for themselves, the others from U+0100 on."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}


def _looks(tokens: Sequence[str]) -> tuple[str, ...]:
    kinds = ["special" if SPECIAL.fullmatch(token) else "word" for token in tokens]
    end = len(tokens)
    while end and tokens[end - 1] == tokens[-1] and kinds[-1] == "special":
        end -= 1
    keep = 0 if "pad" in tokens[-1].lower() else 1
    if len(tokens) - end > 1 or not keep:
        for i in range(end + keep, len(tokens)):
            kinds[i] = "fill" if kinds[i] == "special" else kinds[i]
    return tuple(kinds)


def _named(text: str, kind: str) -> str:
    if kind == "fill":
        return "fill"
    return text.strip() or ("line break" if "\n" in text else "space" if text else "�")


def _goes_on(texts: Sequence[str], i: int, style: str) -> bool:
    """Whether a token belongs to the word of the one before it."""
    if style == "plain":
        return False
    text, before = texts[i], next((texts[j] for j in range(i - 1, -1, -1) if texts[j]), "")
    if not text:  # a further part of the character that the token before began
        return True
    if not before or text[0].isspace():
        return False
    if before == " ":  # where a word begins, as a token of its own: in sentencepiece of any word, else a space
        return style == "sentencepiece" or not _stands_alone(text)
    return not _stands_alone(text) and not before[-1].isspace() and not _stands_alone(before)


def _stands_alone(text: str) -> bool:
    """Whether it is no part of a longer word: a comma or bracket, or a letter of a script without spaces."""
    text = text.strip()
    if all(c in _APART for c in text):
        return True
    return any("\u2e80" <= c <= "\ud7ff" or (c != _NO_LETTER and unicodedata.category(c) == "So") for c in text)


def _around(texts: Sequence[str], kinds: Sequence[str], prompt: str, style: str) -> list[bool] | None:
    """Which tokens stand outside of the last place where the prompt is, whatever its spaces and capitals; None: nowhere."""
    wanted = _bare(prompt)
    if not wanted:
        return [True] * len(texts)
    letters: list[tuple[str, int]] = [
        (c, i) for i, (text, kind) in enumerate(zip(texts, kinds, strict=True)) if kind != "fill" for c in _bare(text)
    ]
    at = _last_at("".join(c for c, _ in letters), wanted, [i for _, i in letters])
    if at is None:
        return None
    own = {i for _, i in letters[at : at + len(wanted)]}
    first, last = min(own), max(own)
    ahead = "" if style != "sentencepiece" else " "  # which writes a mark before the first word, at times by itself
    ahead, behind = (prompt[: len(prompt) - len(prompt.lstrip())] or ahead), prompt[len(prompt.rstrip()) :]
    while first and kinds[first - 1] == "word" and texts[first - 1] and texts[first - 1] in ahead:
        first -= 1
    while last + 1 < len(texts) and kinds[last + 1] == "word" and texts[last + 1] in behind:  # or a further part of a character
        last += 1
    return [not first <= i <= last for i in range(len(texts))]


def _last_at(letters: str, wanted: str, tokens: Sequence[int]) -> int | None:
    """Where ``wanted`` is last: where it begins and ends with whole tokens, as in no word of a template, or else anywhere.

    >>> _last_at("astart", "a", [0, 1, 1, 1, 1, 1]), _last_at("astart", "tar", [0, 1, 1, 1, 1, 1]), _last_at("a", "b", [0])
    (0, 2, None)
    """

    def edge(at: int) -> bool:
        return at in (0, len(tokens)) or tokens[at - 1] != tokens[at]

    places = [found.start() for found in re.finditer(f"(?={re.escape(wanted)})", letters)]
    whole = [at for at in places if edge(at) and edge(at + len(wanted))]
    found = whole or places
    return found[-1] if found else None


def _with_letters(texts: Sequence[str], kinds: Sequence[str], prompt: str) -> list[str]:
    """The same texts of sentencepiece, where a token for what it does not know has the letters that stand there in the prompt.

    Words are told apart by spaces; a word that does not fit its tokens stays unknown.
    """
    found, groups = list(texts), [[]]  # type: tuple[list[str], list[list[int]]]
    for i, (text, kind) in enumerate(zip(texts, kinds, strict=True)):
        if kind == "word":
            if text[:1] == " " and groups[-1]:
                groups.append([])
            groups[-1].append(i)
    written = [word for word in _APART_BY.split(prompt) if word]
    if len(groups) != len(written):
        return found
    for group, word in zip(groups, written, strict=True):
        if any(texts[i] == _NO_LETTER for i in group):
            for i, letters in _letters_of([(i, texts[i]) for i in group], word):
                found[i] = letters
    return found


def _letters_of(tokens: Sequence[tuple[int, str]], word: str) -> list[tuple[int, str]]:
    """The letters of a word that stand where its tokens are unknown; empty if the others do not fit.

    No letter of such a token is one that the tokenizer knows, so that it ends where the next token begins.
    """
    letters = [(c, i) for i, written in enumerate(word) for c in _bare(written)]
    whole, found, at, pending = "".join(c for c, _ in letters), [], 0, -1
    for i, text in [*((i, text) for i, text in tokens if _bare(text)), (-1, "")]:
        if text == _NO_LETTER and pending < 0:
            pending = i
            continue
        start = len(whole) if i < 0 else whole.find(_bare(text), at + (pending >= 0))
        if start < 0 or (pending < 0 and start != at) or (pending >= 0 and start == at):
            return []
        if pending >= 0:
            found.append((pending, word[letters[at][1] : letters[start - 1][1] + 1]))
        at, pending = start + len(_bare(text)), -1
    return found


def _bare(text: str) -> str:
    """A text as far as it is compared: accents and ligatures in one way of writing, without capitals and spaces."""
    written = unicodedata.normalize("NFKD", text.translate(_QUOTES)).lower()
    return _APART_BY.sub("", written)


def find(words: Sequence[Word], wanted: str) -> list[tuple[int, ...]]:
    """Where a word or phrase is: for each of its places, the indices of the words that make it up, without regard to capitals.

    >>> find(words_of(["▁red", "▁dress", ",", "▁red", "▁hat"]), "red"), find(words_of(["▁Red", "▁dress"]), "red dress")
    ([(0,), (3,)], [(0, 1)])
    """
    looked, found = _bare(wanted), []
    for i, first in enumerate(words):
        text = ""
        for j in range(i, len(words)):
            text += _bare(words[j].name)
            if words[j].kind != first.kind or len(text) > len(looked):
                break
            if text == looked:
                found.append(tuple(range(i, j + 1)))
    return found


def repeated(names: Sequence[str], taken: Collection[str] = ()) -> Iterator[str]:
    """The names, those that come again with a number, such as "red (2)"; none of them is one of those ``taken``."""
    seen = set(taken)
    for name in names:
        number, own = 1, name
        while own in seen:
            number += 1
            own = f"{name} ({number})"
        seen.add(own)
        yield own
