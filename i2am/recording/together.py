"""Pairwise maps of all layers as one: their mean over layers and heads, added up while a step goes on."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from .call_maps import CallMaps


class Together:
    """The mean of one step's pairwise maps over the layers of its last evaluation, for each branch and reference."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int], tuple[Tensor, Tensor, int]] = {}

    def take(self, branch: str, calls: list[CallMaps], heads: int) -> None:
        """Move the pairs of one layer's calls here.

        Args:
            branch: of the calls.
            calls: one for each reference, which lose their pairs.
            heads: of the layer, its weight in the mean.
        """
        for reference, call in enumerate(calls):
            if call.pairwise is None:
                continue
            pairs = call.pairwise.mean(1, keepdim=True) * heads
            spread = pairs.new_zeros(len(pairs), 1) if call.spread is None else call.spread.mean(1, keepdim=True) * heads
            if (branch, reference) in self._sums:
                known, apart, count = self._sums[branch, reference]
                self._sums[branch, reference] = known.add_(pairs), apart.add_(spread), count + heads
            else:
                self._sums[branch, reference] = pairs, spread, heads
            call.pairwise = call.spread = None

    def end_step(self) -> dict[tuple[str, int], tuple[Tensor, Tensor]]:
        """The step's means: pairs (B, 1, N, S) and spread (B, 1) of each branch and reference; the next step starts anew."""
        found = {key: (pairs / heads, spread / heads) for key, (pairs, spread, heads) in self._sums.items()}
        self._sums = {}
        return found

    def discard(self, branches: Collection[str]) -> None:
        """Drop what the step has of these branches."""
        self._sums = {key: found for key, found in self._sums.items() if key[0] not in branches}

    def clear(self) -> None:
        """Drop everything."""
        self._sums = {}
