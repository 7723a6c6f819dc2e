"""Images of the page: the best, the worst, and those that IMACS and quality rank most differently."""

from __future__ import annotations

from ...numbers import typeset
from .examples import APART, BEST, WORST, Example, embedded
from .html import Html, tag
from .measures import measure
from .results import Results


def examples_section(results: Results) -> list[Html]:
    """A block per run."""
    found = {label: every for label, every in results.examples.items() if every}
    if not found:
        return []
    parts = [tag("h2", "Images to look at")]
    for label, every in found.items():
        parts.append(tag("h3", label))
        for why in (BEST, WORST, APART):
            chosen = [one for one in every if one.why == why]
            if chosen:
                parts.append(tag("p", _heading(chosen[0])))
                parts.append(tag("div", *map(_example, chosen), class_="examples"))
    return parts


def _heading(one: Example) -> str:
    name, figure = measure(one.measure).label, measure(one.figure).label if one.figure else ""
    return {
        BEST: f"The highest {name}:",
        WORST: f"The lowest {name}:",
        APART: f"Ranked most differently by {name} and {figure}:",
    }[one.why]


def _example(one: Example) -> Html:
    row = one.row
    values = [(measure(name).label, row.values[name]) for name in (one.measure, one.figure) if name in row.values]
    words = [row.name, row.kind, *(f"{label} {typeset(value, 3)}" for label, value in values)]
    pictures = [_picture(one, caption) for caption in one.pictures]
    return tag("div", tag("p", " · ".join(words)), tag("div", *pictures, class_="pictures"), class_="example")


def _picture(one: Example, caption: str) -> Html:
    alt = f"{caption} of {one.row.name}"
    return tag("figure", tag("img", src=embedded(one.pictures[caption]), alt=alt), tag("figcaption", caption))
