"""One edit to look at: a person, a garment to put on, and what should come out, from seeds that training never saw."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .draw import DemoPairs, draw_pairs
from .groups import Edits, Groups, group_specs, held_out_groups
from .restyle import restyle
from .spec import PairSpec


@dataclass(frozen=True)
class EditCase:
    """An edit from a group's first garment to its second.

    ``edits`` is a batch of one. ``worn`` is the same person drawn in the new garment: its reference is the garment's own
    picture, its person the right answer that the model never sees.
    """

    edits: Edits
    worn: DemoPairs

    @classmethod
    def draw(cls, seed: int, pattern: str = "", colour: str = "", letter: str = "") -> EditCase:
        """The case of a seed, counted from 0; an empty name leaves the new garment's pattern, colour or letter as drawn.

        Raises:
            ValueError: there is no such pattern, colour or letter; names those that exist.
        """
        (group,) = held_out_groups(seed, 1)
        before, after = group_specs(group)[:2]
        return cls.of(before, after.wearing(restyle(after.garment, pattern, colour, letter)))

    @classmethod
    def of(cls, before: PairSpec, after: PairSpec) -> EditCase:
        """The case of one body and scene in two garments."""
        own, worn = (draw_pairs([spec]) for spec in (before, after))
        names = ("person", "reference", "truth", "visible")
        both = Groups(*(torch.stack([getattr(own, name), getattr(worn, name)], 1) for name in names))
        return cls(both.edits(0, 1), worn)
