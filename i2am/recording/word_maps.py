"""Maps of words: what each generated patch reads of each text token, the mean over layers and heads, step by step.

For one layer they are A[g, t] of `text_route`, T x N numbers: with 512 tokens and 1,024 recorded patches 2 MB, which 57 layers
and five time groups would make 600 MB. So they are added up over layers while a step goes on.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from ..maps.facts import TOGETHER
from .budget import Plan
from .call_maps import CallMaps
from .sums import Sums

LOST = "no maps of words of {} are kept: some layers were not seen in every step, or their text had no queries in some"


class WordMaps:
    """The mean of one step's maps of words over the layers of its last evaluation, for each branch.

    Args:
        layers: the layers that the mean is over; empty: all.
    """

    def __init__(self, layers: Collection[str] = ()) -> None:
        self._wanted = frozenset(layers)
        self._step: dict[str, tuple[Tensor, int, frozenset[str]]] = {}
        self._seen: dict[str, set[frozenset[str]]] = {}

    def wants(self, layer: str, plan: Plan) -> bool:
        """Whether a layer's map is taken."""
        return plan.words > 0 and (not self._wanted or layer in self._wanted)

    def take(self, layer: str, branch: str, calls: list[CallMaps], heads: int) -> None:
        """Move the map of one layer's call here.

        Args:
            layer: its name.
            branch: of the call.
            calls: one for each reference; the first loses its map.
            heads: of the layer, its weight in the mean.
        """
        values, calls[0].word_maps = calls[0].word_maps, None
        if values is None:
            return
        values = values * heads
        if branch not in self._step:
            self._step[branch] = values, heads, frozenset((layer,))
            return
        known, count, layers = self._step[branch]
        self._step[branch] = known.add_(values), count + heads, layers | {layer}

    def end_step(self, sums: Sums, step: int, plan: Plan) -> None:
        """Add the step's means to the run's sums, if these are kept; the next step starts anew."""
        for branch, (values, heads, layers) in self._step.items():
            if plan.words:
                self._seen.setdefault(branch, set()).add(layers)
                with torch.inference_mode(False), torch.no_grad():
                    sums.add_words(branch, values / heads, step, plan)
        self._step = {}

    def discard(self, branches: Collection[str]) -> None:
        """Drop what the step has of these branches."""
        self._step = {branch: found for branch, found in self._step.items() if branch not in branches}

    def finish(
        self, sums: Sums, branches: Collection[str], layers: Collection[str], unasked: Collection[tuple[str, str]]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Drop from the sums what is not of the same layers in all steps and branches; those layers, and notes.

        Args:
            sums: of the run.
            branches: that were recorded.
            layers: that are kept, in order.
            unasked: (layer, branch) whose text had no queries in some call.
        """
        own: frozenset[str] = frozenset()
        notes = []
        for branch in branches:
            found = next(iter(self._seen[branch])) if len(self._seen.get(branch, ())) == 1 else frozenset[str]()
            whole = found <= set(layers) and not any((layer, branch) in unasked for layer in found)
            if found and whole and found == (own or found):
                own = found
            elif sums.drop(("word_maps", TOGETHER, branch, 0)):
                notes.append(LOST.format(branch))
        return tuple(layer for layer in layers if layer in own), tuple(notes)
