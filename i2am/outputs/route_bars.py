"""What attention went to, by the way that it took: each reference directly and via text, and the text's own with its sinks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from ..levels.choice import Choice
from ..levels.share import ITSELF, in_percent, mean_shares, route_layers, routes, routes_of
from ..levels.sinks import Sinks, shares_without, sinks, told
from ..maps.value import AttributionMaps
from ..pictures.bars import Bar, bars_of
from ..pictures.parts import Colour, colour_of_reference, colours_of_parts, paler


@dataclass(frozen=True)
class Routed:
    """A run's mean shares by route, which add up to 1, in whole per cent that add up to 100; its sinks, and remarks on both."""

    names: tuple[str, ...]
    shares: dict[str, float]
    sinks: Sinks
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, maps: AttributionMaps, choice: Choice, names: Sequence[str], without_sinks: bool = False) -> Routed:
        """Of a recording that has routes; ``names`` are those of its references. Without its sinks, a remark says so.

        Raises:
            UnavailableError: it has none.
        """
        heat = routes(maps, choice)
        if without_sinks:
            shares, note = shares_without(maps, choice)
            return cls(tuple(names), shares, Sinks(()), (note, *heat.notes))
        found = sinks(maps, replace(choice, layers=route_layers(maps, choice)))  # of the same layers as the shares
        return cls(tuple(names), mean_shares(heat), found, (*heat.notes, *found.notes))

    @property
    def percents(self) -> dict[str, int]:
        """By part."""
        return in_percent(self.shares)

    def told(self, name: str) -> str:
        """A reference's share in words, such as "28% directly, 3% via text"."""
        direct, through = routes_of(self.percents, name)
        return f"{direct}% directly, {through}% via text"

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be said below."""
        return tuple(note for note in (told(self.sinks), *self.remarks) if note)

    def bars(self, width: int, text: int) -> Image.Image:
        """A bar for each reference, its direct part full and its part via text paler, for the text itself, and for the rest."""
        percents, found = self.percents, []
        for i, name in enumerate(self.names):
            colour, ways = colour_of_reference(i), routes_of(self.shares, name)
            own = sum(routes_of(percents, name))
            found.append(Bar(name, ((ways[0], colour), (ways[1], paler(colour))), int(own), self.told(name)))
        rest = list(self.shares)[2 * len(self.names) :]
        colours = colours_of_parts(rest, 0)
        for part in rest:
            parts: tuple[tuple[float, Colour], ...] = ((self.shares[part], colours[part]),)
            words = ""
            taken = min(self.in_sinks, self.shares[part])
            if part == ITSELF and taken:
                parts = ((taken, colours[part]), (self.shares[part] - taken, paler(colours[part])))
                words = f"of which sinks take {100 * taken:.2g}%"
            found.append(Bar(part, parts, percents[part], words))
        return bars_of(found, width, text)

    @property
    def in_sinks(self) -> float:
        """What sinks of the text take and hand on to no reference."""
        return sum(sink.share - sum(sink.handed_on) for sink in self.sinks.found if sink.reference is None)
