"""Means over steps, and the label of a range of steps."""

from __future__ import annotations

from operator import index

import torch
from torch import Tensor

from ..errors import UnavailableError, shown
from ..geometry.resample import even_ranges
from ..maps.facts import LayerInfo, Range
from ..maps.kinds import tensor_kinds
from ..maps.value import AttributionMaps
from .selection import Selection


def time_mean(maps: AttributionMaps, kind: str, layer: LayerInfo, selection: Selection, steps: Range) -> Tensor:
    """(heads chosen, ...): the mean over the recorded steps of a range."""
    key, by_step = (layer.name, selection.branch, selection.reference), kind in tensor_kinds("step")
    values = (maps.marginal if by_step else maps.grouped)(kind, *key)[selection.image]
    ranges = maps.bins if by_step else maps.groups
    inside = whole_ranges(ranges, steps, "marginal maps" if by_step else "maps by time group")
    count = torch.tensor([maps.steps_seen(ranges[i], selection.reference) for i in inside], dtype=torch.float32)
    if not count.sum():
        raise UnavailableError(
            f"none of the steps {steps[0]} to {steps[1]} was recorded: the run did not do them, or not with this reference"
        )
    mean = (values[inside] * count.view(-1, *[1] * (values.ndim - 1))).sum(0) / count.sum()
    return chosen_heads(mean, layer, selection)


def time_groups(maps: AttributionMaps, selection: Selection, groups: int, chosen: bool) -> tuple[list[Range], tuple[str, ...]]:
    """The chosen steps as time groups, half-open and as even as possible; if none were ``chosen``, those that were recorded.

    Fewer steps than groups make one group each, and a note says so.

    Raises:
        UnavailableError: ``groups`` is less than 1, or no whole number.
    """
    try:
        groups = index(groups)
    except TypeError:
        raise UnavailableError(f"time groups are counted in whole numbers, such as 5, got {shown(repr(groups), 100)}") from None
    start, stop = selection.steps
    if not chosen:  # a run that started late or stopped early
        start = next(a for a, b in maps.bins if a <= maps.recorded[0] < b)
        stop = next(b for a, b in maps.bins if a <= maps.recorded[-1] < b)
    if groups < 1:
        raise UnavailableError(f"{groups} time groups were asked for; ask for 1 or more")
    ranges = [(start + low, start + high) for low, high in even_ranges(stop - start, min(groups, stop - start))]
    if groups <= stop - start:
        return ranges, ()
    which = "chosen" if chosen else "recorded"
    note = f"{groups} time groups were asked for, the {which} steps {start} to {stop} make {stop - start}: one panel per step"
    return ranges, (note,)


def chosen_heads(values: Tensor, layer: LayerInfo, selection: Selection) -> Tensor:
    """(heads, ...) to the chosen heads."""
    if selection.heads is None:
        return values
    if len(values) != layer.heads:
        raise UnavailableError(
            f"only the mean over heads of layer {layer.name!r} was kept; leave out the choice of heads, or record again "
            f"with more memory or per head"
        )
    return values[list(selection.heads_of(layer))]


def steps_label(maps: AttributionMaps, steps: Range) -> str:
    """Such as "steps 0–9 · σ 14.6–5.3": the range's first and last step, and their noise levels or timesteps if known."""
    seen = [step for step in maps.recorded if steps[0] <= step < steps[1]]  # a run may start late or stop early
    first, last = (seen[0], seen[-1]) if seen else (steps[0], steps[1] - 1)
    label = f"steps {first}–{last}" if last > first else f"step {first}"
    for sign, known in (("σ", maps.run.sigmas), ("t", maps.run.timesteps)):
        if len(known) > last:
            a, b = known[first], known[last]
            return f"{label} · {sign} {a:.3g}–{b:.3g}" if last > first else f"{label} · {sign} {a:.3g}"
    return label


def whole_ranges(ranges: tuple[Range, ...], wanted: Range, what: str) -> list[int]:
    """Indices of the ``ranges`` that together make up ``wanted``.

    Raises:
        UnavailableError: ``wanted`` is not a union of them.

    >>> whole_ranges(((0, 10), (10, 20), (20, 30)), (10, 30), "pairwise maps")
    [1, 2]
    """
    inside = [i for i, (a, b) in enumerate(ranges) if a >= wanted[0] and b <= wanted[1]]
    if not inside or ranges[inside[0]][0] != wanted[0] or ranges[inside[-1]][1] != wanted[1]:
        kept = ", ".join(f"{a}-{b}" for a, b in ranges)
        raise UnavailableError(
            f"steps {wanted[0]} to {wanted[1]} are not a union of the step ranges for which {what} were kept ({kept}, "
            f"half-open); choose steps that begin and end where these do, such as {ranges[0][0]}:{ranges[0][1]}"
        )
    return inside
