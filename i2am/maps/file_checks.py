"""Whether a file's tensors are those that its description promises."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .facts import Facts, Key, LayerInfo
from .kinds import Kind, tensor_kinds


def check_stored(facts: Facts, tensors: Mapping[Key, Tensor]) -> None:
    """Refuse facts that contradict each other, and tensors other than those that they promise.

    Raises:
        ValueError: something is missing, unknown or of another shape.
    """
    _check_facts(facts)
    kinds = tensor_kinds()
    layers = {x.name: x for x in facts.layers}
    cells = {(layer, branch, reference) for _, layer, branch, reference in tensors}
    every = [(x, b, r) for x in layers for b in facts.branches for r in range(len(facts.references))]
    # an adapter need not be in all layers; what every layer attends to is
    slots = [s for s in every if s in cells or not facts.references[s[2]].softmax]
    needed = [name for name, kind in kinds.items() if not kind.optional]
    missing = [(kind, *s) for s in slots for kind in needed if (kind, *s) not in tensors]
    if missing or not slots:
        raise ValueError(f"there is no tensor for {missing[0] if missing else 'any layer'}")
    for (kind, name, branch, reference), tensor in tensors.items():
        if (name, branch, reference) not in slots or kind not in kinds:
            raise ValueError(f"there is a tensor for {(kind, name, branch, reference)}, which is not described")
        if list(tensor.shape) not in _shapes(facts, kinds[kind], layers[name], reference):
            raise ValueError(f"the tensor for {(kind, name, branch, reference)} has shape {tuple(tensor.shape)}")


def _shapes(facts: Facts, kind: Kind, layer: LayerInfo, reference: int) -> list[list[int]]:
    """The shapes that a tensor may have: (images, ranges, heads or 1, ...)."""
    n, s = layer.grid.placed, layer.references[reference].grid.tokens
    last = {"queries": [n], "tokens": [s], "pairs": [n, s]}[kind.along]
    ranges = len(facts.bins if kind.per == "step" else facts.groups)
    return [[facts.images, ranges, heads, *last] for heads in (1, layer.heads)]


def _check_facts(facts: Facts) -> None:
    for name in ("timesteps", "sigmas"):
        if not all(isinstance(x, (int, float)) for x in getattr(facts.run, name)):
            raise ValueError(f"{name} are numbers, got {getattr(facts.run, name)!r:.80}")
    for name, ranges in (("bins", facts.bins), ("groups", facts.groups)):
        if [a for a, _ in ranges] != [0, *(b for _, b in ranges[:-1])] or ranges[-1][1] != facts.run.steps:
            raise ValueError(f"{name} {ranges} do not fill {facts.run.steps} steps")
    if not set(facts.recorded) <= set(range(facts.run.steps)):
        raise ValueError(f"steps {facts.recorded} were recorded of {facts.run.steps}")
    if len(facts.active) != len(facts.references) or not all(set(steps) <= set(facts.recorded) for steps in facts.active):
        raise ValueError(f"references were attended to in steps {facts.active} of {facts.recorded}")
