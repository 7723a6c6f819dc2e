"""Which layers, heads, steps, branch, reference and image of a recording a map is made from."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UnavailableError
from ..geometry.layout import Reference
from ..maps.facts import LayerInfo, Range
from ..maps.kinds import over_reference
from ..maps.value import AttributionMaps
from .choice import EVERYTHING, Choice, check_choice
from .presets import Preset


@dataclass(frozen=True)
class Selection:
    """A choice that was checked against a recording; layers are in network order."""

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
    choice: Choice = EVERYTHING,
    *,
    side: str = "R2G",
    over_time: bool = False,
    one_by_one: bool = False,
) -> Selection:
    """Check a choice against what was recorded, for maps of a side.

    Args:
        maps: a recording.
        preset: decides which layers to take if the choice leaves them open.
        choice: what to take of the recording.
        side: "R2G", "R2G-balanced", "mass", "G2R", "SRAM" or "mirror".
        over_time: the maps are by time group (TLAM), for which the official preset has layers of its own.
        one_by_one: every layer is shown apart (LLAM), so also those that a run's default leaves out of the mean.

    Raises:
        UnavailableError: something chosen does not exist; names what does.
        I2AMError: ``choice`` is none.
    """
    check_choice(choice)
    branch, reference, image = choice.branch, choice.reference, choice.image
    if branch not in maps.branches:
        raise UnavailableError(f"branch {branch!r} was not recorded; recorded: {', '.join(maps.branches)}")
    check_reference(maps, reference)
    if not 0 <= image < maps.images:
        raise UnavailableError(f"image {image} does not exist; the run had {maps.images}, counted from 0")
    if choice.layers is None:
        layers = _default_layers(maps.layers if one_by_one else maps.default_layers, preset, side, over_time)
    else:
        layers = named_layers(maps, choice.layers)
    chosen = _attending(maps, layers, branch, reference)
    heads = None if choice.heads is None else tuple(dict.fromkeys(choice.heads))
    if heads is not None:
        most = max(x.heads for x in chosen)
        bad = [h for h in heads if not 0 <= h < most]
        if bad or not heads:
            raise UnavailableError(f"heads {list(heads)} were asked for; the chosen layers have heads 0 to {most - 1}")
        chosen = tuple(x for x in chosen if any(h < x.heads for h in heads))
    start, stop = (0, maps.run.steps) if choice.steps is None else choice.steps
    if not 0 <= start < stop <= maps.run.steps:
        raise UnavailableError(
            f"steps {start} to {stop} were asked for; the run has steps 0 to {maps.run.steps} (both half-open): choose "
            f"first:stop within them, such as 0:{maps.run.steps}"
        )
    return Selection(chosen, heads, (start, stop), branch, reference, image)


def check_reference(maps: AttributionMaps, reference: int) -> None:
    """Refuse the number of a reference that the run did not have.

    Raises:
        UnavailableError: it is one; says how many there were.
    """
    if not 0 <= reference < len(maps.references):
        raise UnavailableError(f"reference {reference} does not exist; the run had {len(maps.references)}, counted from 0")


def _default_layers(layers: tuple[LayerInfo, ...], preset: Preset, side: str, over_time: bool) -> tuple[LayerInfo, ...]:
    """Those of the run's default layers that a preset takes for a side."""
    theirs = ("always", "over time") if over_time else ("always",)
    own = tuple(x for x in layers if preset.official_layers and x.official in theirs)
    if own and over_reference(side):
        return own
    kept = (x for x in layers if not (own and x.beside))
    chosen = tuple(x for x in kept if preset.middle or not x.middle)
    return chosen or layers


def named_layers(maps: AttributionMaps, patterns: Sequence[str]) -> tuple[LayerInfo, ...]:
    """The recorded layers that any of some names or globs means, in the network's order.

    Raises:
        UnavailableError: one of them means none, or there is none of them.
    """
    names = [x.name for x in maps.layers]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UnavailableError(f"no recorded layer matches {pattern!r}; recorded layers: {', '.join(names)}")
    if not patterns:
        raise UnavailableError("an empty list of layers was given; leave it out for all of them")
    return tuple(x for x in maps.layers if any(fnmatch.fnmatchcase(x.name, p) for p in patterns))


def _attending(maps: AttributionMaps, layers: tuple[LayerInfo, ...], branch: str, reference: int) -> tuple[LayerInfo, ...]:
    """The layers that attend to a reference; an adapter need not be in every layer."""
    found = tuple(x for x in layers if maps.attends(x.name, branch, reference))
    if not found:
        names = ", ".join(x.name for x in maps.layers if maps.attends(x.name, branch, reference))
        where = f"layers that do: {names}" if names else "no layer does: its weight is 0, or it was off in all steps"
        raise UnavailableError(
            f"none of the chosen layers attends to reference {reference}, {maps.references[reference].name!r} ({where})"
        )
    return found
