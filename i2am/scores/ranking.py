"""Which layers and heads to believe: those that point where the same detail is found by other means.

For every match of a detail on both pictures, the generated patch's SRAM of one layer, or of one of its heads, peaks within
`pointing.NEAR` tokens of the matched place or does not. In published work such accuracies tell good try-ons from bad ones; here
they tell layers that say where something came from from those that locate, copy styles, or serve as sinks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from ..errors import I2AMError, UnavailableError
from ..geometry.cells import cells_at
from ..geometry.resample import Size
from ..levels.available import is_single
from ..levels.choice import EVERYTHING, Choice
from ..levels.patch import asked_grid, sram
from ..levels.presets import preset_of
from ..levels.selection import select
from ..maps.value import AttributionMaps
from .pointing import NEAR, Match

LEAST = 0.8
"""A layer is believed from this part of the best layer's accuracy on."""
ABOVE_CHANCE = 2.0
"""And from this multiple of what peaks at random would reach."""
ACCURACY, SHARPNESS, EFFECT = "accuracy", "sharpness", "effect when cut"
ORDERS = (ACCURACY, SHARPNESS, EFFECT)
FEW = 30
"""Fewer matches than this say little about a layer."""


@dataclass(frozen=True)
class Pointing:
    """How well a layer points, or one of its heads.

    Attributes:
        layer: its name.
        head: counted from 0; None: the mean over its heads.
        right: matches whose patch peaks near the matched place.
        matches: of how many.
        peak: the median patch's peak, as a multiple of a uniform map.
        chance: the share of matches that a peak at a random token would get right.
        effect: how much the picture changes on average, from 0 to 1, if the layer alone loses sight of the reference; None:
            unknown.
    """

    layer: str
    head: int | None
    right: int
    matches: int
    peak: float
    chance: float
    effect: float | None = None

    @property
    def accuracy(self) -> float:
        """The share of matches, 0-1."""
        return self.right / self.matches


def pointing_of_layers(
    maps: AttributionMaps,
    matches: Sequence[Match],
    generated_size: Size,
    reference_size: Size,
    choice: Choice = EVERYTHING,
    *,
    heads: bool = False,
    near: int = NEAR,
) -> list[Pointing]:
    """How well each layer points, in the network's order, and behind each layer its heads if they are asked for.

    Layers that attend to a single token are left out.

    Args:
        maps: a recording with pairwise maps of each layer; for ``heads``, of each head.
        matches: at least one; pixels that the tokens do not cover are refused.
        generated_size: (H, W) of the picture that the matches' generated pixels are of.
        reference_size: (H, W) of the reference picture that theirs are of.
        choice: what to take of the recording; None for its layers means all that were recorded.
        heads: whether to look at each head too.
        near: in tokens of the reference, along rows and columns.

    Raises:
        LayoutError: a pixel lies outside of what the tokens cover.
        UnavailableError: there is no match, or no layer sees several tokens; or as `levels.patch.sram`.
    """
    if not matches:
        raise UnavailableError("no detail was found on both pictures, so nothing can be said of where layers look")
    chosen = select(maps, preset_of("default"), choice, side="SRAM", one_by_one=True)
    found = []
    for layer in chosen.layers:
        if is_single(layer, choice.reference):
            continue
        own = replace(choice, layers=(layer.name,))
        found.append(_pointing(maps, layer.name, None, matches, generated_size, reference_size, own, near))
        if heads:
            found += [
                _pointing(maps, layer.name, h, matches, generated_size, reference_size, replace(own, heads=(h,)), near)
                for h in chosen.heads_of(layer)
            ]
    if not found:
        raise UnavailableError("the layers attend to a single token, so none of them points at a place on the reference")
    return found


def _pointing(
    maps: AttributionMaps,
    layer: str,
    head: int | None,
    matches: Sequence[Match],
    generated_size: Size,
    reference_size: Size,
    choice: Choice,
    near: int,
) -> Pointing:
    asked, shown = asked_grid(maps, "reference", choice), asked_grid(maps, "generated", choice)
    queries = [cells_at([match.generated], generated_size, asked)[0] for match in matches]
    truth = [cells_at([match.reference], reference_size, shown)[0] for match in matches]
    cells = list(dict.fromkeys(queries))
    values = sram(maps, cells, "reference", choice, each=True).values
    where = {cell: divmod(int(value.argmax()), shown.columns) for cell, value in zip(cells, values, strict=True)}
    away = [max(abs(where[q][0] - row), abs(where[q][1] - column)) for q, (row, column) in zip(queries, truth, strict=True)]
    about = [_around(row, shown.rows, near) * _around(column, shown.columns, near) for row, column in truth]
    peaks = values.amax((1, 2)) / values.mean((1, 2)).clamp_min(torch.finfo(values.dtype).tiny)
    return Pointing(
        layer,
        head,
        right=sum(x <= near for x in away),
        matches=len(matches),
        peak=float(peaks.median()),
        chance=sum(about) / len(about) / (shown.rows * shown.columns),
    )


def _around(at: int, size: int, near: int) -> int:
    """How many of ``size`` places in a row lie within ``near`` of one."""
    return min(at + near, size - 1) - max(at - near, 0) + 1


def over_runs(runs: Iterable[Sequence[Pointing]]) -> list[Pointing]:
    """The same over several runs; layers in order of appearance.

    Matches are added up, peaks and chances averaged by them, effects over the runs that have one.
    """
    together: dict[tuple[str, int | None], list[Pointing]] = {}
    for run in runs:
        for one in run:
            together.setdefault((one.layer, one.head), []).append(one)
    found = []
    for (layer, head), several in together.items():
        count = sum(one.matches for one in several)
        peak, chance = (sum(getattr(one, name) * one.matches for one in several) / count for name in ("peak", "chance"))
        effects = [one.effect for one in several if one.effect is not None]
        mean = sum(effects) / len(effects) if effects else None
        found.append(Pointing(layer, head, sum(one.right for one in several), count, peak, chance, mean))
    return found


def ranked(found: Iterable[Pointing], by: str = ACCURACY) -> list[Pointing]:
    """The best first: by one of `ORDERS`, then by accuracy, then by how sharp they are; those without a figure last.

    Raises:
        I2AMError: there is no such order.
    """
    if by not in ORDERS:
        raise I2AMError(f"layers are ranked by {', '.join(map(repr, ORDERS))}, got {by!r}")
    own: Callable[[Pointing], float] = {
        ACCURACY: lambda one: one.accuracy,
        SHARPNESS: lambda one: one.peak,
        EFFECT: lambda one: -1.0 if one.effect is None else one.effect,
    }[by]
    return sorted(found, key=lambda one: (-own(one), -one.accuracy, -one.peak))


def believed(found: Sequence[Pointing]) -> tuple[str, ...]:
    """The layers that reach `LEAST` of the best one's accuracy and `ABOVE_CHANCE` times chance, in the network's order.

    Raises:
        UnavailableError: none does, so that no layer of this run says where something came from.
    """
    layers = [one for one in found if one.head is None]
    best = max((one.accuracy for one in layers), default=0.0)
    kept = tuple(one.layer for one in layers if one.accuracy >= max(LEAST * best, ABOVE_CHANCE * one.chance) and one.right)
    if not kept:
        raise UnavailableError(
            f"no layer points where the same detail is found on the reference more than {ABOVE_CHANCE:g} times as often as "
            f"chance (the best: {best:.0%} of {layers[0].matches if layers else 0} matches), so none can be recommended"
        )
    return kept
