"""Random batches of edits, in parts that share which references they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ....drawn.groups import EDITS
from ....models.edit.sampling import shifted

DROP = 0.1
"""Share of the samples without the person, and of those without the garment; half of each lack both."""


@dataclass(frozen=True)
class Given:
    """Which references a sample has, and their position indices."""

    person: bool
    garment: bool
    indices: tuple[int, ...]


BOTH, NONE, PERSON = Given(True, True, (1, 2)), Given(False, False, ()), Given(True, False, (1,))
GARMENT_FIRST, GARMENT_SECOND = Given(False, True, (1,)), Given(False, True, (2,))
"""Alone, the garment is the first reference of a run; where the person was only cut out of it, still the second."""


@dataclass(frozen=True)
class Part:
    """Samples of a batch that have the same references; (B, …) each, see `shards.group_rows`."""

    given: Given
    person: Tensor
    garment: Tensor
    worn: Tensor
    place: Tensor
    cloth: Tensor
    cover: Tensor
    kept: Tensor
    noise: Tensor
    sigma: Tensor

    @property
    def references(self) -> list[Tensor]:
        """Latents of the references that the samples have."""
        return [x for x, given in ((self.person, self.given.person), (self.garment, self.given.garment)) if given]

    @property
    def noisy(self) -> Tensor:
        """The network's input."""
        s = self.sigma.view(-1, 1, 1, 1)
        return (1 - s) * self.worn + s * self.noise


def given_by(chance: float) -> Given:
    """Which references a sample has, by a number that was drawn evenly from 0-1."""
    share = DROP / 2
    if chance < share:
        return NONE
    if chance < 2 * share:
        return PERSON
    if chance < 3 * share:
        return GARMENT_FIRST if chance < 2.5 * share else GARMENT_SECOND
    return BOTH


def draw_batch(shards: Sequence[dict[str, Tensor]], count: int, seed: int, rank: int = 0, ranks: int = 1) -> list[Part]:
    """Rank ``rank``'s share of the batch of ``count`` edits that ``seed`` and ``shards`` stand for."""
    rng = torch.Generator().manual_seed(seed)
    where = torch.rand(count, 3, generator=rng)
    chance = torch.rand(count, generator=rng).tolist()
    sigma = shifted((torch.arange(count) + torch.rand(count, generator=rng)) / count)  # spread evenly over a batch
    noise = torch.randn(count, *shards[0]["person"].shape[2:], generator=rng)
    rows: dict[Given, list[dict[str, Tensor]]] = {}
    for i in range(rank, count, ranks):
        data = shards[int(where[i, 0] * len(shards))]
        group, edit = int(where[i, 1] * len(data["person"])), int(where[i, 2] * len(EDITS))
        before, after = EDITS[edit]
        row = {name: data[name][group, after] for name in ("garment", "place", "cloth", "cover")}
        row |= {"person": data["person"][group, before], "worn": data["person"][group, after]}
        row |= {"kept": data["kept"][group, edit], "noise": noise[i], "sigma": sigma[i]}
        rows.setdefault(given_by(chance[i]), []).append(row)
    return [Part(given, **{k: torch.stack([r[k].float() for r in part]) for k in part[0]}) for given, part in rows.items()]
