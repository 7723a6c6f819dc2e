"""Where the words of the prompt that were read most were read: a small map for each, beside the answer's sentence on them."""

from __future__ import annotations

from dataclasses import replace

from PIL import Image

from ..answers.words_read import percent, shown
from ..errors import UnavailableError
from ..levels.choice import Choice
from ..levels.read_words import read_words
from ..levels.word_maps import has_word_maps, word_shares
from ..maps.value import AttributionMaps
from ..pictures.sheet import in_a_row
from .look_details import LABEL, SMALL
from .sheet_parts import GAP, PRINT, drawn, height_for

HEAD = "Words of the prompt that were read most: where, each on a scale of its own"


def word_row(maps: AttributionMaps, generated: Image.Image, choice: Choice) -> Image.Image | None:
    """The maps of the words that the answer names, on the generated picture; None: it names none.

    Args:
        maps: a recording.
        generated: the generated picture.
        choice: what to take of the recording; which reference it names does not matter.
    """
    if not has_word_maps(maps, choice.branch):
        return None
    try:
        read = read_words(maps, choice)
    except UnavailableError:  # the answer says why
        return None
    words = shown(read)
    if not words:
        return None
    height = min(SMALL, height_for([generated.width / generated.height] * len(words)))
    heat = word_shares(maps, choice)
    items = []
    for word in words:
        low, high = float(word.values.min()), float(word.values.max())
        label = f'"{word.name}": {percent(word.share)}\nfrom {percent(low)} to {percent(high)} of a patch\'s attention'
        own = replace(heat.panel(0), values=word.values[None], labels=(word.name,))
        items.append((drawn(generated, own, height), label))
    return in_a_row(items, PRINT, GAP, least=LABEL)
