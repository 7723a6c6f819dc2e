"""What a map does not tell because only some generated patches were recorded, or because pairs were pooled to cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..maps.facts import LayerInfo
from ..maps.value import AttributionMaps
from .selection import Selection

COMPARED = {"R2G": "a softmax over", "R2G-balanced": "votes split among"}
"""What the sides that compare generated patches do with them."""


def cut_notes(maps: AttributionMaps, side: str, selection: Selection, layers: Sequence[LayerInfo]) -> Iterator[str]:
    """What must be said of a side's map where only some generated patches were recorded; nothing where all were."""
    cut = next((x for x in layers if x.queries), None)
    if cut is None:
        return
    if side in COMPARED:
        yield f"{COMPARED[side]} the {cut.grid.placed} generated patches that were recorded, of {cut.queries}"
    if side == "G2R":
        error = g2r_error(maps, selection, layers)
        told = "unknown, as these are too few" if error is None else f"{100 * error:.2g} % on average"
        yield f"from {cut.grid.placed} of {cut.queries} generated patches: the standard error of a token's weight is {told}"


def g2r_error(maps: AttributionMaps, selection: Selection, layers: Sequence[LayerInfo]) -> float | None:
    """The standard error of G2R over all tokens as a share of its weight, at most; None if all patches were kept, or too few.

    Steps, heads and layers leave out the same patches, so their errors are not taken to cancel out.
    """
    errors, weights = [], []
    for layer in layers:
        key = layer.name, selection.branch, selection.reference
        if not maps.has("g2r_error", *key):
            return None
        errors.append(float(_mean(maps, maps.grouped("g2r_error", *key), selection).sum()))
        weights.append(float(maps.marginal("g2r", *key)[selection.image].mean((0, 1)).sum()))
    return sum(errors) / max(sum(weights), 1e-30)


def pooled_notes(maps: AttributionMaps, selection: Selection, layers: Sequence[LayerInfo]) -> Iterator[str]:
    """What must be said of an SRAM or mirror whose pairs were pooled; nothing where they were not."""
    if not any(x.cells for x in layers):
        return
    generated = max((x.grid for x in layers), key=lambda g: g.placed)
    reference = max((selection.reference_of(x).grid for x in layers), key=lambda g: g.placed)
    keys = [(x.name, selection.branch, selection.reference) for x in layers]
    apart = [float(_mean(maps, maps.grouped("spread", *key), selection)) for key in keys if maps.has("spread", *key)]
    spread = sum(apart) / len(apart) if apart else 0.0
    rows = f"; a patch's own row differs from its cell's by {100 * spread:.2g} % on average" if spread > 0 else ""
    yield (
        f"kept in {generated.rows} × {generated.columns} cells of the generated picture and {reference.rows} × "
        f"{reference.columns} of the reference{rows}"
    )


def _mean(maps: AttributionMaps, values: Tensor, selection: Selection) -> Tensor:
    """(images, groups, heads or 1, ...) to the mean over the heads and the steps of groups with a chosen step, (...)."""
    start, stop = selection.steps
    inside = [i for i, (a, b) in enumerate(maps.groups) if a < stop and b > start]
    count = torch.tensor([maps.steps_seen(maps.groups[i], selection.reference) for i in inside], dtype=torch.float32)
    own = values[selection.image, inside].mean(1)
    return (own * count.view(-1, *[1] * (own.ndim - 1))).sum(0) / count.sum().clamp_min(1)
