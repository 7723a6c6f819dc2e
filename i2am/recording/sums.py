"""Sums of a run's calls over ranges of steps, kind by kind, which become the run's maps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..maps.facts import TOGETHER, Key, LayerInfo
from ..maps.kinds import Kind, tensor_kinds
from .arithmetic import of_call
from .budget import Plan
from .call_maps import CallMaps

PADDED = {"rest": -2, "words": -1, "words by queries": -2}
"""Axes that may be longer in one call than in another, by what kinds are along."""
Where = tuple[str, str, int]
"""(layer name, branch, reference index)"""


class Sums:
    """Adds calls up as a `Plan` says: (images, ranges, heads or 1, ...) for every kind, layer, branch and reference."""

    def __init__(self) -> None:
        self._sums: dict[Key, Tensor] = {}

    def add(self, where: Where, call: CallMaps, step: int, plan: Plan) -> None:
        """Add one step's call to the sums."""
        at = {"step": _range_of(step, plan.bins), "group": _range_of(step, plan.groups)}
        count = {"step": len(plan.bins), "group": len(plan.groups)}
        for name, kind in tensor_kinds().items():
            if kind.merge != "mean" or (kind.paired and where[0] not in plan.pairwise_layers):
                continue
            value = of_call(name, call)
            if value is None:
                continue
            value = value.cpu()
            if kind.along in PADDED:
                value = self._padded((name, *where), value, PADDED[kind.along])
            by_head = plan.pairwise == "heads" if kind.paired else plan.marginal_heads
            if not (by_head and kind.by_head) and value.shape[1] > 1:
                value = value.mean(1, keepdim=True)
            self._sum((name, *where), value, count[kind.per])[:, at[kind.per]] += value
        self._add_peak(where, call, at["group"], plan)

    def add_together(self, branch: str, reference: int, pairs: Tensor, spread: Tensor, step: int, plan: Plan) -> None:
        """Add one step's pairs of all layers together, (B, 1, N, S), and their spread, (B, 1); see `Plan.together`."""
        for name, value in (("pairwise", pairs.cpu()), ("spread", spread.cpu())):
            at = _range_of(step, plan.groups)
            self._sum((name, TOGETHER, branch, reference), value, len(plan.groups))[:, at] += value

    def add_words(self, branch: str, maps: Tensor, step: int, plan: Plan) -> None:
        """Add one step's maps of words of all layers together, (B, 1, T, N); see `word_maps`."""
        key: Key = ("word_maps", TOGETHER, branch, 0)
        value = self._padded(key, maps.cpu(), PADDED["words by queries"])
        self._sum(key, value, len(plan.groups))[:, _range_of(step, plan.groups)] += value

    def drop(self, key: Key) -> bool:
        """Drop the sum under a key; returns whether there was one."""
        return self._sums.pop(key, None) is not None

    def _add_peak(self, where: Where, call: CallMaps, group: int, plan: Plan) -> None:
        """Keep the largest single value of A^r over the group's steps, and its place."""
        if call.peak_value is None or call.peak_index is None:
            return
        value, index = call.peak_value.cpu(), call.peak_index.cpu()
        if not plan.marginal_heads:
            value, head = value.max(1, keepdim=True)
            index = index.gather(1, head)
        best = self._sum(("peak_value", *where), value, len(plan.groups))
        place = self._sum(("peak_index", *where), index, len(plan.groups))
        higher = value > best[:, group]
        best[:, group] = torch.where(higher, value, best[:, group])
        place[:, group] = torch.where(higher, index, place[:, group])

    def _sum(self, key: Key, like: Tensor, ranges: int) -> Tensor:
        """The sum stored under ``key``, made at first use."""
        if key not in self._sums:
            self._sums[key] = torch.zeros((like.shape[0], ranges, *like.shape[1:]), dtype=like.dtype)
        return self._sums[key]

    def _padded(self, key: Key, value: Tensor, axis: int) -> Tensor:
        """A value and the sum under ``key`` with as many parts as either has along an axis: later ones are added at the end."""
        known = self._sums.get(key)
        most = max(value.shape[axis], 0 if known is None else known.shape[axis])
        if known is not None:
            self._sums[key] = with_parts(known, most, axis)
        return with_parts(value, most, axis)

    def means(self, plan: Plan, layers: Mapping[str, LayerInfo], steps: Mapping[int, set[int]]) -> dict[Key, Tensor]:
        """The sums, divided in place by the number of steps seen in each range.

        Args:
            plan: the one that was used to add the calls.
            layers: by name.
            steps: the steps that each softmax was seen in.
        """
        kinds = tensor_kinds()
        for (name, layer, branch, reference), total in list(self._sums.items()):
            if kinds[name].along == "rest":
                total = self._sums[name, layer, branch, reference] = with_parts(total, len(layers[layer].rest), -2)
            if kinds[name].merge != "mean":
                continue
            seen = steps[0 if layer == TOGETHER else layers[layer].references[reference].softmax]
            ranges = _ranges_of(kinds[name], plan)
            counts = torch.tensor([sum(s in seen for s in range(a, b)) for a, b in ranges], dtype=torch.float32)
            total /= counts.clamp_min(1).view(1, -1, *([1] * (total.ndim - 2)))
        return self._sums

    def keep(self, places: set[Where], without_text: set[tuple[str, str]]) -> None:
        """Drop the sums of all other places, and the text's own in these (layer, branch)."""
        texts = {name for name, kind in tensor_kinds().items() if kind.by_text}
        self._sums = {
            key: total
            for key, total in self._sums.items()
            if key[1:] in places and not (key[0] in texts and key[1:3] in without_text)
        }

    def clear(self) -> None:
        """Drop everything."""
        self._sums.clear()


def with_parts(values: Tensor, count: int, axis: int) -> Tensor:
    """A tensor with ``count`` parts along an axis, counted from the end: further ones are 0."""
    missing = count - values.shape[axis]
    if not missing:
        return values
    size = list(values.shape)
    size[axis] = missing
    return torch.cat([values, values.new_zeros(size)], axis)


def _ranges_of(kind: Kind, plan: Plan) -> tuple[tuple[int, int], ...]:
    return plan.bins if kind.per == "step" else plan.groups


def _range_of(step: int, ranges: tuple[tuple[int, int], ...]) -> int:
    return next(i for i, (a, b) in enumerate(ranges) if a <= step < b)
