"""What a chart shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..facts import KINDS
from .evaluated import Evaluated, names_of
from .measures import QUALITY, of_maps

Point = tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """An IMACS against a figure of quality.

    Attributes:
        kind: "paired" or "unpaired".
        measure: the IMACS.
        preset: its preset.
        figure: of quality.
        of_images: whether a point is an image; else it is a run.
        points: by the run's label.
    """

    kind: str
    measure: str
    preset: str
    figure: str
    of_images: bool
    points: Mapping[str, Sequence[Point]]


def charts_of(runs: Sequence[Evaluated]) -> list[Chart]:
    """A chart for each IMACS and figure that runs have both of; a figure of data sets needs two runs to make one."""
    found = []
    for kind in KINDS:
        for one in of_maps(names_of(runs)):
            for figure in QUALITY if one.of_imacs else ():
                points: dict[str, list[Point]] = {}
                for run in runs:
                    x, y = run.values(kind, one.name), run.values(kind, figure.name)
                    if both := [(x[name], y[name]) for name in sorted(x.keys() & y.keys())]:
                        points[run.label] = both
                of_images = bool(points)
                if not of_images:
                    for run in runs:
                        x, of_set = run.values(kind, one.name), run.of_set(kind, figure.name)
                        if x and of_set is not None:
                            points[run.label] = [(sum(x.values()) / len(x), of_set.value)]
                if points and (of_images or len(points) > 1):
                    found.append(Chart(kind, one.name, one.preset, figure.name, of_images, points))
    return found
