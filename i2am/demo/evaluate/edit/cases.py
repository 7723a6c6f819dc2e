"""The held-out edits that the edit model is measured on, and what is true of each patch of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ....drawn.draw import draw_pairs
from ....drawn.groups import GARMENTS, Edits, Groups, group_specs, held_out_groups
from ....drawn.places import true_places
from ....drawn.seeds import is_held_out
from ....drawn.spec import PairSpec
from ....models.edit.family import GRID
from ...train.edit import watch
from ...train.edit.shards import SHARD
from ..correspondence import tokens_of

FIRST, FIRST_CHOICE = 0, 100_000
"""First held-out group of those that are measured, and of those on which blocks and threshold are chosen."""
EDIT = (0, 1)
"""Which edit of each group: from its first garment to its second."""


@dataclass(frozen=True)
class EditBatch:
    """A batch of edits: the groups' seeds, the persons in the garments that they should come to wear, and the pictures."""

    seeds: list[int]
    wanted: list[PairSpec]
    edits: Edits

    @classmethod
    def draw(cls, seeds: Sequence[int]) -> EditBatch:
        """The edits of these groups, of whose garments only these two are drawn."""
        specs = [[group_specs(seed)[garment] for garment in EDIT] for seed in seeds]
        drawn = draw_pairs([spec for two in specs for spec in two])
        parts = (drawn.person, drawn.reference, drawn.truth, drawn.visible)
        groups = Groups(*(part.unflatten(0, (-1, len(EDIT))) for part in parts))
        return cls([*seeds], [after for _, after in specs], groups.edits(0, 1))


@dataclass(frozen=True)
class Truth:
    """What is true of each patch of a batch's pictures, 16 x 12, row by row.

    Attributes:
        garment: (B, 192) whether more than half of it is garment that the garment's picture shows.
        person: (B, 192) whether more than half of it stays as it is on the person's picture. Patches of neither kind, of
            revealed skin and trousers and at edges, are left out of every figure on maps.
        token: (B, 192, 2) the true patch (row, column) of the garment's picture, where ``garment``.
    """

    garment: Tensor
    person: Tensor
    token: Tensor

    @classmethod
    def of(cls, edits: Edits) -> Truth:
        """Of a batch of edits."""
        place, cloth = true_places(edits.place, edits.from_garment, GRID)
        kept = F.adaptive_avg_pool2d(edits.from_person, GRID)
        return cls(cloth.flatten(1) > 0.5, kept.flatten(1) > 0.5, tokens_of(place))

    @classmethod
    def joined(cls, parts: Iterable[Truth]) -> Truth:
        """Of several batches."""
        parts = [*parts]
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @property
    def told(self) -> Tensor:
        """(B, 192) patches of which it is known which reference they come from."""
        return self.garment | self.person


def check_apart(measured: range, chosen: range, about: dict[str, Any]) -> None:
    """Refuse groups that the model was trained on, or watched with, or that are measured as well as chosen by.

    Args:
        measured: seeds of the groups that are measured.
        chosen: seeds of the groups on which blocks and threshold are chosen.
        about: what the weights say of their training.

    Raises:
        ValueError: a group has a trained pair, or belongs to two of them.
    """
    trained = int(about.get("recipe", {}).get("shards", 0)) * SHARD
    for seed in (*measured, *chosen):
        if seed < trained or not all(is_held_out(GARMENTS * seed + i) for i in range(GARMENTS)):
            raise ValueError(
                f"group {seed} belongs to training; the groups from {held_out_groups(0, 1).start} on are held out, and the "
                f"weights were trained on those before {trained}"
            )
    watched = held_out_groups(watch.FIRST, watch.COUNT)
    for one, other, what in (
        (measured, chosen, "measured and chosen by"),
        (measured, watched, "measured and watched"),
        (chosen, watched, "chosen by and watched"),
    ):
        both = set(one) & set(other)
        if both:
            raise ValueError(f"{len(both)} groups from {min(both)} on are {what}; take fewer pairs, or others")
