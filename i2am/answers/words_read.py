"""Which words of the prompt the picture read most, and where."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..levels.choice import EVERYTHING, Choice
from ..levels.read_words import ReadWord, ReadWords, read_words
from ..levels.word_maps import has_word_maps
from ..maps.value import AttributionMaps
from .places import ninths
from .said import Said
from .thresholds import GATHERED, STANDS_OUT

MOST = 3
"""Words that are named."""
LITTLE = "sink, punctuation or function word"
"""What is never named."""


def words_read(maps: AttributionMaps, choice: Choice = EVERYTHING) -> Said | None:
    """A sentence on the words of the prompt that take most; None: there are no maps of words, or the prompt has no words.

    Raises:
        UnavailableError: the words have no names, or it is not known which of them are sinks.
    """
    if not has_word_maps(maps, choice.branch):
        return None
    read = read_words(maps, choice)
    if not (read.found or read.sinks):
        return None
    figures = {word.name: word.share for word in read.found}
    figures |= {f"{word.name} (sink)" if word.name in figures else word.name: word.share for word in read.sinks}
    text, verdict = _most(read)
    sunk = _listed([f'"{word.name}" ({percent(word.share)})' for word in read.sinks])
    more = f" {sunk}: {'sinks, which say' if len(read.sinks) > 1 else 'a sink, which says'} little." if sunk else ""
    whole = f"The words of the prompt take {percent(read.share)} of the picture's attention. {text}{more}"
    return Said("words", whole, _rule(read), figures, verdict)


def shown(read: ReadWords) -> tuple[ReadWord, ...]:
    """The words that are told, and whose maps are shown: those that stand out; if none does, the most read one."""
    ahead = tuple(word for word in read.found if stands_out(word))
    return ahead[:MOST] if ahead else read.found[:1]


def stands_out(word: ReadWord) -> bool:
    """Whether a word takes clearly more than an even share."""
    return round(word.over_even, 1) >= STANDS_OUT  # as it is shown


def _most(read: ReadWords) -> tuple[str, str]:
    """What is said of single words, and the verdict."""
    if not read.found:
        return f"None of them stands out that is no {LITTLE}.", "none"
    first = read.found[0]
    if read.counted == 1:
        return f'"{first.name}" takes {percent(first.share)}, {where(first, read.weights)}.', "one"
    named = [_told(word, read.weights) for word in shown(read)]
    if any(stands_out(word) for word in read.found):
        return f"Of them {'stands' if len(named) == 1 else 'stand'} out: {_listed(named)}.", "named"
    return f"Of those that are no {LITTLE}, none stands out; most goes to {named[0]}.", "even"


def _told(word: ReadWord, weights: Tensor) -> str:
    return f'"{word.name}" ({percent(word.share)}, {word.over_even:.1f} × an even share, {where(word, weights)})'


def where(word: ReadWord, weights: Tensor) -> str:
    """Where on the picture a word is read, by ninths; ``weights`` (h, w) are the tokens in each place.

    >>> import torch
    >>> values = torch.zeros(3, 3)
    >>> values[0, 2] = 0.9
    >>> where(ReadWord("hat", 1, values, 0.1, 1.0), torch.ones(3, 3))
    'most in the upper right of the picture'
    """
    means = {name: float((word.values * part).sum() / part.sum()) for name, part in ninths(weights).items()}
    place = max(means, key=lambda name: means[name])
    if means[place] < GATHERED * word.share:
        return "all over the picture"
    return f"most in the {place} of the picture"


def percent(share: float) -> str:
    """A share that may be small, in per cent.

    >>> percent(0.0283), percent(0.41), percent(0.0004), percent(0.996), percent(1e-7)
    ('2.8%', '41%', '0.04%', '100%', 'under 0.001%')
    """
    if 0 < share < 1e-5:
        return "under 0.001%"
    return f"{100 * share:.2g}%" if share < 0.995 else "100%"


def _rule(read: ReadWords) -> str:
    left = "special tokens, the prompt's template, sinks, punctuation and English function words are never named"
    among = (
        f"an even share is what its tokens would get if all tokens of the {read.counted} words that are no sinks got the same"
    )
    return (
        f"direct attention, the mean over patches; a word stands out from {STANDS_OUT:g} × on, and at most {MOST} are named; "
        f"{among}; a ninth of the picture is named from {GATHERED:g} × the word's mean on; {left}. What a "
        f"word changed, the maps do not say"
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
