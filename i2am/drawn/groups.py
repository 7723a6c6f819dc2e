"""Groups for editing with two references: one body and scene, drawn in several garments.

Any two of a group make an edit: the person in one garment and another garment's picture go in, the person in that
garment comes out, and for each pixel it is known which of the two references shows it, and where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from torch import Tensor

from .draw import draw_pairs
from .seeds import HELD_OUT, is_held_out
from .spec import PairSpec, draw_pair

GARMENTS = 4
"""Garments per group."""
EDITS = tuple(permutations(range(GARMENTS), 2))
"""The edits of a group, as (garment worn before, garment worn after)."""


@dataclass(frozen=True)
class Edits:
    """A batch of edits with their truth; pictures are (B, 3, H, W) in 0-1, masks (B, 1, 128, 96) of 0 and 1.

    ``place`` (B, 2, 128, 96) is where on the garment's picture a pixel of ``worn`` lies, (x, y) in its pixels, wherever
    ``from_garment`` is 1. Where ``from_person`` is 1, ``worn`` equals ``person`` at the same place. Elsewhere (skin or
    trousers that the old garment hid) neither reference shows the pixel.
    """

    person: Tensor
    garment: Tensor
    worn: Tensor
    place: Tensor
    from_garment: Tensor
    from_person: Tensor


@dataclass(frozen=True)
class Groups:
    """A batch of groups.

    Attributes:
        person: (G, 4, 3, 128, 96) the person in each garment.
        garment: (G, 4, 3, 160, 112) the garments' own pictures.
        place: (G, 4, 2, 128, 96) where on the garment's picture each pixel of the person lies, (x, y) in its pixels.
        cloth: (G, 4, 1, 128, 96) 1 where that place exists.
    """

    person: Tensor
    garment: Tensor
    place: Tensor
    cloth: Tensor

    def kept(self, before: int, after: int) -> Tensor:
        """Where swapping one garment for the other leaves the picture unchanged, outside of both: (G, 1, 128, 96)."""
        same = (self.person[:, before] == self.person[:, after]).all(1, keepdim=True)
        return same * (1 - self.cloth[:, before]) * (1 - self.cloth[:, after])

    def edits(self, before: int, after: int) -> Edits:
        """The edit from garment ``before`` to garment ``after`` of every group."""
        return Edits(
            person=self.person[:, before],
            garment=self.garment[:, after],
            worn=self.person[:, after],
            place=self.place[:, after],
            from_garment=self.cloth[:, after],
            from_person=self.kept(before, after),
        )


def group_specs(seed: int) -> list[PairSpec]:
    """The group's pairs: each with its own garment, all with the body and scene of the first."""
    drawn = [draw_pair(GARMENTS * seed + i) for i in range(GARMENTS)]
    return [replace(drawn[0], garment=d.garment, flat=d.flat) for d in drawn]


def draw_groups(seeds: Sequence[int]) -> Groups:
    """Draw the groups of ``seeds``; group s uses the seeds 4 s to 4 s + 3 of `spec.draw_pair`."""
    pairs = draw_pairs([spec for seed in seeds for spec in group_specs(seed)])

    def grouped(x: Tensor) -> Tensor:
        return x.unflatten(0, (-1, GARMENTS))

    return Groups(grouped(pairs.person), grouped(pairs.reference), grouped(pairs.truth), grouped(pairs.visible))


def edit_of(groups: Groups, index: int, before: int, after: int) -> Edits:
    """One edit of one group, a batch of 1."""
    one = Groups(*(x[index : index + 1] for x in (groups.person, groups.garment, groups.place, groups.cloth)))
    return one.edits(before, after)


def training_groups(first: int, count: int) -> range:
    """Seeds of ``count`` groups from ``first`` on, which hold training pairs only.

    Raises:
        ValueError: they would reach into the held-out pairs.
    """
    if first < 0 or GARMENTS * (first + count) > HELD_OUT:
        raise ValueError(
            f"training groups {first} to {first + count - 1} reach beyond {HELD_OUT // GARMENTS}, where the held-out ones begin"
        )
    return range(first, first + count)


def held_out_groups(first: int, count: int) -> range:
    """Seeds of ``count`` held-out groups from the ``first`` of them on, which hold no training pair."""
    seeds = range(-(-HELD_OUT // GARMENTS) + first, -(-HELD_OUT // GARMENTS) + first + count)
    assert all(is_held_out(GARMENTS * seed) for seed in seeds)
    return seeds
