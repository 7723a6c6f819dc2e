"""The tokens of a text as references without places: what goes to each of them, how evenly, and what it hands on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UnavailableError
from ..geometry.words import Word
from ..maps.facts import LayerInfo
from ..maps.kinds import UNASKED
from ..maps.value import AttributionMaps
from .choice import EVERYTHING, Choice
from .presets import preset_of
from .selection import Selection, select
from .steps import time_mean


@dataclass(frozen=True, eq=False)
class Words:
    """The T tokens of a text, in their order in the sequence; means over generated patches, steps, heads and layers.

    Attributes:
        share: (T,) of all attention.
        spread: (T,) at most the standard deviation of that share over the patches: the mean over layers and time groups of
            theirs.
        handed_on: (references, T) what goes on to each reference, one hop; adds up to its mean "via text".
        keys: S, the tokens that a patch chooses among.
        names: the words that the tokens make up, in order; empty: they are not known.
    """

    share: Tensor
    spread: Tensor
    handed_on: Tensor
    keys: int
    names: tuple[Word, ...] = ()

    def by_word(self) -> list[tuple[Word, float]]:
        """Each word and what goes to all its tokens; a token whose word is not known is one by itself, "token 3".

        The shares add up to that of the text.
        """
        known = {token for word in self.names for token in range(word.start, word.stop)}
        loose = [Word(f"token {i}", i) for i in range(len(self.share)) if i not in known]
        every = sorted((*self.names, *loose), key=lambda word: word.start)
        return [(word, float(self.share[word.start : word.stop].sum())) for word in every]


def words(maps: AttributionMaps, choice: Choice = EVERYTHING, *, preset: str = "default") -> Words:
    """What goes to each token of the text.

    Args:
        maps: a recording of joint attention.
        choice: what to take of the recording: branch, image, layers and steps, which are unions of the time groups.
        preset: decides which layers to take if the choice leaves them open.

    Raises:
        UnavailableError: the choice does not exist, the text's own queries were not recorded, or the layers' texts differ.
    """
    selection = select(maps, preset_of(preset), choice, side="share")
    layers = tuple(x for x in selection.layers if maps.has("words", x.name, selection.branch))
    if not layers:
        raise UnavailableError(f"words are unavailable: {UNASKED}")
    counts = sorted({dict(x.words)[selection.branch] for x in layers})
    if len(counts) > 1:
        told = ", ".join(map(str, counts))
        raise UnavailableError(f"the chosen layers have texts of {told} tokens; choose layers with the same text")
    return Words(
        _mean(maps, "words", layers, selection, 0),
        _mean(maps, "words_spread", layers, selection, 0),
        torch.stack([_mean(maps, "words_via_text", layers, selection, i) for i in range(len(maps.references))]),
        max(x.keys_of(0, selection.branch) for x in layers),
        maps.words_of(selection.branch),
    )


def _mean(maps: AttributionMaps, kind: str, layers: tuple[LayerInfo, ...], selection: Selection, reference: int) -> Tensor:
    """(T,), the mean over layers, each with as much weight as it has heads, of what is a mean over heads already."""
    of = Selection(layers, None, selection.steps, selection.branch, reference, selection.image)
    weights = torch.tensor([float(x.heads) for x in layers])
    values = torch.stack([time_mean(maps, kind, x, of, of.steps)[0] for x in layers])
    return (values * (weights / weights.sum())[:, None]).sum(0)
