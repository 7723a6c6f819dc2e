"""Which layers, heads, steps, branch, reference and image of a recording a map is made of."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UnavailableError
from ..geometry.layout import Reference
from ..maps.facts import LayerInfo, Range
from ..maps.value import AttributionMaps
from .presets import Preset

OVER_REFERENCE = ("G2R", "SRAM", "mirror")
"""Sides that are made of A^r over the reference's places."""


@dataclass(frozen=True)
class Selection:
    """A checked choice; layers are in network order."""

    layers: tuple[LayerInfo, ...]
    heads: tuple[int, ...] | None
    steps: Range
    branch: str
    reference: int
    image: int

    def reference_of(self, layer: LayerInfo) -> Reference:
        """The reference as this layer sees it."""
        return layer.references[self.reference]

    def heads_of(self, layer: LayerInfo) -> tuple[int, ...]:
        """The chosen heads that this layer has."""
        return tuple(range(layer.heads)) if self.heads is None else tuple(h for h in self.heads if h < layer.heads)


def select(
    maps: AttributionMaps,
    preset: Preset,
    *,
    side: str = "R2G",
    over_time: bool = False,
    branch: str = "cond",
    reference: int = 0,
    image: int = 0,
    layers: str | Sequence[str] | None = None,
    heads: Sequence[int] | None = None,
    steps: Range | None = None,
) -> Selection:
    """Check a choice against what was recorded, for maps of a side; see `levels.ulam`.

    Raises:
        UnavailableError: something chosen does not exist, with what does.
    """
    if branch not in maps.branches:
        raise UnavailableError(f"branch {branch!r} was not recorded; recorded: {', '.join(maps.branches)}")
    if not 0 <= reference < len(maps.references):
        raise UnavailableError(f"reference {reference} does not exist; the run had {len(maps.references)}, counted from 0")
    if not 0 <= image < maps.images:
        raise UnavailableError(f"image {image} does not exist; the run had {maps.images}, counted from 0")
    chosen = _attending(maps, _layers(maps, preset, layers, side, over_time), branch, reference)
    if heads is not None:
        most = max(x.heads for x in chosen)
        bad = [h for h in heads if not 0 <= h < most]
        if bad or not heads:
            raise UnavailableError(f"heads {list(heads)} were asked for; the chosen layers have heads 0 to {most - 1}")
        heads = tuple(dict.fromkeys(heads))
        chosen = tuple(x for x in chosen if any(h < x.heads for h in heads))
    start, stop = (0, maps.run.steps) if steps is None else steps
    if not 0 <= start < stop <= maps.run.steps:
        raise UnavailableError(
            f"steps {start} to {stop} were asked for; the run has steps 0 to {maps.run.steps}, both half-open: choose "
            f"first:stop in them, such as 0:{maps.run.steps}"
        )
    return Selection(chosen, heads, (start, stop), branch, reference, image)  # type: ignore[arg-type]


def _layers(
    maps: AttributionMaps, preset: Preset, patterns: str | Sequence[str] | None, side: str, over_time: bool
) -> tuple[LayerInfo, ...]:
    if patterns is None:
        theirs = ("always", "over time") if over_time else ("always",)
        own = tuple(x for x in maps.layers if preset.official_layers and x.official in theirs)
        if own and side in OVER_REFERENCE:
            return own
        kept = (x for x in maps.layers if not (own and x.beside))
        chosen = tuple(x for x in kept if preset.middle or not x.middle)
        return chosen or maps.layers
    patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    names = [x.name for x in maps.layers]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UnavailableError(f"no recorded layer matches {pattern!r}; recorded are: {', '.join(names)}")
    if not patterns:
        raise UnavailableError("an empty list of layers was given; leave it out for all of them")
    return tuple(x for x in maps.layers if any(fnmatch.fnmatchcase(x.name, p) for p in patterns))


def _attending(maps: AttributionMaps, layers: tuple[LayerInfo, ...], branch: str, reference: int) -> tuple[LayerInfo, ...]:
    """The layers that attend to a reference: an adapter need not be in all."""
    found = tuple(x for x in layers if maps.attends(x.name, branch, reference))
    if not found:
        names = ", ".join(x.name for x in maps.layers if maps.attends(x.name, branch, reference))
        where = f"layers that do: {names}" if names else "no layer does: its weight is 0, or it was off in all steps"
        raise UnavailableError(
            f"none of the chosen layers attends to reference {reference}, {maps.references[reference].name!r} ({where})"
        )
    return found
