"""Fits what is kept of a run into one memory budget, and says what had to be coarsened."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..geometry.resample import even_ranges

FLOAT = 4
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LayerCost:
    """Memory cost of a layer for one branch and image, in floats.

    Attributes:
        name: of the layer.
        heads: its number.
        marginal: per step and head.
        grouped: per group and head.
        pairwise: per group and head of the pairwise maps.
        mean: per group, kept of the mean over heads alone.
        shape: of its pairwise maps, where they may be kept as their mean over layers of the same shape; empty: they may not.
    """

    name: str
    heads: int
    marginal: int
    grouped: int
    pairwise: int
    mean: int = 0
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """How a run is kept: step ranges of marginals and groups, heads kept or averaged, and which layers keep pairwise maps.

    ``together``: pairwise maps are kept as their mean over these layers. ``words``: numbers of the maps of words of all layers
    together, per group; 0: none are kept.
    """

    bins: Ranges
    groups: Ranges
    marginal_heads: bool
    pairwise: str | None
    pairwise_layers: frozenset[str]
    notes: tuple[str, ...]
    together: bool = False
    words: int = 0


def plan(
    costs: list[LayerCost], *, steps: int, groups: int, pairwise: str | None, copies: int, budget: int, words: int = 0
) -> Plan:
    """Choose the finest plan that stays within ``budget`` bytes.

    Marginal maps merge steps, down to one range per time group, then heads. Only then do pairwise maps go from per head
    to their mean over heads, to their mean over layers where all have the same shape, to one time group, and are dropped
    layer by layer, the largest first. Then maps of words go to one time group, and are dropped. Finally, marginal maps merge
    steps across groups. Memory freed beyond need goes back to the marginal maps: to heads, then to steps.

    Args:
        costs: one entry per layer.
        steps: T.
        groups: time groups wanted.
        pairwise: None, "mean" or "heads".
        copies: branches x images.
        budget: bytes.
        words: numbers of the maps of words of all layers together, per group, image and branch; 0: none are wanted.
    """
    keep = [c.name for c in costs] if pairwise else []
    asked = words
    groups = min(groups, steps)
    stride, per_head, wanted = 1, True, (even_ranges(steps, groups), pairwise)
    longest = max(b - a for a, b in wanted[0])
    dropped: list[str] = []
    together = False

    def chosen(by_head: bool, span: int) -> Plan:
        return Plan(
            _bins(wanted[0], span),
            even_ranges(steps, groups),
            by_head,
            pairwise if keep else None,
            frozenset(keep),
            (),
            together,
            words,
        )

    def total(by_head: bool, span: int) -> int:
        return bytes_of(chosen(by_head, span), costs, copies)

    while total(per_head, stride) > budget:
        if stride < longest:
            stride = min(stride * 2, longest)
        elif per_head:
            per_head = False
        elif pairwise == "heads":
            pairwise = "mean"
        elif len(keep) > 1 and not together and len({c.shape for c in costs}) == 1 and costs[0].shape:
            together = True
        elif groups > 1 and (keep or words):
            groups = 1
        elif keep and together:
            dropped, keep, together = keep, [], False
        elif keep:
            largest = max((c for c in costs if c.name in keep), key=lambda c: c.pairwise)
            keep.remove(largest.name)
            dropped.append(largest.name)
        elif words:
            words = 0
        elif stride < steps:
            stride = min(stride * 2, steps)
        else:
            break
    per_head, stride = next((w for w in _finer(per_head, stride) if total(*w) <= budget), (per_head, stride))
    notes = []
    size = f"the memory budget of {budget / 1e6:.3g} MB"
    if stride > 1:
        notes.append(f"{size} was short: marginal maps are kept per {stride} steps instead of per step")
    if not per_head:
        notes.append(f"{size} was short: marginal maps are kept as their mean over heads")
    if pairwise != wanted[1]:
        notes.append(f"{size} was short: pairwise maps are kept as their mean over heads")
    if together:
        notes.append(
            f"{size} was short: pairwise maps are kept as their mean over layers; record fewer layers or fewer cells to have "
            f"them layer by layer"
        )
    if groups != len(wanted[0]):
        kinds = " and ".join([*(["pairwise maps"] if wanted[1] else []), *(["maps of words"] if asked else [])])
        notes.append(f"{size} was short: {kinds} are kept for one time group instead of {len(wanted[0])}")
    if dropped:
        notes.append(f"{size} was short: no pairwise maps of {', '.join(dropped)}")
    if words < asked:
        notes.append(f"{size} was short: no maps of words, which take {asked * FLOAT * copies / 1e6:.3g} MB")
    least = total(per_head, stride)
    if least > budget:
        notes.append(f"even the coarsest maps take {least / 1e6:.3g} MB, more than {size}")
    return replace(chosen(per_head, stride), notes=tuple(notes))


def bytes_of(chosen: Plan, costs: list[LayerCost], copies: int) -> int:
    """Bytes of a whole run kept as planned; ``copies``: branches x images."""
    floats, pairs = 0, 0
    for c in costs:
        heads = c.heads if chosen.marginal_heads else 1
        floats += len(chosen.bins) * heads * c.marginal + len(chosen.groups) * (heads * c.grouped + c.mean)
        if c.name in chosen.pairwise_layers:
            own = len(chosen.groups) * (c.heads if chosen.pairwise == "heads" else 1) * c.pairwise
            pairs = own if chosen.together else pairs + own
    return (floats + pairs + len(chosen.groups) * chosen.words) * FLOAT * copies


def joined(chosen: Plan, costs: list[LayerCost], name: str, *, pairwise: str | None, copies: int, budget: int) -> Plan:
    """The plan with one more layer, first seen after it was made; the layer gets pairwise maps if there is room.

    Args:
        chosen: the plan so far, already applied to earlier steps.
        costs: of all layers, including the new one.
        name: the new layer.
        pairwise: what was asked for: None, "mean" or "heads".
        copies: branches x images.
        budget: bytes.
    """
    late, size = f"{name}, first seen in a later step", f"the memory budget of {budget / 1e6:.3g} MB"
    grown = replace(chosen, pairwise=chosen.pairwise or pairwise, pairwise_layers=chosen.pairwise_layers | {name})
    if pairwise is not None and bytes_of(grown, costs, copies) <= budget:
        return grown
    notes = [f"{size} was short: no pairwise maps of {late}"] if pairwise is not None else []
    total = bytes_of(chosen, costs, copies)
    if total > budget:
        notes.append(f"with {late}, the maps take {total / 1e6:.3g} MB, more than {size}")
    return replace(chosen, notes=(*chosen.notes, *notes))


def _finer(per_head: bool, stride: int) -> list[tuple[bool, int]]:
    """Ways to keep marginal maps, (per head, most steps per range), the finest first, down to the given one."""
    strides = sorted({2**i for i in range(stride.bit_length())} | {stride})
    return [(heads, steps) for heads in ((True,) if per_head else (True, False)) for steps in strides]


def _bins(groups: Ranges, stride: int) -> Ranges:
    """Ranges of at most ``stride`` steps; every group is a union of them unless ``stride`` exceeds the longest group."""
    if stride > max(b - a for a, b in groups):
        return even_ranges(groups[-1][1], -(-groups[-1][1] // stride))
    return tuple((a + low, a + high) for a, b in groups for low, high in even_ranges(b - a, -(-(b - a) // stride)))
