"""Does SRAM point home? The peak of every garment cell's SRAM against the token that the cell truly came from.

A cell of the generated picture counts where visible garment covers more than half of it. Its true token is
the one that holds the mean true place of its pixels: the continuous token coordinates x / 8 - 0.5, rounded.
The distance of two tokens is the greater of their distances in rows and in columns (Chebyshev), so "within 1"
means the right token or one of its eight neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from ...drawn.draw import DemoPairs
from ...drawn.places import GRID, true_places
from ...drawn.spec import REFERENCE
from ...errors import UnavailableError
from ...geometry.resample import bilinear, bilinear_rows
from ...levels.choice import Choice
from ...levels.grids import common_grid
from ...levels.presets import preset_of
from ...levels.selection import select
from ...maps.value import AttributionMaps
from ...models.demo.encoder import REFERENCE_GRID
from ..train.attention_loss import NEVER_SUPERVISED, SUPERVISED
from .baselines import best_affine, chance, same_place

FAMILIES: dict[str, tuple[str, ...] | None] = {
    "supervised": tuple(f"{name}.*" for name in SUPERVISED),
    "never_supervised": tuple(f"{name}.*" for name in NEVER_SUPERVISED),
    "all_layers": None,
}
"""Choices of layers whose figures are reported apart; None is all of them."""
WITHIN = (1, 2)


@lru_cache(maxsize=16)
def _mix(grid: tuple[int, int], common: tuple[int, int]) -> Tensor:
    """How each cell of the common grid mixes the rows of a layer's grid, (cells, rows * columns)."""
    return bilinear_rows([(a, b) for a in range(common[0]) for b in range(common[1])], grid, common)


def sram_rows(maps: AttributionMaps, layers: str | Sequence[str] | None = None, reference: int = 0) -> Tensor:
    """SRAM of every cell of the common grid at once: (images, cells, rows * columns of a reference).

    The same numbers as `i2am.sram` for each cell by the default preset, over all steps and heads.

    Raises:
        UnavailableError: a chosen layer was recorded without pairwise maps.
    """
    choice = Choice(layers=layers, reference=reference)
    selection = select(maps, preset_of("default"), choice)
    common, shown = common_grid(maps, "generated"), common_grid(maps, "reference", choice)
    heads = [len(selection.heads_of(layer)) for layer in selection.layers]
    seen = torch.tensor([maps.steps_seen(group) for group in maps.groups], dtype=torch.float32)
    total = torch.zeros(maps.images, common.placed, shown.placed)
    for layer, count in zip(selection.layers, heads, strict=True):
        grid = selection.reference_of(layer).grid
        pairs = maps.pairwise(layer.name, reference=reference).cpu().mean(2)  # (images, groups, N, S)
        pairs = torch.einsum("g,bgns->bns", seen / seen.sum(), pairs)[..., grid.leading :]
        rows = _mix((layer.grid.rows, layer.grid.columns), (common.rows, common.columns)) @ pairs
        if (grid.rows, grid.columns) != (shown.rows, shown.columns):
            placed = rows.reshape(-1, grid.rows, grid.columns)
            rows = bilinear(placed, (shown.rows, shown.columns)).reshape(*rows.shape[:2], -1)
            rows = rows * (grid.placed / shown.placed)
        total += rows * (count / sum(heads))
    return total


def peaks(rows: Tensor, grid: tuple[int, int] = REFERENCE_GRID) -> Tensor:
    """The token at which each cell's SRAM peaks: (images, cells, tokens of grid) to (images, cells, 2) as (row, column)."""
    if rows.shape[-1] != grid[0] * grid[1]:
        raise UnavailableError(f"expected SRAM on the {grid} reference grid, got {rows.shape[-1]} tokens")
    at = rows.argmax(-1)
    return torch.stack([at // grid[1], at % grid[1]], -1)


def true_tokens(pairs: DemoPairs, grid: tuple[int, int] = GRID) -> tuple[Tensor, Tensor]:
    """Each cell's true token, (B, cells, 2) as (row, column), and whether more than half is garment, (B, cells)."""
    places, share = true_places(pairs.truth, pairs.visible, grid)
    return tokens_of(places), (share > 0.5).flatten(1)


def tokens_of(places: Tensor) -> Tensor:
    """Places (B, 2, rows, columns) in pixels of the garment's picture to its tokens (row, column), (B, rows * columns, 2)."""
    rows, columns = REFERENCE_GRID
    x = (places[:, 0] / REFERENCE[1] * columns - 0.5).round().clamp(0, columns - 1)
    y = (places[:, 1] / REFERENCE[0] * rows - 0.5).round().clamp(0, rows - 1)
    return torch.stack([y, x], -1).flatten(1, 2).long()


@dataclass(frozen=True)
class Pointing:
    """Sums over garment cells: how many point within 1 and 2 tokens of home (expected counts for `chance`)."""

    within_1: float = 0.0
    within_2: float = 0.0
    cells: int = 0
    pairs: int = 0

    def __add__(self, other: Pointing) -> Pointing:
        return Pointing(
            self.within_1 + other.within_1,
            self.within_2 + other.within_2,
            self.cells + other.cells,
            self.pairs + other.pairs,
        )

    @classmethod
    def of(cls, found: Tensor, tokens: Tensor, covered: Tensor) -> Pointing:
        """Count the tokens ``found`` (B, cells, 2) against ``tokens`` (B, cells, 2) where ``covered`` (B, cells)."""
        away = (found - tokens).abs().amax(-1)
        near_1, near_2 = (float(((away <= w) & covered).sum()) for w in WITHIN)
        return cls(near_1, near_2, int(covered.sum()), len(tokens))

    @classmethod
    def by_chance(cls, tokens: Tensor, covered: Tensor, grid: tuple[int, int] = REFERENCE_GRID) -> Pointing:
        """What a uniformly random placed token of a grid is expected to score."""
        near_1, near_2 = (float((chance(tokens, w, grid) * covered).sum()) for w in WITHIN)
        return cls(near_1, near_2, int(covered.sum()), len(tokens))

    def shares(self) -> dict[str, float | int | None]:
        """``within_1`` and ``within_2`` as shares of the cells (None without any), and how many cells and pairs."""
        n = self.cells
        return {
            "within_1": self.within_1 / n if n else None,
            "within_2": self.within_2 / n if n else None,
            "cells": n,
            "pairs": self.pairs,
        }


@dataclass
class PointingTally:
    """Pointing by name, summed over batches."""

    sums: dict[str, Pointing] = field(default_factory=dict)

    def add(self, name: str, pointing: Pointing) -> None:
        """Add one batch's pointing to a name's sums."""
        self.sums[name] = self.sums.get(name, Pointing()) + pointing

    def figures(self, start: str = "") -> dict[str, dict[str, float | int | None]]:
        """The shares of every name that begins with ``start``, which is cut off."""
        return {name.removeprefix(start): p.shares() for name, p in self.sums.items() if name.startswith(start)}


def point(maps: AttributionMaps, pairs: DemoPairs, layers: str | Sequence[str] | None = None) -> Pointing:
    """Score the SRAM of a recorded batch against the true correspondence of its pairs."""
    return Pointing.of(peaks(sram_rows(maps, layers)), *true_tokens(pairs))


def guesses(pairs: DemoPairs) -> dict[str, Tensor]:
    """Where each cell came from by ``same_place`` and ``best_affine``, without any model: (B, cells, 2) each."""
    affine = best_affine(pairs.visible, pairs.reference_mask)
    return {"same_place": same_place().expand_as(affine), "best_affine": affine}


def baselines(pairs: DemoPairs, guessed: dict[str, Tensor] | None = None) -> dict[str, Pointing]:
    """``chance``, ``same_place`` and ``best_affine`` scored on the same cells; ``guessed`` as from `guesses`."""
    tokens, covered = true_tokens(pairs)
    guessed = guesses(pairs) if guessed is None else guessed
    scored = {name: Pointing.of(found, tokens, covered) for name, found in guessed.items()}
    return {"chance": Pointing.by_chance(tokens, covered), **scored}


@dataclass(frozen=True)
class Correspondence:
    """The figures of one recorded batch, by family of layers and by baseline."""

    families: dict[str, Pointing]
    baselines: dict[str, Pointing]

    def as_dict(self) -> dict[str, object]:
        """As JSON: all layers' ``within_1`` and ``within_2``, the families, and the baselines.

        ``chance``, ``same_place`` and ``best_affine`` are shares within 1 token; ``baselines`` holds them in full.
        """
        families = {name: pointing.shares() for name, pointing in self.families.items()}
        flat = {name: pointing.shares() for name, pointing in self.baselines.items()}
        return {
            **families.pop("all_layers"),
            **{name: shares["within_1"] for name, shares in flat.items()},
            **families,
            "baselines": flat,
        }


def correspondence_of(maps: AttributionMaps, pairs: DemoPairs) -> Correspondence:
    """Whether the SRAM of a recorded batch points home; ``pairs`` are drawn as the pictures ought to look."""
    return Correspondence({name: point(maps, pairs, layers) for name, layers in FAMILIES.items()}, baselines(pairs))
