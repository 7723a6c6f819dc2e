"""How much of what reaches the picture of a reference goes through the text, where that is much."""

from __future__ import annotations

from dataclasses import replace

from ..levels.choice import EVERYTHING, Choice
from ..levels.share import has_routes, mean_shares, part_names, route_layers, routes, routes_of
from ..levels.sinks import sinks
from ..maps.value import AttributionMaps
from .said import Said
from .thresholds import CARRIED, NOTICED


def carried_by_text(maps: AttributionMaps, choice: Choice = EVERYTHING) -> Said | None:
    """A sentence on the references of which the text carries much; None: there is none, or the route was not recorded.

    Raises:
        UnavailableError: the choice does not exist.
    """
    if not has_routes(maps, choice):
        return None
    shares, found = mean_shares(routes(maps, choice)), sinks(maps, replace(choice, layers=route_layers(maps, choice)))
    figures: dict[str, float] = {}
    told = []
    for index, name in enumerate(part_names(maps, choice)):
        direct, through = routes_of(shares, name)
        by_sinks = sum(sink.handed_on[index] for sink in found.found if sink.handed_on)
        figures |= {f"{name} directly": direct, f"{name} via text": through, f"{name} by sinks": by_sinks}
        through = max(0.0, through - by_sinks)
        both = direct + through
        if through >= NOTICED and through >= CARRIED * both:
            told.append(f"{through / both:.0%} of what reaches it of {name} ({through:.1%} of its attention)")
    if not told:
        return None
    text = f"The picture attends to text that reads the references: {' and '.join(told)} goes that way, which direct maps lack."
    rule = (
        f"one hop, from patches to text tokens and from these to the reference in the same layer; spoken of from {CARRIED:.0%} "
        f"of a reference's attention and {NOTICED:.0%} of all on, without what sinks hand on; what that changed, only a cut of "
        f"the route text says"
    )
    return Said("routes", text, rule, figures, "much")
