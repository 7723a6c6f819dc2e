"""Tables of the page: the runs in the shape of the paper's table 2, the values of the maps, and other lambdas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...numbers import typeset
from .evaluated import networks_told
from .html import Html, details, table, tag
from .measures import INVERTED, inverted
from .reported import LATER, NOTE, REPORTED, SOURCE
from .results import Results
from .sensitivity import Sensitivity, label_of
from .table import Cell, Column, Line


def tables_section(results: Results) -> list[Html]:
    """The table in the paper's shape with the paper's own rows below it, and all other values."""
    found = results.table
    columns = found.shaped(results.preset)
    head = ["", *(_head(one) for one in columns)]
    rows: list[Sequence[str]] = [[line.run.label, *(_cell(line, one) for one in columns)] for line in found.lines]
    rows.append([f"Reported: {SOURCE}; in brackets where the {LATER} differs"])
    rows += [[f"{one.model} (reported)", *_reported(one.values, one.later, columns)] for one in REPORTED]
    missing = [
        f"{line.run.label}, {_said(column)}: {why}"
        for line in found.lines
        for column, why in line.missing.items()
        if column.measure.quality or column in columns
    ]
    parts = [
        tag("h2", "The figures"),
        table("Means over images, below them the standard deviation and n", head, rows),
        tag("p", NOTE, class_="quiet"),
    ]
    if networks := networks_told(results.runs):
        parts.append(tag("p", f"Networks: {'; '.join(networks)}. Figures of two networks cannot be compared.", class_="quiet"))
    if any(inverted(one.measure.name) for one in found.columns):
        parts.append(tag("p", INVERTED, class_="quiet"))
    if missing:
        parts.append(details("What is missing, and why", tag("ul", *(tag("li", one) for one in missing))))
    rest = [one for one in found.columns if one not in columns and any(one in line.cells for line in found.lines)]
    if rest:
        own = [[_said(one), *(_cell(line, one) for line in found.lines)] for one in rest]
        parts.append(table("All other values", ["", *(line.run.label for line in found.lines)], own))
    return parts


def _head(column: Column) -> Html:
    label, _, preset = column.measure.label.partition(", ")
    below = f"{preset}, {column.kind}" if preset else column.kind
    return tag("span", f"{label}{column.measure.arrow}", tag("small", below))


def _said(column: Column) -> str:
    return f"{column.measure.label}{column.measure.arrow}, {column.kind}"


def _cell(line: Line, column: Column) -> str:
    cell = line.cells.get(column)
    if cell is None:
        return tag("td", "–", title=line.missing[column]) if column in line.missing else "–"
    return tag("td", _plain(cell.value), tag("small", _spread(cell)))


def _spread(cell: Cell) -> str:
    return f"n {cell.n}" if cell.spread is None else f"± {_plain(cell.spread)}, n {cell.n}"


def _reported(values: Mapping[str, float], later: Mapping[str, float], columns: Sequence[Column]) -> list[str]:
    """The paper's figures by column."""
    cells = []
    for column in columns:
        name = column.measure.name.partition(".")[0]
        shown = [f"{values[name]:.4f}"] if name in values else []
        shown += [f"[{later[name]:.4f}]"] if name in later else []
        cells.append(" ".join(shown) or "–")
    return cells


def sensitivity_section(results: Results) -> list[Html]:
    """The rank correlation over images at other lambdas and thresholds."""
    if not results.sensitivities:
        return []
    weight, threshold = results.runs[0].run.weight, results.runs[0].run.threshold
    parts: list[Html] = [
        tag("h2", "Other λ and thresholds"),
        tag(
            "p",
            f"Spearman's ρ over images, the mean over runs, at other λ and thresholds. The runs' own are λ {weight:g} and "
            f"threshold {threshold:g}. Where all of a run's scores are the same, it is left out.",
        ),
    ]
    for number, one in enumerate(results.sensitivities):
        parts.append(details(label_of(one), _grid(one, weight, threshold), *_order(one)))
        if number == 0:
            parts[-1] = Html(parts[-1].replace("<details>", "<details open>", 1))
    return parts


def _order(one: Sensitivity) -> list[Html]:
    if one.order is None:
        return []
    every = len(one.weights) * len(one.thresholds)
    return [
        tag("p", f"The runs' mean scores come in the same order as at their own setting in {one.order} of {every} settings.")
    ]


def _grid(one: Sensitivity, weight: float, threshold: float) -> Html:
    head = ["λ", *(f"threshold {t:g}" for t in one.thresholds)]
    rows = []
    for i, w in enumerate(one.weights):
        own = [w == weight and t == threshold for t in one.thresholds]
        rows.append([f"{w:g}", *(_shade(value, mark) for value, mark in zip(one.spearman[i], own, strict=True))])
    return table(f"ρ of {label_of(one)}; {one.images} images in {len(one.runs)} run(s)", head, rows)


def _shade(value: float | None, own: bool) -> str:
    if value is None:
        return "–"
    colour = f"background: rgb(var(--{'blue' if value > 0 else 'red'}) / {min(abs(value), 1) * 0.6:.2f})"
    number = typeset(value, 2)
    return tag("td", tag("b", number) if own else number, style=colour)


def _plain(value: float) -> str:
    """Four digits, as the paper's table has them.

    >>> _plain(0.08617), _plain(13.09527), _plain(-0.25)
    ('0.0862', '13.10', '−0.2500')
    """
    digits = 4 if abs(value) < 10 else 2
    return typeset(value, digits)
