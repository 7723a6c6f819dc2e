"""Which words of a prompt were read most, and where, without the words that mean nothing by themselves.

Special tokens, the template around a prompt and what fills a text up are no words of it. Sinks, punctuation and function words
often take much attention whatever the prompt says, so they are counted, but never among the words that were read most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import UnavailableError
from ..geometry.layout import TokenGrid
from ..geometry.thinning import weights_of
from ..geometry.words import Word
from ..maps.value import AttributionMaps
from .choice import EVERYTHING, Choice
from .grids import common_grid
from .sinks import sinks
from .word_maps import reads_by_word

FUNCTION_WORDS = (
    "a an the and or but nor so as than of to in on at by for with from into onto is are was were be been being has have had "
    "do does it its this that these those he she they him her them his hers their you your i me my we us our who whom whose "
    "which there then"
)
"""English articles, conjunctions, short prepositions, pronouns and auxiliaries, in small letters."""
_FUNCTION = frozenset(FUNCTION_WORDS.split())


@dataclass(frozen=True, eq=False)
class ReadWord:
    """A word of the prompt, at all places where it stands in it; those that are sinks are apart.

    Attributes:
        name: as it stands first.
        tokens: how many it has in all.
        values: (h, w) what each generated patch reads of it, of all its attention.
        share: the mean of ``values`` over the patches.
        over_even: its share ÷ what its tokens would get if all tokens of the prompt's words but sinks got the same.
    """

    name: str
    tokens: int
    values: Tensor
    share: float
    over_even: float


@dataclass(frozen=True, eq=False)
class ReadWords:
    """The words of a prompt by what is read of them.

    Attributes:
        found: those that mean something by themselves, the most read first.
        sinks: those that are sinks, the largest first.
        share: of all attention, what goes to all words of the prompt together.
        counted: how many different words ``over_even`` is among.
        weights: (h, w) how many tokens lie in each place of ``values``; the means weigh them so.
    """

    found: tuple[ReadWord, ...]
    sinks: tuple[ReadWord, ...]
    share: float
    counted: int
    weights: Tensor


def read_words(maps: AttributionMaps, choice: Choice = EVERYTHING) -> ReadWords:
    """Rank the words of the prompt by what the generated patches read of them.

    Args:
        maps: a recording with maps of words, which have names.
        choice: what to take of the recording.

    Raises:
        UnavailableError: see `word_maps.reads_by_word`; or it is not known which tokens are sinks.
    """
    every = {word: values for word, values in reads_by_word(maps, choice).items() if word.kind == "word"}
    sunk = _sinks(maps, choice)
    grid = common_grid(maps, "generated")
    weights = weights_of(TokenGrid(grid.rows, grid.columns, edge=grid.edge)).reshape(grid.rows, grid.columns)
    named: dict[tuple[str, bool], list[Word]] = {}
    for word in every:  # a place that is a sink hides no other place of its word
        is_sink = any(token in sunk for token in range(word.start, word.stop))
        named.setdefault((word.name.casefold(), is_sink), []).append(word)
    words = [_together(places, [every[word] for word in places], weights) for places in named.values()]
    of_sinks = [is_sink for _, is_sink in named]
    counted = [word for word, sink in zip(words, of_sinks, strict=True) if not sink]
    even = sum(word.share for word in counted) / max(1, sum(word.tokens for word in counted))
    found = [
        replace(word, over_even=word.share / (word.tokens * even)) for word in counted if even and means_something(word.name)
    ]
    return ReadWords(
        tuple(sorted(found, key=lambda word: -word.share)),
        tuple(sorted((w for w, sink in zip(words, of_sinks, strict=True) if sink), key=lambda word: -word.share)),
        sum(word.share for word in words),
        len(counted),
        weights,
    )


def means_something(name: str) -> bool:
    """Whether a word is neither punctuation nor a function word of English.

    >>> [means_something(name) for name in ("dress", "The", "...", "裙")]
    [True, False, False, True]
    """
    return any(c.isalnum() for c in name) and name.casefold() not in _FUNCTION


def _together(places: list[Word], values: list[Tensor], weights: Tensor) -> ReadWord:
    """One word, at all its places."""
    whole = torch.stack(values).sum(0)
    share = float((whole * weights).sum() / weights.sum())
    return ReadWord(places[0].name, sum(word.tokens for word in places), whole, share, 0.0)


def _sinks(maps: AttributionMaps, choice: Choice) -> set[int]:
    """The tokens of the text that are sinks in a layer that maps of words are the mean over."""
    found = sinks(maps, replace(choice, reference=0, layers=maps.word_layers))
    unknown = [note for note in found.notes if note.startswith("sinks of the text")]
    if unknown:
        raise UnavailableError(unknown[0])
    return {sink.token for sink in found.found if sink.reference is None}
