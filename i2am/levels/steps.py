"""Means over steps, and the label of a range of steps."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UnavailableError
from ..maps.facts import LayerInfo, Range
from ..maps.value import AttributionMaps
from .selection import Selection


def time_mean(maps: AttributionMaps, kind: str, layer: LayerInfo, selection: Selection, steps: Range) -> Tensor:
    """(heads chosen, length): the mean over the recorded steps of a range."""
    values = maps.marginal(kind, layer.name, selection.branch, selection.reference)[selection.image]
    inside = whole_ranges(maps.bins, steps, "marginal maps")
    count = torch.tensor([maps.steps_seen(maps.bins[i], selection.reference) for i in inside], dtype=torch.float32)
    if not count.sum():
        raise UnavailableError(
            f"none of the steps {steps[0]} to {steps[1]} was recorded: the run did not do them, or not with this reference"
        )
    mean = (values[inside] * count.view(-1, 1, 1)).sum(0) / count.sum()
    return chosen_heads(mean, layer, selection)


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
