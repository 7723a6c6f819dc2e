"""Maps of words embedded in a page: each is a map of the generated picture, the mean over layers and heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..levels.choice import Choice
from ..levels.word_maps import FEW, NAMELESS, POOLED, UNNAMED, has_word_maps, reads_by_part, together
from ..maps.facts import Range
from ..maps.kinds import shown_as
from ..maps.value import AttributionMaps
from .packing import pack

WORD = "word: "
"""What the side of a part of the text is called, before the part's name."""
APART = (*POOLED.values(), FEW, UNNAMED)
"""Parts that are no word that a reader could ask for."""


class EmbeddedWords:
    """What a page has of a run's words; nothing where no maps of words were recorded.

    Attributes:
        marginals: one array for each part of the text, of shape (groups or 1, 1, patches), the layer -1.
        words: [{side, name, apart}] in order; ``apart``: it is no word, but special tokens, fill and the like.
        kinds: what the viewer must know of each as a map.
        notes: what had to be coarsened.
        size: of the arrays, in bytes.
    """

    def __init__(self, maps: AttributionMaps, branch: str, image: int, groups: Sequence[Range], most: int) -> None:
        self.marginals: list[dict[str, Any]] = []
        self.words: list[dict[str, Any]] = []
        self.kinds: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.size = 0
        if not has_word_maps(maps, branch):
            return
        choice = Choice(branch, image=image)
        found = {name: values.flatten(1)[:, None].numpy() for name, values in reads_by_part(maps, choice, groups).items()}
        packed = self._packed(found, [maps.steps_seen(group) for group in groups], most)
        if not packed:
            return
        if not maps.words_of(branch):
            self.notes.append(NAMELESS)
        _, shown = shown_as("words")
        for name, values in packed.items():
            side, apart = f"{WORD}{name}", name in APART
            self.marginals.append({"side": side, "reference": 0, "layer": -1, "values": values})
            self.words.append({"side": side, "name": name, "apart": apart})
            self.kinds.append(
                {
                    "side": side,
                    "title": f"Where it read {name}" if apart else f'Where it read "{name}"',
                    "picture": "generated",
                    "asked": "",
                    "sentence": f"How much of its attention each generated patch spends on this part of the text; "
                    f"{together(maps)}.",
                    "unit": shown.unit,
                    "scaled": shown.scaled,
                    "resize": shown.resize,
                    "rank": shown.rank + 1,
                }
            )

    def _packed(self, found: dict[str, NDArray[np.float32]], steps: Sequence[int], most: int) -> dict[str, dict[str, Any]]:
        """The arrays, as finely as ``most`` bytes allow."""
        whole = {name: np.average(values, 0, steps)[None].astype(np.float32) for name, values in found.items()}
        for values, bits, note in (
            (found, 16, ""),
            (whole, 16, "To keep this small, maps of words are embedded as their mean over steps."),
            (whole, 8, "To keep this small, maps of words are embedded as their mean over steps, with 8 bits."),
        ):
            packed = {name: pack(own, bits) for name, own in values.items()}
            size = sum(len(own["data"]) + len(own["scales"]) for own in packed.values())
            if size <= most:
                self.size = size
                self.notes += [note] if note else []
                return packed
        self.notes.append("To keep this small, maps of words are left out.")
        return {}
